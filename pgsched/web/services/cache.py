"""A cached value for frequent reads of something expensive."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")


class _Found(NamedTuple, Generic[T]):
    at: float
    value: T


class Cached(Generic[T]):
    """Caches the result of ``load``, one load at a time.

    A value older than ``seconds`` is reloaded; up to twice that age it is still returned meanwhile, so that frequent
    callers never wait. Later callers wait for the load.
    """

    def __init__(
        self, load: Callable[[], Awaitable[T]], *, seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._load = load
        self._seconds = seconds
        self._clock = clock
        self._found: _Found[T] | None = None
        self._loading: asyncio.Task[T] | None = None

    async def get(self) -> T:
        """Return the value; raises what ``load`` raises, and loads again on the next call."""
        found = self._found
        age = self._clock() - found.at if found is not None else 0.0
        if found is not None and age < self._seconds:
            return found.value
        if self._loading is None:
            self._loading = asyncio.create_task(self._renew())
            self._loading.add_done_callback(self._end)
        if found is not None and age < 2 * self._seconds:
            return found.value
        return await asyncio.shield(self._loading)  # A cancelled caller does not cancel the load for the others.

    def forget(self) -> None:
        """Reload on the next call; a load in progress may have started before the change."""
        self._found = None
        self._loading = None

    async def close(self) -> None:
        """Cancel a load in progress."""
        if self._loading is not None:
            self._loading.cancel()
            await asyncio.gather(self._loading, return_exceptions=True)

    async def _renew(self) -> T:
        task = asyncio.current_task()
        began = self._clock()
        value = await self._load()
        if self._loading is task:
            self._found = _Found(began, value)
        return value

    def _end(self, task: asyncio.Task[T]) -> None:
        if self._loading is task:
            self._loading = None
        if not task.cancelled():
            task.exception()  # Waiting callers received the error; without any, the next caller starts a new load.
