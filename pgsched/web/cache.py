"""A value that is asked for often and loaded seldom."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Cached(Generic[T]):
    """The answer of ``load``, at most ``seconds`` old; whoever asks while it is loaded waits for that one load."""

    def __init__(
        self, load: Callable[[], Awaitable[T]], *, seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._load = load
        self._seconds = seconds
        self._clock = clock
        self._lock = asyncio.Lock()
        self._found: tuple[float, T] | None = None

    async def get(self) -> T:
        """Return the value; raises what ``load`` raises, and then asks again the next time."""
        if (fresh := self._fresh()) is not None:
            return fresh[1]
        async with self._lock:
            if (fresh := self._fresh()) is not None:
                return fresh[1]
            began = self._clock()
            value = await self._load()
            self._found = (began, value)
            return value

    def forget(self) -> None:
        """Load it afresh the next time."""
        self._found = None

    def _fresh(self) -> tuple[float, T] | None:
        found = self._found
        return found if found is not None and self._clock() - found[0] < self._seconds else None
