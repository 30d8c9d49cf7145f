"""Handlers that take what their worker has little of, or that never end; each but once. Beside the usual load."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from typing import Any

from chaos.load.app import app
from pgsched import Context

__all__ = ["app"]

HELD_SECONDS = 0.5
BLOCK = 8 * 1024**2
DEEP = 100_000
NOTES = "notes"
"""The file in the worker's folder with a line for each time that a handler was refused what it took."""

ENOUGH = "enough"
"""The file in the worker's folder that says that no further thread is to get stuck."""


def _note(what: str) -> None:
    descriptor = os.open(NOTES, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{what}\n".encode())
    os.close(descriptor)


@app.task("takes_descriptors")
async def takes_descriptors() -> None:
    """Every descriptor that is left, for a while: whoever connects meanwhile cannot."""
    taken: list[int] = []
    try:
        while True:
            taken.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        await asyncio.sleep(HELD_SECONDS)
    finally:
        for one in taken:
            os.close(one)
    _note("descriptors")


@app.task("takes_memory")
def takes_memory() -> None:
    """All the memory that is left, for a while."""
    taken: list[bytearray] = []
    try:
        while True:
            taken.append(bytearray(BLOCK))
    except MemoryError:
        time.sleep(HELD_SECONDS)
    finally:
        taken.clear()
    _note("memory")


@app.task("recurses")
async def recurses(ctx: Context, how: str) -> None:
    """Without an end, in Python's frames or in C; the error is the attempt's, and the next attempt ends."""
    await asyncio.sleep(0)
    if ctx.attempt == 1:
        _recurse(how)


@app.task("recurses_plain")
def recurses_plain(ctx: Context, how: str) -> None:
    """As ``recurses``, in a thread."""
    if ctx.attempt == 1:
        _recurse(how)


@app.task("returns_deep")
async def returns_deep() -> list[Any]:
    """A result that is too deep for JSON; it is stored as text."""
    return _nested()


def _recurse(how: str) -> None:
    if how == "frames":
        _recurse(how)
    elif how == "encode":
        json.dumps(_nested())
    elif how == "decode":
        json.loads("[" * DEEP + "]" * DEEP)
    else:
        repr(_nested())


def _nested() -> list[Any]:
    value: list[Any] = []
    for _ in range(DEEP):
        value = [value]
    return value


@app.task("sticks")
def sticks(ctx: Context) -> None:
    """Its first attempt never ends, and does not look whether it should; a thread cannot be stopped."""
    if not os.path.exists(ENOUGH):  # noqa: PTH110
        os.close(os.open(f"stuck-{ctx.id}", os.O_CREAT | os.O_WRONLY))
        threading.Event().wait()
