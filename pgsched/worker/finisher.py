"""Writes outcomes in batches that clock themselves: the next goes out when the last is written."""

from __future__ import annotations

import asyncio
from random import random
from time import monotonic
from uuid import UUID

import structlog

from pgsched.db import outcomes
from pgsched.db.outcomes import LogEntry, Progress
from pgsched.db.session import RefusedByDatabase, Session
from pgsched.model import Finish, LogLine, Outcome
from pgsched.transition import conclude
from pgsched.worker.clock import DatabaseClock
from pgsched.worker.holds import FINISHING, Hold, Holds
from pgsched.worker.tally import Tally

log = structlog.stdlib.get_logger("pgsched.worker")

MAX_BATCH = 2000
"""Finishes in one statement at the most."""


class Finisher:
    """Collects finishes while a write is under way, then writes them together."""

    def __init__(self, *, session: Session, worker: UUID, holds: Holds, clock: DatabaseClock, tally: Tally) -> None:
        self._session = session
        self._worker = worker
        self._holds = holds
        self._clock = clock
        self._tally = tally
        self._pending: list[tuple[Hold, Finish]] = []
        self._sent_before = False
        self.called = asyncio.Event()

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
        reports = [_Report(hold) for hold, _ in batch if hold.context is not None]
        try:
            try:
                await self._write([finish for _, finish in batch], reports, repeated=repeated)
            except RefusedByDatabase:
                await self._write_one_by_one(batch, reports)
        except BaseException:
            for report in reports:
                report.give_back()
            raise
        self._sent_before = False
        del self._pending[: len(batch)]
        for hold, _ in batch:
            self._holds.drop(hold)
        if self._pending:
            self.called.set()
        return sum(finish.next_status == "pending" for _, finish in batch)

    async def _write(self, finishes: list[Finish], reports: list[_Report], *, repeated: bool) -> None:
        progress = [shown for report in reports for shown in report.progress()]
        logs = [entry for report in reports for entry in report.logs()]
        passed = await outcomes.write(self._session, self._worker, finishes, progress, logs, monotonic())
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

    async def _write_one_by_one(self, batch: list[tuple[Hold, Finish]], reports: list[_Report]) -> None:
        """One finish of the batch holds a value that the database refuses: the others must not suffer for it."""
        for hold, finish in batch:
            own = [report for report in reports if report.hold is hold]
            try:
                await self._write([finish], own, repeated=False)
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
                await self._write([dead], [], repeated=False)


class _Report:
    """The last words of a handler: its progress and log lines that are not written yet."""

    def __init__(self, hold: Hold) -> None:
        self.hold = hold
        self._progress: str | None = None
        self._lines: list[LogLine] = []
        if hold.context is not None:
            self._progress, self._lines = hold.context.take_report()

    def progress(self) -> list[Progress]:
        task = self.hold.task
        return [] if self._progress is None else [Progress(task.id, task.fencing_token, self._progress)]

    def logs(self) -> list[LogEntry]:
        task = self.hold.task
        return [LogEntry(task.id, task.fencing_token, task.attempts, line) for line in self._lines]

    def give_back(self) -> None:
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
