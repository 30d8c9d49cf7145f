"""Opens what handlers share before the first of them runs, and closes it after the last one."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from pgsched.domain.errors import LifespanFailed
from pgsched.execution.callables import name_of
from pgsched.execution.state import Lifespan, State
from pgsched.observability.logs import get_logger
from pgsched.worker.loops import LOOP_SECONDS, own_task

log = get_logger("pgsched.worker")

CLOSE_SECONDS = 5.0
"""How long lifespans may take to close."""


class Lifespans:
    """The lifespans of one worker, all in one asyncio task: a task group must be left in the task that entered it."""

    def __init__(self, lifespans: Sequence[Lifespan], *, on_lost: Callable[[LifespanFailed], None]) -> None:
        """``on_lost`` is called when one ends by itself while the worker runs."""
        self._lifespans = lifespans
        self._on_lost = on_lost
        self.state: State | None = None
        """What they have yielded; None without lifespans, and before they are open."""
        self._opened = asyncio.Event()
        self._closing = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._failure: LifespanFailed | None = None

    async def open(self) -> None:
        """Open all. Raises LifespanFailed when one fails to open; those before it are closed again."""
        if not self._lifespans:
            return
        self._task = own_task(self._live(), name="pgsched lifespan")
        await self._opened.wait()
        if self._failure is not None:
            raise self._failure

    async def close(self) -> None:
        """Close all open ones within CLOSE_SECONDS; errors are logged. Safe to call again."""
        task, self._task = self._task, None
        if task is None:
            return
        self._closing.set()
        if not self._opened.is_set():  # the worker is stopped while they open
            task.cancel()
        await asyncio.wait([task], timeout=CLOSE_SECONDS)
        if not task.done():
            log.error("lifespan_not_closed", seconds=CLOSE_SECONDS, hint="it is cancelled")
            task.cancel()
            await asyncio.wait([task], timeout=LOOP_SECONDS)

    async def _live(self) -> None:
        state = State()
        try:
            async with AsyncExitStack() as stack:
                for current in self._lifespans:
                    try:
                        state.add(await stack.enter_async_context(current()), current)
                    except BaseException as error:
                        if not isinstance(error, asyncio.CancelledError):
                            self._failure = _failed(current, "could not be opened", error)
                        raise
                self.state = state
                self._opened.set()
                await self._closing.wait()
        except BaseException as error:  # noqa: BLE001 - SystemExit of a lifespan must not end the event loop
            self._ended(error)
        finally:
            if not self._opened.is_set():
                self._opened.set()
            elif not self._closing.is_set():
                self._ended(None)

    def _ended(self, error: BaseException | None) -> None:
        """Note that they are closed, on request or not."""
        if self._closing.is_set():
            if not isinstance(error, asyncio.CancelledError):
                log.error("lifespan_not_closed", exc_info=error)
        elif self._failure is not None:
            if error not in (None, self._failure.__cause__):  # one that was already open, and could not be closed
                log.error("lifespan_not_closed", exc_info=error)
        elif self._opened.is_set():
            lost = error or asyncio.CancelledError("somebody cancelled it")
            self._failure = LifespanFailed(f"what lifespans opened is gone: {_line(lost)}")
            log.error("lifespan_lost", exc_info=error)
            self._on_lost(self._failure)


def _failed(lifespan: Lifespan, what: str, error: BaseException) -> LifespanFailed:
    steps = [step for step in traceback.extract_tb(error.__traceback__) if Path(step.filename).name != "contextlib.py"]
    where = f" ({steps[-1].filename}, line {steps[-1].lineno})" if len(steps) > 1 else ""
    failed = LifespanFailed(f"the lifespan {name_of(lifespan)} {what}: {_line(error)}{where}")
    failed.__cause__ = error
    return failed


def _line(error: BaseException) -> str:
    said = " ".join(str(error).split())
    return f"{type(error).__name__}: {said}" if said else type(error).__name__
