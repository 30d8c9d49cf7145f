"""Writes outcomes in self-clocking batches: the next batch is sent when the previous one is written."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from random import random
from time import monotonic
from uuid import UUID

from pgsched.db.error_mapping import (
    RefusedByDatabase,
    RefusedByServer,
    SilentDatabase,
    is_of_the_server,
    is_passing,
    one_line,
)
from pgsched.db.session import Session
from pgsched.db.worker import completions
from pgsched.domain.attempt import Finish, Outcome
from pgsched.domain.errors import DatabaseUnavailable
from pgsched.domain.lifecycle import conclude, give_up
from pgsched.execution.outcomes import describe
from pgsched.observability.logs import get_logger
from pgsched.worker.attempt_log import log_completed, log_failure, log_suspended
from pgsched.worker.clock import DatabaseClock
from pgsched.worker.finish_writer import FinishWriter
from pgsched.worker.halves import FEW, Refusals, in_halves
from pgsched.worker.leased_tasks import ABANDONED, END, MOVES, LeasedTask, LeasedTasks
from pgsched.worker.limited_claims import LimitedClaims
from pgsched.worker.metrics import WorkerMetrics
from pgsched.worker.set_aside import SetAside
from pgsched.worker.slow_finishes import Ended, SlowFinishes
from pgsched.worker.usual_seconds import NEGLIGIBLE, UsualSeconds

log = get_logger("pgsched.worker")

MAX_BATCH = 2000
"""Maximum number of finishes in one statement."""
MAX_BYTES = 16 * 1024 * 1024
"""Maximum size of results, errors and log lines in one statement; a protocol message is limited to 1 GB."""
LOCK_SECONDS = 0.2
"""How long a batch waits for a row that another session has locked before it is written without that row."""
MAX_UNWRITTEN = 10_000
MAX_UNWRITTEN_SECONDS = 5.0
MAX_SET_ASIDE = 1_000
"""Limits for unwritten outcomes: their number, the age of the oldest in seconds, and those the database rejects.
Beyond any of them nothing more is claimed, so that handlers do not run unrecorded."""
PATIENCE = 3
"""Attempts for a batch in which every outcome is rejected, before its tasks are ended as dead: half a minute."""
DROPPED = "the update was dropped: a trigger of the table returns null for the row"


class Completer:
    """Collects finishes while a write is in progress, then writes them together.

    A finish that the database rejects costs its neighbours nothing: the batch is halved until that finish stands alone.
    It is then written without its optional parts (log lines, progress, events), else as dead with the database's
    message, else it is set aside and retried later, like one whose row another session has locked.
    """

    def __init__(
        self,
        *,
        session: Session,
        writer: FinishWriter,
        slow_session: Session,
        lease: float,
        worker: UUID,
        leased_tasks: LeasedTasks,
        clock: DatabaseClock,
        counts: WorkerMetrics,
        usual: UsualSeconds,
        limited_claims: LimitedClaims,
    ) -> None:
        """``writer`` writes by ``session``, ``slow_session`` what is not answered there in time; ``lease`` is that of a
        task. ``limited_claims`` claims in the transactions that end tasks of queues with limits.
        """
        self._session = session
        self.writer = writer
        self._worker = worker
        self._leased = leased_tasks
        self._clock = clock
        self._counts = counts
        self._usual = usual
        self._limited_claims = limited_claims
        self._pending: list[Ended] = []
        self._suspended = False
        """Whether suspended runs are among them."""
        self.set_aside: SetAside[Ended] = SetAside("finish")
        """Finishes that the database rejects, even as dead, or whose rows are locked."""
        self.slow = SlowFinishes(
            session=slow_session,
            worker=worker,
            lease=lease,
            write=self._write_slow,
            failed=lambda one, error: self._put_aside(one, str(error), impaired=is_of_the_server(error)),
            tried=lambda: self.wakeup.set(),
        )
        """Writes those of them whose statement was not answered in time."""
        self._again_slow: list[int] = []
        self._sent_before = self._hurried = False
        self._waiting_since: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.logs_completed = log.takes("debug")
        """Whether successful attempts are logged as well: usually nobody reads about them."""
        self.wakeup = asyncio.Event()

    def __len__(self) -> int:
        return len(self._pending) + len(self.set_aside)

    @property
    def oldest_unwritten(self) -> float | None:
        """Since when an outcome has waited to be written, by the monotonic clock; None when none waits.

        Outcomes that are set aside do not count. For outcomes that arrived during a write, the start of that write.
        """
        return self._waiting_since

    @property
    def busy(self) -> bool:
        """Whether there is something to write now."""
        return bool(self._pending or self.set_aside.due())

    @property
    def behind(self) -> bool:
        """Whether so much is unwritten that nothing more should be claimed."""
        waiting = self._waiting_since
        return (
            len(self._pending) >= MAX_UNWRITTEN
            or len(self.set_aside) >= MAX_SET_ASIDE
            or (waiting is not None and monotonic() - waiting > MAX_UNWRITTEN_SECONDS)
        )

    def conclude(self, leased: LeasedTask, outcome: Outcome) -> None:
        """Take the outcome of an attempt. An abandoned one is dropped, a released one stays to be given back."""
        if leased.state == ABANDONED or outcome.status == "released":
            return
        task = leased.task
        try:
            finish = conclude(task, outcome, at=self._clock.at, random=random, missed=leased.missed)
        except Exception as error:
            log.exception("finish_unplanned", task_id=task.id, task_type=task.task_type)
            finish = give_up(task, outcome, f"what follows this run cannot be planned: {describe(error)}")
        self._counts.execution(task, outcome, finish)
        if finish.suspension is not None:
            self._suspended = True
            self.put(leased, finish)
            if self.logs_completed:
                log_suspended(leased, finish)
            return
        seconds = outcome.finished - outcome.started
        if seconds > NEGLIGIBLE or self._usual.slow or task.task_type not in self._usual.known:
            self._usual.observe(task.task_type, seconds)
        self.put(leased, finish)
        if finish.execution != "completed":
            log_failure(leased, finish)
        elif self.logs_completed:
            log_completed(task, outcome)

    def put(self, leased: LeasedTask, finish: Finish) -> None:
        """Queue a finish for writing; that of a locked row goes to its batch."""
        leased.state = MOVES[leased.state, END]  # like move(), without a call for every task
        if finish.execution is None and (finish.dead_lettered or finish.next_status == "dead"):
            self._counts.died_unrun(leased.task)
        for missed in finish.missed:
            self._counts.missed(leased.task, missed.reason, missed.ticks)
        if leased.batch is not None:
            leased.batch.end(leased, finish)
        else:
            self.put_again(leased, finish)

    def put_again(self, leased: LeasedTask, finish: Finish) -> None:
        """Queue a finish that was counted."""
        if self._waiting_since is None:
            self._waiting_since = monotonic()
        if not self._pending:  # otherwise it has been woken, or will be after the current write
            self.wakeup.set()
        self._pending.append((leased, finish))

    def try_all(self) -> None:
        """Retry what is set aside at once, because the worker stops."""
        self._hurried = True
        self.set_aside.hurry()
        self.wakeup.set()

    async def run_once(self) -> int:
        """Write what is pending; returns how many rows of it will run again: a retry, a next tick.

        Raises DatabaseUnavailable, and keeps what was not written for the next turn.
        """
        self.wakeup.clear()
        batch = self._next_batch()
        due = self._due()
        repeated, self._sent_before = self._sent_before, bool(batch)
        began = monotonic()
        again, self._again_slow = self._again_slow, []
        try:
            if batch:
                await self._write_all(batch, again, repeated=repeated)
            if due:
                await self._retry(due, again)
        except BaseException:
            self.wakeup.set()  # they must be written even if nothing else ends
            raise
        self._sent_before = self._hurried = False
        self._waiting_since = began if self._pending else None
        if self._pending:
            self.wakeup.set()
        elif self.set_aside:
            self._call_later()
        return sum(again)

    def _due(self) -> list[Ended]:
        """Return the finishes that were set aside and are to be retried now."""
        due = [entry.item for entry in self.set_aside.due()]
        for leased, finish in due:
            if leased.abandoned:
                self._forget(finish.id)
        return [one for one in due if not one[0].abandoned]

    def _next_batch(self) -> list[Ended]:
        """Return the finishes for one statement, without those superseded by another claim of their row."""
        if any(leased.abandoned for leased, _ in self._pending):
            self._pending = [one for one in self._pending if not one[0].abandoned]
        batch = self._pending[:MAX_BATCH]
        if self._suspended:  # in separate transactions: the end of a child waits for its parent, not vice versa
            batch = self._of_one_kind(batch)
        size = 0
        for place, (leased, finish) in enumerate(batch):
            if finish.result or finish.error or leased.context is not None:
                if finish.steps is not None:  # alone: it locks steps and then their group, as others do
                    return batch[: place or 1]
                size += _size_of(leased, finish)
                if size > MAX_BYTES and place:
                    return batch[:place]
        return batch

    def _of_one_kind(self, batch: list[Ended]) -> list[Ended]:
        ended = [one for one in batch if one[1].suspension is None]
        self._suspended = len(ended) < len(batch) or len(batch) == MAX_BATCH
        return ended or batch

    def _call_later(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(self.set_aside.due_in(), self.wakeup.set)

    async def _write_all(self, batch: list[Ended], again: list[int], *, repeated: bool) -> None:
        """Write a batch, in one piece if the database accepts it."""
        try:
            await self._write(batch, again, repeated=repeated, claim_on_finish=not repeated)
        except Exception as error:
            if repeated and isinstance(error, SilentDatabase):
                return await self._write_apart(batch, again)
            # An error about the server is usually gone the next time. If not, a row may be raising it.
            of_rows = (RefusedByDatabase, RefusedByServer) if repeated else (RefusedByDatabase,)
            if isinstance(error, DatabaseUnavailable) and not isinstance(error, of_rows):
                raise
            try:
                await self._contain(batch, again, repeated=repeated)
            except SilentDatabase:
                if not repeated:
                    raise
                left = {id(leased) for leased, _ in self._pending}
                await self._write_apart([one for one in batch if id(one[0]) in left], again)
        finally:
            self._limited_claims.settle()

    async def _retry(self, due: list[Ended], again: list[int]) -> None:
        """Write what was set aside; rows that were not answered in time by a session of their own."""
        for one in due:
            if one[1].id in self.slow:
                self.set_aside.hold(one[1].id)
                self.slow.retry(one)
        if others := [one for one in due if one[1].id not in self.slow]:
            try:
                await self._contain(others, again, repeated=True)
            except SilentDatabase:
                left = set(self.set_aside.ids)
                await self._write_apart([one for one in others if one[1].id in left], again)

    async def _write_apart(self, batch: list[Ended], again: list[int]) -> None:
        """Write finishes one by one; those whose statement is not answered in time are set aside as slow.

        Otherwise one row whose end takes too long would be repeated for ever, and with it all others of the batch.
        Raises DatabaseUnavailable when the server answers nothing at all.
        """
        await completions.find_locked(self._session, self._worker, [finish for _, finish in batch])
        for one in batch:
            try:
                await self._write([one], again, repeated=True)
            except SilentDatabase as error:
                self.slow.add(one[1].id)
                self._put_aside(one, str(error))
            except Exception as error:
                if isinstance(error, DatabaseUnavailable) and not isinstance(error, RefusedByDatabase):
                    raise
                await self._write_refused(one, error, again, repeated=True)

    async def _write_slow(self, one: Ended, session: Session) -> None:
        """Write a finish by this session: in any form that the database accepts, else it is set aside.

        Raises DatabaseUnavailable when it was not answered in time, or for a reason that may be gone the next time.
        """
        again: list[int] = []
        try:
            await self._write([one], again, repeated=True, session=session)
        except Exception as error:
            if isinstance(error, DatabaseUnavailable) and (
                is_passing(error) or not isinstance(error, RefusedByDatabase)
            ):
                raise
            await self._write_refused(one, error, again, repeated=True, session=session)
        finally:
            self._again_slow += again

    async def _contain(self, batch: list[Ended], again: list[int], *, repeated: bool) -> None:
        """Write a batch that was rejected: whatever the database accepts of it."""
        locked = await completions.find_locked(self._session, self._worker, [finish for _, finish in batch])
        free = []
        for one in batch:
            if one[1].id in locked:
                self._put_aside(one, "another session has locked the row", locked=True)
            else:
                free.append(one)
        found: Refusals[Ended] = []
        try:
            await in_halves(free, partial(self._write, again=again, repeated=repeated), found)
        except DatabaseUnavailable:
            for one, error in found:  # otherwise they would block the others again
                self._put_aside(one, str(error), impaired=is_of_the_server(error))
            raise
        the_tables = len(found) == len(free) > FEW and not self._hurried
        for one, error in found:
            if the_tables and self.set_aside.tries(one[1].id) < PATIENCE:
                self._put_aside(one, str(error), impaired=is_of_the_server(error))
            else:
                await self._write_refused(one, error, again, repeated=repeated)

    async def _write_refused(
        self, one: Ended, error: Exception, again: list[int], *, repeated: bool, session: Session | None = None
    ) -> None:
        """Write one rejected finish: without its optional parts, else as dead, else set it aside."""
        leased, finish = one
        said = str(error) if isinstance(error, DatabaseUnavailable) else f"{type(error).__name__}: {one_line(error)}"
        if not is_passing(error):
            silent = partial(self._write, again=again, repeated=repeated, tells=False, session=session)
            if not await in_halves([one], silent):
                log.warning("report_refused", task_id=finish.id, task_type=leased.task.task_type, error=said)
                return
            for dead in self._dead(leased, finish, f"the outcome cannot be stored: {said}"):
                if not await in_halves([(leased, dead)], silent):
                    self._counts.died_unrun(leased.task)
                    log.error("finish_refused", task_id=finish.id, task_type=leased.task.task_type, error=said)
                    return
        self._put_aside(one, said, impaired=is_of_the_server(error))

    def _dead(self, leased: LeasedTask, finish: Finish, error: str) -> Iterator[Finish]:
        """The ways to end a task whose outcome is rejected: by the rules for a dead task, then the bare minimum."""
        outcome = None
        if finish.execution is not None:
            outcome = Outcome("discarded", finish.started, finish.finished, error=error)
            with suppress(Exception):  # the next tick of its schedule may be what cannot be computed
                yield conclude(leased.task, outcome, at=self._clock.at, random=random)
        yield give_up(leased.task, outcome, error)

    def _put_aside(self, one: Ended, reason: str, *, locked: bool = False, impaired: bool = False) -> None:
        task = one[0].task
        self._drop_pending([one])
        self.set_aside.put(task.id, task.task_type, task.queue, one, reason, locked=locked, impaired=impaired)

    def _forget(self, task_id: int) -> None:
        self.set_aside.forget(task_id)
        self.slow.forget(task_id)

    def _drop_pending(self, written: Sequence[Ended]) -> None:
        """Remove finishes from the list, usually those at the front."""
        first = self._pending[: len(written)]
        if len(first) == len(written) and all(a[0] is b[0] for a, b in zip(first, written, strict=True)):
            del self._pending[: len(written)]
            return
        gone = {id(leased) for leased, _ in written}
        self._pending = [one for one in self._pending if id(one[0]) not in gone]

    async def _write(
        self,
        batch: Sequence[Ended],
        again: list[int],
        *,
        repeated: bool,
        claim_on_finish: bool = False,
        tells: bool = True,
        session: Session | None = None,
    ) -> None:
        """Write some finishes as :meth:`FinishWriter.write` does, and release their rows.

        Raises what that raises, and RefusedByDatabase when the updates of all of them were dropped.
        """
        written = await self.writer.write(
            batch, repeated=repeated, claim_on_finish=claim_on_finish, tells=tells, session=session
        )
        if batch and not written.over:
            raise RefusedByDatabase(DROPPED)
        for one in written.kept:
            self._put_aside(one, DROPPED)
        self._drop_pending(written.over)
        for leased, finish in written.over:
            self._leased.drop(leased)
            if self.set_aside:
                self._forget(finish.id)
        again.append(sum(finish.next_status == "pending" for _, finish in written.over))
        self.writer.wrote(written.recorded)


def _size_of(leased: LeasedTask, finish: Finish) -> int:
    """The approximate number of characters that a finish writes."""
    return len(finish.result or "") + len(finish.error or "") + (leased.context.reported if leased.context else 0)
