"""Calls the application's hooks. A slow or broken one never delays the worker: events beyond the bound are dropped."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Sequence
from functools import partial
from time import monotonic
from typing import Any

from pgsched.concurrency.thread_pool import Threads
from pgsched.domain.attempt import Finish
from pgsched.domain.events import Event, Hooks, event_of, name_of
from pgsched.observability.logs import get_logger
from pgsched.worker.clock import DatabaseClock
from pgsched.worker.leased_tasks import LeasedTask
from pgsched.worker.loops import Lasting, Loop

log = get_logger("pgsched.worker")

MAX_WAITING = 10_000
"""Maximum number of waiting calls; further events are dropped."""
WARN_SECONDS = 10.0
"""How often dropped events are logged."""

Function = Callable[[Event], Any]


class HookDispatcher:
    """Calls hooks one by one in the order of the events: ``async`` ones on the loop, plain ones in a thread."""

    def __init__(self, hooks: Hooks, *, clock: DatabaseClock, loop: Loop) -> None:
        """``loop`` records the state of this loop."""
        self._hooks = hooks
        self._clock = clock
        self._waiting: asyncio.Queue[tuple[Function, Event]] = asyncio.Queue()
        self._thread: Threads[BaseException | None] = Threads(limit=1, name="pgsched hooks")
        self._state = loop
        self._loop = Lasting(self._run, name="pgsched hooks", on_lost=loop.failed)
        self._untold = 0
        self._told_at = -WARN_SECONDS
        self.dropped = 0
        """Events for which some hook was not called."""

    def started(self, leased: LeasedTask) -> None:
        """A handler begins."""
        task = leased.task
        if functions := self._hooks.of("started"):
            self._tell(
                functions,
                lambda: Event(
                    event="started",
                    id=task.id,
                    task_type=task.task_type,
                    queue=task.queue,
                    attempt=task.attempts,
                    at=self._clock.now(),
                ),
            )

    def finished(self, written: Sequence[tuple[LeasedTask, Finish]]) -> None:
        """Note that these outcomes are in the database."""
        for leased, finish in written:
            if functions := self._hooks.of(name_of(finish) or ""):
                self._tell(functions, partial(self._ended, leased, finish))

    def start(self) -> None:
        """Start calling hooks."""
        self._loop.start()

    async def _run(self) -> None:
        while True:
            function, event = await self._waiting.get()
            self._state.worked()
            try:
                await self._call(function, event)
            except Exception:
                log.exception("hook_failed", on=event.event, task_id=event.id)
            finally:
                self._waiting.task_done()

    async def stop(self, timeout: float) -> None:
        """Wait until hooks were called for all events so far, at most ``timeout`` seconds; then stop calling hooks."""
        try:
            async with asyncio.timeout(timeout):
                await self._waiting.join()
        except TimeoutError:
            log.warning("hook_events_dropped", count=self._waiting.qsize() + 1, reason="the worker stops")
        await self._loop.end(timeout)
        self._thread.close()

    def _ended(self, leased: LeasedTask, finish: Finish) -> Event | None:
        at = self._clock.at(finish.finished) if finish.execution else self._clock.now()
        return event_of(leased.task, finish, at, with_result=True)

    def _tell(self, functions: list[Function], make: Callable[[], Event | None]) -> None:
        """Queue the hooks of an event. A failure must not affect whoever runs or writes the task."""
        try:
            event = make()
            if event is not None:
                self._put(functions, event)
        except Exception:
            self.dropped += 1
            log.exception("hook_events_dropped", count=1)

    def _put(self, functions: list[Function], event: Event) -> None:
        if self._waiting.qsize() + len(functions) > MAX_WAITING:
            self.dropped += 1
            self._untold += 1
            if monotonic() - self._told_at >= WARN_SECONDS:
                log.warning("hook_events_dropped", count=self._untold, reason="the hooks are slower than the tasks")
                self._untold, self._told_at = 0, monotonic()
            return
        for function in functions:
            self._waiting.put_nowait((function, event))

    async def _call(self, function: Function, event: Event) -> None:
        error: BaseException | None
        if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None)):  # noqa: B004
            error = await _awaited(function, event)
        else:
            error = await self._thread.submit(partial(_called, function, event)).future
        if error is not None:
            name = getattr(function, "__qualname__", None)
            log.error("hook_failed", hook=name or function, on=event.event, task_id=event.id, exc_info=error)


def _called(function: Function, event: Event) -> BaseException | None:
    try:
        function(event)
    except BaseException as error:  # noqa: BLE001 - SystemExit of a hook must not end the thread
        return error
    return None


async def _awaited(function: Function, event: Event) -> BaseException | None:
    try:
        await function(event)
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        return error
    except BaseException as error:  # noqa: BLE001 - SystemExit of a hook must not end the worker
        return error
    return None
