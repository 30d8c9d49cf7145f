"""The handlers of the soak: one of each kind."""

from __future__ import annotations

import asyncio
import os

from pgsched import App, Context, DurableContext

LEAK = "PGSCHED_SOAK_LEAK"
"""Bytes that each ordinary handler keeps for good: the negative control of the verdict."""

app = App()
_kept: list[bytes] = []


@app.task("work")
async def work(number: int) -> int:
    """The plainest kind."""
    _kept.extend([os.urandom(int(os.environ[LEAK]))] if LEAK in os.environ else [])
    return number


@app.task("ordinary")
async def ordinary() -> None:
    """Those whose pick-up is measured."""


@app.task("plain")
def plain(number: int) -> int:
    """In a thread."""
    return number


@app.task("entry", transactional=True)
async def entry(number: int, ctx: Context) -> None:
    """Writes in its own transaction."""
    await ctx.connection.execute("update public.soak set total = total + 1 where place = %s", (number % 16,))


@app.task("uncertain", max_attempts=3, backoff="fixed", backoff_delay="1s")
async def uncertain(ctx: Context) -> None:
    """Fails the first time."""
    if ctx.attempt == 1:
        raise RuntimeError("not yet")


@app.task("steps", durable=True)
async def steps(number: int, ctx: DurableContext) -> int:
    """Two steps with a sleep between them, and a child."""
    first = await ctx.step("first", _double, number)
    await ctx.sleep("nap", 0.05)
    child = await ctx.run("plain", {"number": first}, queue="work")
    return int(child) + first


async def _double(number: int) -> int:
    await asyncio.sleep(0)
    return 2 * number


@app.task("tick")
async def tick() -> None:
    """Of the schedules."""
