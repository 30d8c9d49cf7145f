"""What a worker does beside running tasks: shows progress, makes partitions, forgets dead workers."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic
from uuid import UUID
from weakref import WeakSet

from pgsched.db import outcomes, upkeep
from pgsched.db.leases import forget_dead, mark_begun
from pgsched.db.session import Session
from pgsched.logs import get_logger
from pgsched.worker.finisher import Finisher, Report
from pgsched.worker.halves import in_halves
from pgsched.worker.holds import RUNNING, Hold, Holds

log = get_logger("pgsched.worker")

REPORT_SECONDS = 0.5
"""How often what handlers report is written."""
ANNOUNCE_SECONDS = 2.0
"""How soon a worker that hears no notifications learns that a queue announces its events, or no longer does."""
ANNOUNCE_HEARD_SECONDS = 60.0
"""How often one asks that hears of it anyway."""
HOUSEKEEPING_SECONDS = 600.0
"""How often partitions are made ahead and dead workers forgotten."""


class Reporter:
    """Writes what running handlers report of themselves, and that those have begun which were held in advance."""

    def __init__(self, *, session: Session, worker: UUID, holds: Holds) -> None:
        self._session = session
        self._worker = worker
        self._holds = holds
        self._refused: WeakSet[Hold] = WeakSet()
        """Whose report was refused: it is said once."""

    async def mark_begun(self) -> None:
        """Let the attempts count of rows that were held in advance and have begun. Raises DatabaseUnavailable.

        A row that is locked is marked at the next tick; one that is refused is not: should its worker be lost, one
        attempt too many is made.
        """
        begun = [hold for hold in self._holds.snapshot() if hold.in_advance and hold.state == RUNNING]

        async def mark(part: Sequence[Hold]) -> None:
            marked = await mark_begun(self._session, self._worker, [hold.task for hold in part])
            for hold in part:
                hold.in_advance = hold.task.id not in marked

        for hold, error in await in_halves(begun, mark):
            hold.in_advance = False
            log.warning("begin_not_noted", task_id=hold.task.id, task_type=hold.task.task_type, error=str(error))

    async def tick(self) -> int:
        """Write progress and log lines that came since the last tick; returns how many there were.

        What the database refuses of one attempt stays with it for the next tick, and at last for its finish. Raises
        DatabaseUnavailable, and keeps for the next tick what was not written.
        """
        await self.mark_begun()
        reports = [
            report
            for hold in self._holds.snapshot()
            if hold.state == RUNNING and hold.context is not None and (report := Report(hold))
        ]
        unwritten = {id(report): report for report in reports}

        async def write(part: Sequence[Report]) -> None:
            progress = [shown for report in part for shown in report.progress()]
            logs = [entry for report in part for entry in report.logs()]
            await outcomes.report(self._session, self._worker, progress, logs, monotonic())
            for report in part:
                del unwritten[id(report)]

        try:
            for report, error in await in_halves(reports, write):
                if report.hold not in self._refused:
                    self._refused.add(report.hold)
                    log.warning("report_refused", task_id=report.hold.task.id, error=str(error))
        finally:
            for report in unwritten.values():
                report.give_back()
        return sum(map(len, reports))


class Announcer:
    """Knows the queues whose events other programs are told."""

    def __init__(self, *, session: Session, finisher: Finisher) -> None:
        self._session = session
        self._finisher = finisher
        self._look_at = 0.0
        self.heard = False
        """Whether notifications come in: then a change of a queue's settings is heard of."""

    def look_again(self) -> None:
        """The settings of a queue have changed: ask at the next tick."""
        self._look_at = 0.0

    async def tick(self, *, now: bool = False) -> None:
        """Ask which queues these are, if the last answer is old or at once. Raises DatabaseUnavailable."""
        begun = monotonic()
        if now or begun >= self._look_at:
            self._look_at = begun + (ANNOUNCE_HEARD_SECONDS if self.heard else ANNOUNCE_SECONDS)
            self._finisher.announced = await upkeep.list_announced_queues(self._session)


class Housekeeper:
    """Keeps the tables in order for everyone; harmless to run in every worker."""

    def __init__(self, *, session: Session) -> None:
        self._session = session

    async def tick(self) -> None:
        """Make the history's partitions of the days to come, forget workers that died. Raises DatabaseUnavailable."""
        await upkeep.make_partitions(self._session)
        await forget_dead(self._session)
