"""Turns an asynchronous function into a synchronous one, for tests without an event loop."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def without_loop(work: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """Return the same function, run on an event loop of its own. It raises RuntimeError inside a running one."""

    @functools.wraps(work)
    def alone(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(work(*args, **kwargs))
        raise RuntimeError("an event loop is already running: await the function whose name ends in _async")

    alone.__name__ = alone.__qualname__ = work.__name__.removesuffix("_async")
    return alone
