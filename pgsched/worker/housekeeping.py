"""The duties of a worker besides running tasks: it reports progress, creates partitions, forgets dead workers."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from time import monotonic
from uuid import UUID
from weakref import WeakSet

from pgsched.db.session import Session
from pgsched.db.worker import completions, housekeeping
from pgsched.db.worker.leases import forget_dead, mark_begun
from pgsched.observability.logs import get_logger
from pgsched.worker.finish_writer import FinishWriter
from pgsched.worker.halves import in_halves
from pgsched.worker.leased_tasks import RUNNING, LeasedTask, LeasedTasks
from pgsched.worker.loops import Loop, Loops
from pgsched.worker.report import Report

log = get_logger("pgsched.worker")

REPORT_SECONDS = 0.5
"""How often the reports of handlers are written."""
ANNOUNCE_SECONDS = 2.0
"""How soon a worker without notifications notices that a queue's events are announced, or no longer are."""
ANNOUNCE_HEARD_SECONDS = 300.0
"""How often a worker with notifications checks that."""
HOUSEKEEPING_SECONDS = 600.0
"""How often partitions are created ahead and dead workers forgotten."""
EXPIRE_SECONDS, EXPIRE_AGAIN_SECONDS = 120.0, 2.0
"""How often to look for expired tasks that no worker claims: at least, and at most when one is about to expire."""
MOST_EXPIRED = 1_000
"""Maximum number of them that are cancelled per turn."""
FIRST_PAUSE, SHORT_PAUSE, LONG_PAUSE = 0.5, 5.0, 60.0
"""Pauses of a failing duty: the first, and the longest for frequent and for rare duties."""


@dataclass(kw_only=True, eq=False, repr=False)
class Reporter:
    """Writes what running handlers report, and that prefetched rows have started."""

    session: Session
    worker: UUID
    leased_tasks: LeasedTasks

    def __post_init__(self) -> None:
        self._refused: WeakSet[LeasedTask] = WeakSet()
        """Whose report was rejected, which is logged once."""

    async def mark_begun(self) -> None:
        """Count the attempts of prefetched rows that have started. Raises DatabaseUnavailable.

        A locked row is marked at the next turn; a rejected one never: if its worker is lost, it gets one attempt too
        many.
        """
        begun = [leased for leased in self.leased_tasks.snapshot() if leased.in_advance and leased.state == RUNNING]

        async def mark(part: Sequence[LeasedTask]) -> None:
            marked = await mark_begun(self.session, self.worker, [leased.task for leased in part])
            for leased in part:
                leased.in_advance = leased.task.id not in marked

        for leased, error in await in_halves(begun, mark):
            leased.in_advance = False
            log.warning("begin_not_noted", task_id=leased.task.id, task_type=leased.task.task_type, error=str(error))

    async def run_once(self) -> int:
        """Write progress and log lines since the last turn; returns how many there were.

        What the database rejects of one attempt stays with it for the next turn, and finally for its finish. Raises
        DatabaseUnavailable, and keeps what was not written for the next turn.
        """
        await self.mark_begun()
        running = [
            leased for leased in self.leased_tasks.snapshot() if leased.state == RUNNING and leased.batch is None
        ]
        late = [leased for leased in self.leased_tasks.outlived if self.leased_tasks.get(leased.task.id) is not leased]
        written = await self._report(running, late=False) + await self._report(late, late=True)
        for leased in late:
            ended = leased.slot is None or leased.slot.done()
            if ended and (leased.context is None or not leased.context.reported or leased in self._refused):
                self.leased_tasks.outlived.discard(leased)
        return written

    async def _report(self, leased_tasks: Sequence[LeasedTask], *, late: bool) -> int:
        """Write the reports of these attempts; ``late``: their ends are in the table."""
        reports = [report for leased in leased_tasks if leased.context is not None and (report := Report(leased))]
        unwritten = {id(report): report for report in reports}

        async def write(part: Sequence[Report]) -> None:
            progress = [shown for report in part for shown in report.progress()]
            logs = [entry for report in part for entry in report.logs()]
            await completions.report(self.session, self.worker, progress, logs, monotonic(), late=late)
            for report in part:
                del unwritten[id(report)]

        try:
            for report, error in await in_halves(reports, write):
                if report.leased not in self._refused:
                    self._refused.add(report.leased)
                    log.warning("report_refused", task_id=report.leased.task.id, error=str(error))
        finally:
            for report in unwritten.values():
                report.give_back()
        return sum(map(len, reports))


