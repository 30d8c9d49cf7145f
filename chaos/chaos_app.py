"""Handlers for the workers of chaos tests. They talk to the test through files in the worker's folder.

A handler makes ``started-<task>-<attempt>``, so that the test knows it runs, and one that is gated then waits until
the test makes ``go`` (for every attempt) or ``go-<attempt>``.
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

from pgsched import App, Context

app = App()

BEGUN = "begun"
"""A byte in this file for each attempt of NOTED types that has begun."""
NOTED = ("brief", "brief_plain", "relay")
PAUSE = 0.005
TRANSFER_PAUSE = 0.02
"""Long enough for a kill to strike between the two sides of a transfer."""


@app.task("brief")
async def brief(number: int) -> None:
    _note_begin()
    await asyncio.sleep(0.001 * (1 + number % 3))


@app.task("brief_plain")
def brief_plain(number: int) -> None:
    _note_begin()
    time.sleep(0.001 * (1 + number % 3))


@app.task("relay")
async def relay(number: int, ctx: Context) -> int:
    """The number, and what those before it have returned: fails when one of them has no result."""
    _note_begin()
    await asyncio.sleep(0.01)
    return number + sum(ctx.dependencies.values())


@app.task("transfer", transactional=True, max_attempts=100)
async def transfer(source: int, target: int, amount: int, ctx: Context) -> None:
    for account, change in sorted(((source, -amount), (target, amount))):
        await ctx.connection.execute("update accounts set balance = balance + %s where id = %s", (change, account))
        await asyncio.sleep(TRANSFER_PAUSE)
    await ctx.connection.execute("insert into transfers values (%s, %s)", (ctx.id, amount))


@app.task("transfer_plain", transactional=True, max_attempts=100)
def transfer_plain(source: int, target: int, amount: int, ctx: Context) -> None:
    for account, change in sorted(((source, -amount), (target, amount))):
        ctx.connection.execute("update accounts set balance = balance + %s where id = %s", (change, account))
        time.sleep(TRANSFER_PAUSE)
    ctx.connection.execute("insert into transfers values (%s, %s)", (ctx.id, amount))


@app.task("pause")
async def pause(seconds: float, ctx: Context) -> None:
    _started(ctx)
    await asyncio.sleep(seconds)


@app.task("pause_plain")
def pause_plain(seconds: float, ctx: Context) -> None:
    _started(ctx)
    time.sleep(seconds)


@app.task("gated")
async def gated(ctx: Context) -> str:
    _started(ctx)
    while not _gate_is_open(ctx):  # noqa: ASYNC110  (the test makes a file)
        await asyncio.sleep(PAUSE)
    return f"attempt {ctx.attempt}"


@app.task("gated_plain")
def gated_plain(ctx: Context) -> str:
    _started(ctx)
    while not _gate_is_open(ctx):
        time.sleep(PAUSE)
    return f"attempt {ctx.attempt}"


@app.task("gated_blocking")
async def gated_blocking(ctx: Context) -> str:
    """A faulty handler that blocks the event loop until the gate is open."""
    _started(ctx)
    while not _gate_is_open(ctx):
        time.sleep(PAUSE)  # noqa: ASYNC251
    return f"attempt {ctx.attempt}"


@app.task("sleep_on_loop")
async def sleep_on_loop(seconds: float, ctx: Context) -> None:
    """A faulty handler that blocks the event loop."""
    _started(ctx)
    time.sleep(seconds)  # noqa: ASYNC251


@app.task("spin_on_loop")
async def spin_on_loop(seconds: float, ctx: Context) -> None:
    """A faulty handler that blocks the event loop and keeps the interpreter busy."""
    _started(ctx)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def _note_begin() -> None:
    begun = os.open(BEGUN, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(begun, b".")
    finally:
        os.close(begun)


def _started(ctx: Context) -> None:
    Path(f"started-{ctx.id}-{ctx.attempt}").touch()


def _gate_is_open(ctx: Context) -> bool:
    return Path("go").exists() or Path(f"go-{ctx.attempt}").exists()
