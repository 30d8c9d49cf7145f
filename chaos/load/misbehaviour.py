"""Handlers that do what a handler must not. Each but ``kills`` does so at its first attempt, and then ends well."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from typing import Any

from pgsched import App, Context

MEMORY = 400 * 1024**2
"""Address space of a handler's child process: less than it asks for."""
KILLS = "kills"
"""The file in the worker's folder with the id of a task for each time that it killed its worker."""
RAISED = {
    error.__name__: error
    for error in (KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError, MemoryError, RecursionError)
}
NOT_JSON: dict[str, Any] = {
    "object": object(),
    "nan": float("nan"),
    "infinity": float("inf"),
    "set": {1, 2},
    "bytes": b"\x00",
    "nul": "\x00",
    "surrogate": "\ud800",
    "key": {(1, 2): 3},
}


def register(app: App) -> None:
    """Add them to an app."""
    app.task("kills")(_kills)
    app.task("exits")(_exits)
    app.task("exits_plain")(_exits_plain)
    app.task("exits_child", executor="process")(_exits_plain)
    app.task("fills_memory", executor="process", memory_limit=MEMORY)(_fills_memory)
    app.task("forks")(_forks)
    app.task("forks_plain")(_forks_plain)
    app.task("forks_child", executor="process")(_forks_plain)
    app.task("blocks")(_blocks)
    app.task("raises")(_raises)
    app.task("raises_plain")(_raises_plain)
    app.task("raises_child", executor="process")(_raises_plain)
    app.task("returns")(_returns)
    app.task("returns_plain")(_returns_plain)
    app.task("overstays")(_overstays)
    app.task("waits")(_waits)


async def _kills(ctx: Context) -> None:
    """At every attempt."""
    kills = os.open(KILLS, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(kills, f"{ctx.id}\n".encode())
    os.kill(os.getpid(), signal.SIGKILL)


async def _exits(ctx: Context) -> None:
    await asyncio.sleep(0.01)
    if ctx.attempt == 1:
        os._exit(3)


def _exits_plain(ctx: Context) -> None:
    if ctx.attempt == 1:
        os._exit(3)


def _fills_memory(ctx: Context) -> int:
    held = []
    while ctx.attempt == 1:
        held.append(bytearray(16 * 1024**2))
    return len(held)


async def _forks(ctx: Context, end: str) -> int:
    await asyncio.sleep(0.001)
    pid = _forked(ctx, end)
    if end == "waits":
        await asyncio.sleep(0.1)
    return pid


def _forks_plain(ctx: Context, end: str) -> int:
    return _forked(ctx, end)


def _forked(ctx: Context, end: str) -> int:
    """Fork; the copy ends as told: at once, by an exception, or it waits or returns as if it were the worker."""
    pid = os.fork()
    if pid:
        return pid
    if end == "exits":
        os._exit(0)
    if end == "raises":
        sys.exit(0)
    return 0


async def _blocks(seconds: float) -> None:
    time.sleep(seconds)  # noqa: ASYNC251


async def _raises(error: str, ctx: Context) -> None:
    await asyncio.sleep(0.001)
    if ctx.attempt == 1:
        raise RAISED[error]


def _raises_plain(error: str, ctx: Context) -> None:
    if ctx.attempt == 1:
        raise RAISED[error]


async def _returns(what: str) -> object:
    return NOT_JSON[what]


def _returns_plain(what: str) -> object:
    return NOT_JSON[what]


async def _overstays(ctx: Context) -> None:
    if ctx.attempt == 1:
        await asyncio.sleep(60)


async def _waits() -> None:
    """To be cancelled."""
    await asyncio.sleep(3600)
