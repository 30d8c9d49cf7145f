"""The loops of a worker, the event loop below them, which handlers cannot end, and the state of each loop."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass
from functools import partial
from time import monotonic
from typing import Any, NamedTuple, TypeVar

from pgsched.db.error_mapping import RefusedByDatabase, one_line
from pgsched.domain.attempt import Claimed
from pgsched.domain.errors import DatabaseUnavailable
from pgsched.execution.process import LEAVE_SECONDS, exit_now
from pgsched.observability.logs import get_logger
from pgsched.worker.metrics import WorkerMetrics

log = get_logger("pgsched.worker")

T = TypeVar("T")

LOOP_SECONDS = 2.0
"""Maximum time for a cancelled loop to end."""
STEADY_SECONDS = 5.0
"""A loop has recovered when it has worked for this long since it failed, and is in trouble when it fails that long."""
AGAIN_SECONDS = 0.05
"""Pause before a task that ended is restarted."""
WORKED_SECONDS = 10.0
"""A loop that fails after working for this long is retried soon."""
FIRST_PAUSE, LONGEST_PAUSE, GROWTH = 0.1, 2.0, 1.3
"""Seconds between two attempts of a failing step, and the factor by which they grow: a database that is back is used
after about a third of the time that it was away, after the longest pause at the latest."""

Step = Callable[[], Awaitable[None]]
"""One iteration of a loop."""


def _never() -> bool:
    return False


class Failing(NamedTuple):
    """A failing loop. Times are by the monotonic clock, in seconds."""

    since: float
    last: float
    times: int
    error: str
    own: bool
    """The last failure was the program's own: neither an unavailable database nor one that rejected a statement."""
    works: bool = False
    """It has worked once more since its last failure."""


class Loop:
    """One loop, or one duty of the loop that performs several."""

    def __init__(self, name: str, counts: WorkerMetrics) -> None:
        self.name = name
        self._counts = counts
        self._failing: Failing | None = None  # replaced, never changed, because other threads read it

    def worked(self) -> None:
        """Note that an iteration succeeded."""
        failing = self._failing
        if failing is not None:
            recovered = monotonic() - failing.last > STEADY_SECONDS
            self._failing = None if recovered else failing._replace(works=True)

    def failed(self, error: BaseException) -> None:
        """A turn failed."""
        now, before = monotonic(), self._failing
        if before is None or (before.works and now - before.last > STEADY_SECONDS):
            before = Failing(since=now, last=now, times=0, error="", own=False)
        ours = not isinstance(error, DatabaseUnavailable)
        self._failing = Failing(
            since=before.since,
            last=now,
            times=before.times + 1,
            error=f"{type(error).__name__}: {one_line(error)}" if ours else one_line(error),
            own=ours,
        )

    def tries_again(self, error: Exception, seconds: float) -> None:
        """Note, count and log that an iteration failed and is retried after this number of seconds."""
        self.failed(error)
        if isinstance(error, DatabaseUnavailable):
            self._counts.database_errors += 1
            log.warning("database_error", loop=self.name, error=str(error), again_in=round(seconds, 1))
        else:
            log.error("loop_failed", loop=self.name, exc_info=error)

    async def run_forever(self, step: Step, may_end: Callable[[], bool]) -> None:
        """Repeat a step until it may end, with growing pauses while it fails."""
        pause = 0.0
        while not may_end():
            begun = monotonic()
            try:
                await step()
                pause = 0.0
                self.worked()
            except Exception as error:  # noqa: BLE001 - noted, and tried again
                pause = next_pause(pause)
                self.tries_again(error, pause)
            if monotonic() - begun > WORKED_SECONDS:
                pause = min(pause, FIRST_PAUSE)  # it had worked for long: this is a new trouble
            if pause:
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311

    def trouble(self) -> Failing | None:
        """Return how it fails; None while it works, or has failed only for a moment."""
        failing, now = self._failing, monotonic()
        if failing is None:
            return None
        if failing.works:
            lasting = now - failing.last <= STEADY_SECONDS and failing.last - failing.since > STEADY_SECONDS
        else:
            lasting = now - failing.since > STEADY_SECONDS
        return failing if lasting else None


def next_pause(pause: float) -> float:
    """Return how many seconds to wait after one more failure; the pause before the first one is 0."""
    return min(max(pause * GROWTH, FIRST_PAUSE), LONGEST_PAUSE)


def own_task(
    work: Coroutine[Any, Any, None], *, name: str, loop: asyncio.AbstractEventLoop | None = None
) -> asyncio.Task[None]:
    """Return a new task, of the running loop by default, that belongs to the worker.

    A handler that cancels "all tasks" does not find it (``asyncio.all_tasks`` omits it), and a task factory that an
    application has set does not create it.
    """
    task = asyncio.Task(work, loop=loop or asyncio.get_running_loop(), name=name)
    asyncio._unregister_task(task)
    return task


