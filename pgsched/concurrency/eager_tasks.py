"""Starts asyncio tasks eagerly: a task runs until it first waits, and most never do.

Eager tasks came with Python 3.12. In earlier versions a task schedules its first step on the loop; here that step is
intercepted and executed at once, so that the task needs no iteration of the loop.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from typing import Any

Start = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]
"""Starts a task with its own copy of the context variables; must not be called from within another task."""


def starter(loop: asyncio.AbstractEventLoop, name: str) -> Start:
    """Return a function that starts tasks on a loop, named ``name``, with the caller's context variables."""
    if sys.version_info < (3, 12):
        return _Catcher(loop, name).start
    variables = copy_context()

    def start(coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return asyncio.Task(coroutine, loop=loop, name=name, context=variables.copy(), eager_start=True)

    return start


class _Catcher:
    """Eager tasks for Python 3.11."""

    def __init__(self, loop: asyncio.AbstractEventLoop, name: str) -> None:
        self._loop: Any = loop
        self._name = name
        self._variables = copy_context()
        self._own: Context | None = None
        self._step: Callable[[], object] | None = None
        self._catching = self._catch  # bound once, not per task

    def start(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        loop = self._loop
        self._own = own = self._variables.copy()
        loop.call_soon = self._catching
        try:
            task = asyncio.Task(coroutine, loop=loop, name=self._name, context=own)
        finally:
            del loop.call_soon
        own.run(self._step)  # type: ignore[arg-type]
        return task

    def _catch(self, callback: Callable[..., object], *args: Any, context: Context | None = None) -> object:
        if context is self._own:
            self._step = callback
            return None
        # Creating a task may trigger the garbage collector, whose finalizers may schedule callbacks.
        return type(self._loop).call_soon(self._loop, callback, *args, context=context)
