"""Waiting for a condition. Tests sleep nowhere else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

TIMEOUT = 60.0
"""Long enough for a machine that others use, too: who waits for what comes pays nothing for it."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.005, 0.1


def wait_until(condition: Callable[[], T], *, timeout: float = TIMEOUT, message: str = "") -> T:
    """Call ``condition`` until it returns something true, and return that.

    After ``timeout`` seconds raises an AssertionError with ``message`` and the value last returned.
    """
    deadline, pause = time.monotonic() + timeout, _FIRST_PAUSE
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(_failure(condition, timeout, message, value))
        time.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE)


async def wait_until_async(
    condition: Callable[[], T | Awaitable[T]],
    *,
    timeout: float = TIMEOUT,
    message: str = "",
) -> T:
    """:func:`wait_until` on the event loop, for a plain or an ``async`` condition."""
    deadline, pause = time.monotonic() + timeout, _FIRST_PAUSE
    while True:
        answer = condition()
        value: T = await answer if isinstance(answer, Awaitable) else answer
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(_failure(condition, timeout, message, value))
        await asyncio.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE)


def _failure(condition: object, timeout: float, message: str, value: object) -> str:
    waited_for = message or getattr(condition, "__qualname__", repr(condition))
    return f"not within {timeout:g} s: {waited_for}; last value: {value!r}"
