"""What has to be done in another way on an event loop: as :mod:`pgsched.concurrency.primitives`, to be awaited.

For modules whose half for threads is generated: there, each name means what that module has under it.
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
    """As :class:`threading.Event`, to be awaited."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def set(self) -> None:
        """Let everybody go on who waits."""
        self._event.set()

    async def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set, ``timeout`` seconds at most; whether it is set."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._event.wait(), timeout)
        return self._event.is_set()


class Background:
    """Runs a function beside its caller, as an asyncio task."""

    def __init__(self, function: Callable[[], Coroutine[Any, Any, None]], *, name: str) -> None:
        self._task = asyncio.create_task(function(), name=name)

    async def join(self) -> None:
        """Wait for its end."""
        await asyncio.wait([self._task])


async def uninterrupted(function: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Call a function that goes on to its end even when its caller is cancelled."""
    return await asyncio.shield(function())


async def run_blocking(function: Callable[..., T], *args: Any) -> T:
    """Call a function that blocks, in a thread."""
    return await asyncio.to_thread(function, *args)


async def run_stoppable(function: Callable[[threading.Event], T]) -> T:
    """Call a function that blocks, in a thread; when its caller is cancelled, the event that it is given is set."""
    stop = threading.Event()
    try:
        return await asyncio.to_thread(function, stop)
    finally:
        stop.set()
