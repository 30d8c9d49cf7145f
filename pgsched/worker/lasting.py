"""The tasks of the event loop that are the worker's own.

A handler that cancels "all tasks" does not find them (``asyncio.all_tasks`` leaves them out), a task factory that an
application has set does not make them, and one that ends all the same is begun again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from pgsched.observability.logs import get_logger

log = get_logger("pgsched.worker")

AGAIN_SECONDS = 0.05
"""Pause before a task that ended is begun again."""


def own_task(work: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]:
    """Return a new task of the running loop that ``asyncio.all_tasks`` does not return."""
    task = asyncio.Task(work, loop=asyncio.get_running_loop(), name=name)
    hide(task)
    return task


def hide(task: asyncio.Task[Any]) -> None:
    """Let ``asyncio.all_tasks`` not return a task any more."""
    asyncio._unregister_task(task)


class Lasting:
    """Work that goes on until :meth:`end`, whatever it raises and whoever cancels it."""

    def __init__(
        self,
        work: Callable[[], Coroutine[Any, Any, None]],
        *,
        name: str,
        on_lost: Callable[[BaseException], None],
        may_end: Callable[[], bool] | None = None,
    ) -> None:
        """``may_end``: whether it may end by itself just now; by default never. ``on_lost`` is called when it did."""
        self._work = work
        self._name = name
        self._on_lost = on_lost
        self._may_end = may_end
        self._ending = False
        self._task: asyncio.Task[None] | None = None
        self._again: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin, in the running loop."""
        self._task = own_task(self._work(), name=self._name)
        self._task.add_done_callback(self._ended)

    @property
    def done(self) -> bool:
        """Whether it has ended and is not begun again."""
        return self._task is None or (self._task.done() and self._again is None)

    @property
    def may_end(self) -> bool:
        """Whether it may end by itself just now."""
        return self._may_end is not None and self._may_end()

    async def wait(self, timeout: float) -> None:
        """Wait until it has ended by itself, ``timeout`` seconds at most."""
        if self._task is not None and not self._task.done():
            await asyncio.wait([self._task], timeout=timeout)

    async def end(self, timeout: float | None = None) -> None:
        """Cancel it, and wait until it has ended, ``timeout`` seconds at most."""
        self._ending = True
        if self._again is not None:
            self._again.cancel()
            self._again = None
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task], timeout=timeout)

    def _ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if self._ending or self.may_end:
            return
        error = error or asyncio.CancelledError("somebody cancelled it")
        self._on_lost(error)
        log.error("loop_ended", loop=self._name, error=repr(error), again_in=AGAIN_SECONDS)
        self._again = task.get_loop().call_later(AGAIN_SECONDS, self._begin_again)

    def _begin_again(self) -> None:
        self._again = None
        if not self._ending:
            self.start()
