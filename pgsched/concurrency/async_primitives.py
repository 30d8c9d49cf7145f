"""Primitives that differ on an event loop: the awaitable counterpart of :mod:`pgsched.concurrency.primitives`.

Modules whose synchronous version is generated use these; each name has its counterpart in that module.
"""

from __future__ import annotations

import asyncio
import threading
from asyncio import sleep
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

__all__ = ["Background", "Event", "Mutex", "run_blocking", "run_stoppable", "sleep", "uninterrupted"]

T = TypeVar("T")

Mutex = asyncio.Lock


class Event:
    """Like :class:`threading.Event`, but awaitable."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def set(self) -> None:
        """Release all waiters."""
        self._event.set()

    async def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set, at most ``timeout`` seconds; return whether it is set."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._event.wait(), timeout)
        return self._event.is_set()


class Background:
    """Runs a function in the background, as an asyncio task."""

    def __init__(self, function: Callable[[], Coroutine[Any, Any, None]], *, name: str) -> None:
        self._task = asyncio.create_task(function(), name=name)

    async def join(self) -> None:
        """Wait until it ends."""
        await asyncio.wait([self._task])


async def uninterrupted(function: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Call a function that runs to its end even when its caller is cancelled."""
    return await asyncio.shield(function())


async def run_blocking(function: Callable[..., T], *args: Any) -> T:
    """Call a blocking function in a thread."""
    return await asyncio.to_thread(function, *args)


async def run_stoppable(function: Callable[[threading.Event], T]) -> T:
    """Call a blocking function in a thread; when its caller is cancelled, the event passed to it is set."""
    stop = threading.Event()
    try:
        return await asyncio.to_thread(function, stop)
    finally:
        stop.set()
