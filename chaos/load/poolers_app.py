"""The load of the trials of poolers: besides the usual one, idle transactions and prepared statements."""

from __future__ import annotations

import asyncio
import time

from chaos.load.app import app
from pgsched import Context

IDLE_SECONDS = 4.0
"""Longer than the poolers' idle_transaction_timeout."""
EXECUTIONS = 10
"""More often than psycopg executes a statement before it prepares it."""

__all__ = ["app"]


@app.task("idles", transactional=True)
async def idles(ctx: Context) -> None:
    """Its transaction is idle as long as it waits for something else, as for another service."""
    await ctx.connection.execute("select 1")
    await asyncio.sleep(IDLE_SECONDS)


@app.task("idles_plain", transactional=True)
def idles_plain(ctx: Context) -> None:
    """As ``idles``, in a thread."""
    ctx.connection.execute("select 1")
    time.sleep(IDLE_SECONDS)


@app.task("prepares", transactional=True)
async def prepares(ctx: Context) -> None:
    for number in range(EXECUTIONS):
        await ctx.connection.execute("select count(*) from public.ledger where place > %s", (number,))
    await asyncio.sleep(0.01)