@dataclass(kw_only=True, eq=False, repr=False)
class EventBroadcaster:
    """Knows the queues whose events are announced to other programs."""

    session: Session
    writer: FinishWriter

    def __post_init__(self) -> None:
        self._hears = False
        self._look_at = 0.0
        """When to refresh these queues."""

    def hear(self, hears: bool) -> None:
        """Note that notifications arrive from now on, or no longer do; they include changes of settings."""
        self._hears = hears

    def look_again(self) -> None:
        """Note that the settings of a queue have changed: refresh at the next turn."""
        self._look_at = 0.0

    async def run_once(self) -> None:
        """Refresh these queues, if the last answer is old. Raises DatabaseUnavailable."""
        begun = monotonic()
        if begun >= self._look_at:
            self._look_at = begun + (ANNOUNCE_HEARD_SECONDS if self._hears else ANNOUNCE_SECONDS)
            self.writer.announced = await housekeeping.list_announced_queues(self.session)


@dataclass(kw_only=True, eq=False, repr=False)
class Expiry:
    """Cancels tasks that have expired and that no worker claims: in a paused queue, or of an unknown type."""

    session: Session

    def __post_init__(self) -> None:
        self._look_at = 0.0

    async def run_once(self) -> None:
        """Cancel expired tasks, if it is time to look or there were more. Raises DatabaseUnavailable."""
        if monotonic() < self._look_at:
            return
        number, next_in = await housekeeping.expire_tasks(self.session, MOST_EXPIRED)
        if number:
            log.info("tasks_expired", count=number)
        if number < MOST_EXPIRED:
            pause = EXPIRE_SECONDS if next_in is None else min(max(next_in, EXPIRE_AGAIN_SECONDS), EXPIRE_SECONDS)
            self._look_at = monotonic() + pause * random.uniform(1, 1.2)  # noqa: S311 - not all at once


@dataclass(kw_only=True, eq=False, repr=False)
class Chore:
    """One periodic duty besides the work, repeated sooner when it failed. Its failures affect nothing else."""

    do: Callable[[], Awaitable[object]]
    loop: Loop
    every: float
    due: float = 0.0
    pause: float = 0.0

    async def run_once(self) -> None:
        """Perform it if it is due."""
        if monotonic() < self.due:
            return
        try:
            await self.do()
        except Exception as error:  # noqa: BLE001 - noted, and tried again
            longest = min(max(self.every, SHORT_PAUSE), LONG_PAUSE)
            self.pause = min(max(self.pause * 2, FIRST_PAUSE), longest)
            self.due = monotonic() + self.pause
            self.loop.tries_again(error, self.pause)
        else:
            self.loop.worked()
            self.pause = 0.0
            self.due = monotonic() + self.every * random.uniform(0.8, 1.2)  # noqa: S311 - not all at once


class Housekeeping:
    """All duties of one worker, over one session, one after the other."""

    def __init__(self, *, session: Session, loops: Loops, often: Mapping[str, Callable[[], Awaitable[object]]]) -> None:
        """``often`` are the duties of each turn, by name."""
        seldom = {
            "partitions": partial(housekeeping.make_partitions, session),
            "dead_workers": partial(forget_dead, session),
        }
        often = {**often, "expiry": Expiry(session=session).run_once}
        self._chores = [
            Chore(do=do, loop=loops.of(name), every=every)
            for every, chores in ((0.0, often), (HOUSEKEEPING_SECONDS, seldom))
            for name, do in chores.items()
        ]

    async def run_once(self) -> None:
        """Perform the duties that are due."""
        for chore in self._chores:
            await chore.run_once()
