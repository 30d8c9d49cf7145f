"""Writes finishes in one transaction with what their handlers reported, and tells who listens what was written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import monotonic
from typing import NamedTuple
from uuid import UUID

from pgsched.db.session import Session
from pgsched.db.worker import completions
from pgsched.db.worker.completions import Announcement
from pgsched.domain.events import event_of
from pgsched.observability.logs import get_logger
from pgsched.worker.clock import DatabaseClock
from pgsched.worker.limited_claims import LimitedClaims
from pgsched.worker.metrics import WorkerMetrics
from pgsched.worker.report import Report
from pgsched.worker.slow_finishes import Ended

log = get_logger("pgsched.worker")


class Written(NamedTuple):
    """What became of finishes that were sent to the database in one transaction."""

    over: Sequence[Ended]
    """Those whose rows are the worker's no longer."""
    kept: Sequence[Ended]
    """Those whose rows still are: a trigger of the table dropped the update."""
    recorded: Sequence[Ended]
    """Those of ``over`` that passed the fence, now or the time before."""


class FinishWriter:
    """Writes finishes, and notes what the fence rejects."""

    def __init__(
        self,
        *,
        session: Session,
        worker: UUID,
        clock: DatabaseClock,
        counts: WorkerMetrics,
        limited_claims: LimitedClaims,
        on_written: Callable[[Sequence[Ended]], None] | None,
    ) -> None:
        """``limited_claims`` claims in the transactions that end tasks of queues with limits; ``on_written`` is called
        with the finishes that passed the fence.
        """
        self._session = session
        self._worker = worker
        self._clock = clock
        self._counts = counts
        self._limited_claims = limited_claims
        self.on_written = on_written
        self.announced: frozenset[str] = frozenset()
        """Queues whose events are announced to other programs."""

    def announcements(self, batch: Sequence[Ended]) -> list[Announcement]:
        """Return the events of some finishes for other programs."""
        told = []
        for leased, finish in batch if self.announced else ():
            if leased.task.queue in self.announced:
                event = event_of(leased.task, finish, self._clock.at(finish.finished or monotonic()))
                if event is not None:
                    told.append(Announcement(finish.id, finish.fencing_token, event.announcement()))
        return told

    def wrote(self, batch: Sequence[Ended]) -> None:
        """Note the finishes that passed the fence."""
        if self.on_written is not None:
            self.on_written(batch)

    async def write(
        self,
        batch: Sequence[Ended],
        *,
        repeated: bool,
        claim_on_finish: bool = False,
        tells: bool = True,
        session: Session | None = None,
    ) -> Written:
        """Write some finishes in one transaction. ``tells`` includes what they report; ``session``: another one than
        that of the usual finishes.

        Raises RefusedByDatabase, DatabaseUnavailable, and the error of a value that has no form in SQL; what they
        report is kept for the next time then.
        """
        session = session or self._session
        finishes = [finish for _, finish in batch]
        reports = [Report(leased) for leased, _ in batch if leased.context is not None]
        try:
            progress = [shown for report in reports for shown in report.progress()] if tells else []
            logs = [entry for report in reports for entry in report.logs()] if tells else []
            told = self.announcements(batch) if tells else ()
            then = self._limited_claims.reserve(finishes) if claim_on_finish else None
            passed = await completions.write(session, self._worker, finishes, progress, logs, monotonic(), told, then)
            if passed == len(batch):
                return Written(batch, (), batch)
            return await self._look_up(session, batch, passed, repeated=repeated)
        except BaseException:
            for report in reports:
                report.give_back()
            raise

    async def _look_up(self, session: Session, batch: Sequence[Ended], passed: int, *, repeated: bool) -> Written:
        """Find out what became of finishes of which only ``passed`` passed the fence.

        One that was sent twice may have been written the first time: that is not fenced. The history does not show
        which time it was, so those that passed now are not subtracted as well: they are in it too.
        """
        finishes = [finish for _, finish in batch]
        ours = await completions.find_kept(session, self._worker, finishes)
        kept = [one for one in batch if one[1].id in ours]
        over = [one for one in batch if one[1].id not in ours]
        missing, recorded = len(over) - passed, over
        if missing and (repeated or self.on_written is not None):
            written = await completions.find_recorded(session, self._worker, finishes)
            recorded = [one for one in over if (one[1].id, one[1].fencing_token) in written]
            if repeated:
                left = [finish for _, finish in over if (finish.id, finish.fencing_token) not in written]
                unrecorded = sum(finish.execution is None for finish in left)  # in no history, even if they have passed
                missing = len(left) - min(unrecorded, passed)
        if missing > 0:
            self._counts.fenced += missing
            log.warning("finish_fenced", count=missing, hint="another claim took the task after its lease expired")
        return Written(over, kept, recorded)
