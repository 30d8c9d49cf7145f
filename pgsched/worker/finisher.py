"""Writes outcomes in batches that clock themselves: the next goes out when the last is written."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from random import random
from time import monotonic
from uuid import UUID

from pgsched.db import outcomes
from pgsched.db.faults import RefusedByDatabase
from pgsched.db.outcomes import Announcement, LogEntry, Progress
from pgsched.db.session import Session
from pgsched.errors import DatabaseUnavailable
from pgsched.events import event_of
from pgsched.logs import get_logger
from pgsched.model import Finish, LogLine, Outcome
from pgsched.transition import conclude
from pgsched.worker.chain import Chain
from pgsched.worker.clock import DatabaseClock
from pgsched.worker.holds import FINISHING, Hold, Holds
from pgsched.worker.tally import Tally

log = get_logger("pgsched.worker")

MAX_BATCH = 2000
"""Finishes in one statement at the most."""


class Finisher:
    """Collects finishes while a write is under way, then writes them together."""

    def __init__(
        self,
        *,
        session: Session,
        worker: UUID,
        holds: Holds,
        clock: DatabaseClock,
        tally: Tally,
        on_written: Callable[[Sequence[tuple[Hold, Finish]]], None] | None = None,
    ) -> None:
        """``on_written`` is called with what passed the fence."""
        self._session = session
        self.on_written = on_written
        self._worker = worker
        self._holds = holds
        self._clock = clock
        self._tally = tally
        self._pending: list[tuple[Hold, Finish]] = []
        self._sent_before = False
        self.announced: frozenset[str] = frozenset()
        """Queues whose events other programs are told."""
        self.called = asyncio.Event()
        self.chain: Chain | None = None
        """Claims in the transaction that ends tasks of queues with limits."""

    def __len__(self) -> int:
        return len(self._pending)

    def conclude(self, hold: Hold, outcome: Outcome) -> None:
        """Take the outcome of an attempt. An abandoned one is dropped, a released one stays to be given back."""
        if hold.abandoned or outcome.status == "released":
            return
        task = hold.task
        finish = conclude(task, outcome, at=self._clock.at, random=random, missed=hold.missed)
        self._tally.execution(task, outcome, finish)
        self.put(hold, finish)
        if finish.execution != "completed":
            _log_failure(hold, finish)

    def put(self, hold: Hold, finish: Finish) -> None:
        """Queue a finish to be written."""
        hold.state = FINISHING
        if finish.execution is None and (finish.buried or finish.next_status == "dead"):
            self._tally.died_unrun(hold.task)
        for missed in finish.missed:
            self._tally.missed(missed.reason, missed.ticks)
        self._pending.append((hold, finish))
        self.called.set()

    async def tick(self) -> int:
        """Write what is pending; returns how many rows of it are to run again: a retry, a next tick.

        Raises DatabaseUnavailable, and keeps everything for the next tick.
        """
        self.called.clear()
        batch = self._pending[:MAX_BATCH]
        if not batch:
            return 0
        repeated, self._sent_before = self._sent_before, True
        reports = [Report(hold) for hold, _ in batch if hold.context is not None]
        fenced = self._tally.fenced
        written = batch
        try:
            try:
                await self._write(batch, reports, repeated=repeated, chain=not repeated)
            except RefusedByDatabase:
                written = await self._write_one_by_one(batch, reports)
        except BaseException:
            for report in reports:
                report.give_back()
            self.called.set()  # they are to be written even if nothing else ends
            raise
        self._sent_before = False
        del self._pending[: len(batch)]
        for hold, _ in batch:
            self._holds.drop(hold)
        if self._pending:
            self.called.set()
        if self.chain is not None:
            self.chain.take()
        if self.on_written is not None:
            self.wrote(written if self._tally.fenced == fenced else await self._passed(written))
        return sum(finish.next_status == "pending" for _, finish in batch)

    def announcements(self, batch: Sequence[tuple[Hold, Finish]]) -> list[Announcement]:
        """What other programs are told of some finishes."""
        told = []
        for hold, finish in batch if self.announced else ():
            if hold.task.queue in self.announced:
                event = event_of(hold.task, finish, self._clock.at(finish.finished or monotonic()))
                if event is not None:
                    told.append(Announcement(finish.id, finish.fencing_token, event.announcement()))
        return told

    def wrote(self, batch: Sequence[tuple[Hold, Finish]]) -> None:
        """These finishes passed the fence."""
        if self.on_written is not None:
            self.on_written(batch)

    async def _passed(self, batch: list[tuple[Hold, Finish]]) -> list[tuple[Hold, Finish]]:
        """Those that are in the history as ours; nothing, should the database be away just now."""
        try:
            written = await outcomes.find_recorded(self._session, self._worker, [finish for _, finish in batch])
        except DatabaseUnavailable as error:
            log.warning("hook_events_dropped", count=len(batch), reason=str(error))
            return []
        return [(hold, finish) for hold, finish in batch if (finish.id, finish.fencing_token) in written]

    async def _write(
        self, batch: list[tuple[Hold, Finish]], reports: list[Report], *, repeated: bool, chain: bool = False
    ) -> None:
        finishes = [finish for _, finish in batch]
        progress = [shown for report in reports for shown in report.progress()]
        logs = [entry for report in reports for entry in report.logs()]
        told = self.announcements(batch)
        then = self.chain.command(finishes) if chain and self.chain is not None else None
        passed = await outcomes.write(self._session, self._worker, finishes, progress, logs, monotonic(), told, then)
        if passed < len(finishes):
            await self._count_fenced(finishes, len(finishes) - passed, repeated=repeated)

    async def _count_fenced(self, finishes: list[Finish], missing: int, *, repeated: bool) -> None:
        """Say what the fence kept out. A finish sent twice may have been written the first time: that is no fence."""
        if repeated:
            written = await outcomes.find_recorded(self._session, self._worker, finishes)
            missing -= sum((finish.id, finish.fencing_token) in written for finish in finishes)
        if missing > 0:
            self._tally.fenced += missing
            log.warning("finish_fenced", count=missing, hint="another claim took the task after its lease ran out")

    async def _write_one_by_one(
        self, batch: list[tuple[Hold, Finish]], reports: list[Report]
    ) -> list[tuple[Hold, Finish]]:
        """One finish of the batch holds a value that the database refuses: the others must not suffer for it.

        Returns what was written in the end.
        """
        written = []
        for hold, finish in batch:
            own = [report for report in reports if report.hold is hold]
            try:
                await self._write([(hold, finish)], own, repeated=False)
                written.append((hold, finish))
            except RefusedByDatabase as error:
                log.error("finish_refused", task_id=finish.id, task_type=hold.task.task_type, error=str(error))
                dead = conclude(
                    hold.task,
                    Outcome(
                        "discarded",
                        finish.started,
                        finish.finished,
                        error=f"the outcome cannot be stored: {error}",
                    ),
                    at=self._clock.at,
                    random=random,
                )
                await self._write([(hold, dead)], [], repeated=False)
                written.append((hold, dead))
        return written


class Report:
    """The last words of a handler: its progress and log lines that are not written yet."""

    def __init__(self, hold: Hold) -> None:
        """Take them from its context."""
        self.hold = hold
        self._progress: str | None = None
        self._lines: list[LogLine] = []
        if hold.context is not None:
            self._progress, self._lines = hold.context.take_report()

    def progress(self) -> list[Progress]:
        """The progress, if it showed any."""
        task = self.hold.task
        return [] if self._progress is None else [Progress(task.id, task.fencing_token, self._progress)]

    def logs(self) -> list[LogEntry]:
        """The lines."""
        task = self.hold.task
        return [LogEntry(task.id, task.fencing_token, task.attempts, line) for line in self._lines]

    def give_back(self) -> None:
        """Keep them for the next try: they were not written."""
        if self.hold.context is not None:
            self.hold.context.give_back(self._progress, self._lines)


def _log_failure(hold: Hold, finish: Finish) -> None:
    task = hold.task
    log.warning(
        "task_dead" if finish.buried or finish.next_status == "dead" else "attempt_failed",
        task_id=task.id,
        task_type=task.task_type,
        queue=task.queue,
        attempt=task.attempts,
        max_attempts=task.max_attempts,
        outcome=finish.execution,
        retry_in=finish.retry_in,
        error=(finish.error or "").split("\n", 1)[0],
    )
