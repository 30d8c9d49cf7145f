"""The handlers of trials. Most only sleep, so that slots and not the machine bound the throughput."""

from __future__ import annotations

import asyncio
import time

from chaos.load import misbehaviour
from pgsched import App, Context

STEADY_SECONDS = 0.05
PLACES = 16
"""Rows of the ledger that transactional handlers add to."""
OWN_SETTINGS = (
    "select set_config('lock_timeout', '0', true), set_config('statement_timeout', '0', true),"
    " set_config('idle_in_transaction_session_timeout', '0', true)"
)
"""What somebody sets for the role is not to strike them."""
NOTE = "insert into public.effects values (%s, %s, %s)"
ADD = "update public.ledger set total = total + 1 where place = %s"

app = App()
misbehaviour.register(app)


@app.task("steady")
async def steady(number: int) -> int:
    await asyncio.sleep(STEADY_SECONDS)
    return number


@app.task("steady_plain")
def steady_plain(number: int) -> None:
    time.sleep(STEADY_SECONDS)


@app.task("brief")
async def brief() -> None:
    """So short that its row need not be leased."""
    await asyncio.sleep(0.001)


@app.task("entry", transactional=True)
async def entry(ctx: Context, number: int = 0) -> None:
    """Writes itself down and adds one to a row of the ledger, which other handlers want too."""
    await ctx.connection.execute(OWN_SETTINGS)
    await ctx.connection.execute(NOTE, (ctx.id, ctx.scheduled_for, ctx.fencing_token))
    await asyncio.sleep(STEADY_SECONDS / 5)
    await ctx.connection.execute(ADD, (ctx.id % PLACES,))


@app.task("entry_plain", transactional=True)
def entry_plain(ctx: Context) -> None:
    """As ``entry``, in a thread."""
    ctx.connection.execute(OWN_SETTINGS)
    ctx.connection.execute(NOTE, (ctx.id, ctx.scheduled_for, ctx.fencing_token))
    time.sleep(STEADY_SECONDS / 5)
    ctx.connection.execute(ADD, (ctx.id % PLACES,))


@app.task("tick")
async def tick() -> None:
    await asyncio.sleep(0.001)