async def unless_stopped(start: Coroutine[Any, Any, None], stop: asyncio.Event, *, grace: float) -> bool:
    """Run the start-up; False when ``stop`` was set first and it had not finished ``grace`` seconds later."""
    starting = own_task(start, name="pgsched start")
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([starting, stopping], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not starting.done():
        await asyncio.wait([starting], timeout=grace)
    if not starting.done():
        starting.cancel()
        return False
    await starting
    return True


@dataclass(eq=False, repr=False)
class Lasting:
    """Work that continues until :meth:`end`, whatever it raises and whoever cancels it."""

    work: Callable[[], Coroutine[Any, Any, None]]
    _: KW_ONLY
    name: str
    on_lost: Callable[[BaseException], None]
    """Called when it ended by itself."""
    may_end: Callable[[], bool] = _never
    """Whether it may do so now."""

    def __post_init__(self) -> None:
        self._ending = False
        self.task: asyncio.Task[None] | None = None
        self._again: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Start in the running loop."""
        self.task = own_task(self.work(), name=self.name)
        self.task.add_done_callback(self._ended)

    @property
    def begins_again(self) -> bool:
        """Whether it has ended and is about to restart."""
        return self._again is not None

    @property
    def done(self) -> bool:
        """Whether it has ended and will not restart."""
        return self.task is None or (self.task.done() and not self.begins_again)

    async def wait(self, timeout: float) -> None:
        """Wait until it has ended by itself, at most ``timeout`` seconds."""
        if self.task is not None and not self.task.done():
            await asyncio.wait([self.task], timeout=timeout)

    async def end(self, timeout: float | None = None) -> None:
        """Cancel it and wait until it has ended, at most ``timeout`` seconds."""
        self._ending = True
        if self._again is not None:
            self._again.cancel()
            self._again = None
        if self.task is not None and not self.task.done():
            self.task.cancel()
            await asyncio.wait([self.task], timeout=timeout)

    def _ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if self._ending or self.may_end():
            return
        error = error or asyncio.CancelledError("somebody cancelled it")
        self.on_lost(error)
        log.error("loop_ended", loop=self.name, error=repr(error), again_in=AGAIN_SECONDS)
        self._again = task.get_loop().call_later(AGAIN_SECONDS, self._begin_again)

    def _begin_again(self) -> None:
        self._again = None
        if not self._ending:
            self.start()


class Loops:
    """All of them, by name."""

    def __init__(self, counts: WorkerMetrics) -> None:
        self._counts = counts
        self._loops: dict[str, Loop] = {}

    def of(self, name: str) -> Loop:
        """Return the loop with this name."""
        return self._loops.setdefault(name, Loop(name, self._counts))

    def start(self, name: str, step: Step, *, may_end: Callable[[], bool] = _never) -> Lasting:
        """Start a loop that only :meth:`Lasting.end` ends; it may end by itself while ``may_end`` returns true."""
        loop = self.of(name)
        lasting = Lasting(
            partial(loop.run_forever, step, may_end), name=f"pgsched {name}", may_end=may_end, on_lost=loop.failed
        )
        lasting.start()
        return lasting

    def in_trouble(self) -> list[tuple[str, Failing]]:
        """Return the failing loops, by name."""
        seen = [(name, loop.trouble()) for name, loop in sorted(self._loops.copy().items())]
        return [(name, failing) for name, failing in seen if failing is not None]


async def wait_at_most(seconds: float | None, event: asyncio.Event) -> None:
    """Wait until an event is set, at most ``seconds``; None waits without a limit."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


async def retry_until_success(what: str, task: Claimed, ask: Callable[[], Awaitable[T]], counts: WorkerMetrics) -> T:
    """Repeat a query until the database answers, with growing pauses; meanwhile the heartbeat keeps the lease.

    A cancellation ends it when the lease is lost or the worker stops. Raises RefusedByDatabase: repeating would not
    help.
    """
    pause = FIRST_PAUSE
    while True:
        try:
            return await ask()
        except DatabaseUnavailable as error:
            if isinstance(error, RefusedByDatabase) and not error.passing:
                raise
            counts.database_errors += 1
            log.warning("database_error", loop=what, task_id=task.id, error=str(error), again_in=round(pause, 1))
        await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311
        pause = next_pause(pause)


def run_steadily(work: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine on a new event loop, like ``asyncio.run``, until it ends and not earlier; raises its exception.

    What a handler left behind may raise SystemExit or KeyboardInterrupt, and a handler may stop the loop: each would
    end an ordinary one. At its end, a task that swallows its cancellation would keep it running forever.

    Remaining tasks are cancelled and have LEAVE_SECONDS. A broken loop (a handler closed its file descriptors) ends the
    process with exit code 1.
    """
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    task = own_task(work, name="pgsched worker", loop=loop)
    try:
        _run(loop, task)
    finally:
        if left := asyncio.all_tasks(loop):
            for one in left:
                one.cancel()
            _run(loop, own_task(_wait(left), name="pgsched worker", loop=loop))
        asyncio.set_event_loop(None)
        loop.close()


async def _wait(tasks: set[asyncio.Task[Any]]) -> None:
    await asyncio.wait(tasks, timeout=LEAVE_SECONDS)


def _run(loop: asyncio.AbstractEventLoop, task: asyncio.Task[None]) -> None:
    while True:
        try:
            return loop.run_until_complete(task)
        except BaseException as error:
            if task.done():
                raise
            if loop.is_closed() or not isinstance(error, SystemExit | KeyboardInterrupt | RuntimeError):
                log.exception("loop_broken")
                exit_now(1)
            log.error("loop_interrupted", error=repr(error), hint="by what a handler left on the event loop")
