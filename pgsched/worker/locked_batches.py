"""Batches of rows that are locked, not leased: their handlers run before anything of the claim is written.

    locked --all have ended, or the grace is over--> closing --commit--> finished | leased
       \\------ the transaction is lost -------------------------------> lost

What ended within the grace is finished in the transaction that locked it: one row version, one commit. What continues
gets its lease there, and is treated like any other row from then on. A row that the database rejects costs its
neighbours nothing: all are leased, and the outcomes are written the ordinary way, where each stands alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from time import monotonic

from pgsched.db.error_mapping import RefusedByDatabase, RefusedByServer
from pgsched.db.session import Session
from pgsched.db.worker.claims import Batch, Probe
from pgsched.db.worker.leases import Identity
from pgsched.db.worker.locking import (
    LeaseLater,
    LockingSession,
    LostAttempt,
    TransactionLost,
    find_locked_ends,
    finish_locked,
    insert_lost,
    lease_locked,
    mark_lock_lost,
)
from pgsched.domain.attempt import Claimed, Finish
from pgsched.domain.errors import DatabaseUnavailable
from pgsched.observability.logs import get_logger
from pgsched.worker.finish_writer import FinishWriter
from pgsched.worker.halves import in_halves
from pgsched.worker.leased_tasks import ABANDON, FINISHING, WAITING, LeasedTask, LeasedTasks
from pgsched.worker.locked_batch import LockedBatch
from pgsched.worker.loops import next_pause, own_task, wait_at_most
from pgsched.worker.metrics import WorkerMetrics
from pgsched.worker.rulebook import Rulebook
from pgsched.worker.usual_seconds import UsualSeconds

log = get_logger("pgsched.worker")

SESSIONS = 4
"""Maximum number of open batches of a worker: one runs while one is locked and two are written."""
GRACE_SECONDS = 0.05
"""Maximum time that a batch is open. Cancels, edits and pauses of its rows wait that long."""
SHORT_GRACE_SECONDS = 0.02
"""The same for a batch with rows that wait for its end because they need a lease before they start."""
MAX_LOST = 10_000
"""Maximum number of lost attempts that wait to be recorded in the history."""


class LockedBatches:
    """All batches of one worker."""

    def __init__(
        self,
        *,
        make_session: Callable[[], LockingSession],
        upkeep: Session,
        identity: Identity,
        leased_tasks: LeasedTasks,
        rulebook: Rulebook,
        writer: FinishWriter,
        on_ended: Callable[[LeasedTask, Finish], None],
        counts: WorkerMetrics,
        usual: UsualSeconds,
        on_room: Callable[[], None],
        on_due: Callable[[], None],
        on_refused: Callable[[Iterable[int]], None],
    ) -> None:
        """``writer`` is told what is written; ``on_ended`` is called with a finish that is to be written by others,
        ``on_room`` when rows may start that waited for a batch to end, ``on_due`` when a batch has ended,
        ``on_refused`` with the ids of rows that the database lets nobody lease.

        ``upkeep`` is the session for records and queries afterwards.
        """
        self._idle = [make_session() for _ in range(SESSIONS)]
        self._sessions = tuple(self._idle)
        self._upkeep = upkeep
        self._identity = identity
        self._leased = leased_tasks
        self._rulebook = rulebook
        self._writer = writer
        self._on_ended = on_ended
        self._counts = counts
        self._usual = usual
        self._on_room = on_room
        self._on_due = on_due
        self._on_refused = on_refused
        self._open: dict[LockedBatch, asyncio.Task[None]] = {}
        self._stopping = False
        self._lost: list[LostAttempt] = []

    @property
    def ready(self) -> bool:
        """Whether another batch may start."""
        return bool(self._idle) and not self._stopping

    def are_short(self, tasks: Sequence[Claimed]) -> bool:
        """Whether all of them are of types that are known to be short."""
        return all(self._usual.is_short(task.task_type) for task in tasks)

    def are_lockable(self, tasks: Sequence[Claimed]) -> bool:
        """Whether tasks like these may all start before they are leased."""
        return all(task.schedule_type == "one_time" and self._usual.is_lockable(task.task_type) for task in tasks)

    async def lock(
        self,
        probes: Sequence[Probe],
        limit: int,
        *,
        free: int,
        max_bytes: int,
        set_aside: Sequence[int],
        only_known: bool = False,
    ) -> Batch | None:
        """Lock up to ``limit`` due rows and hold them, those that need a lease from the end of the batch on.

        ``only_known``: only rows of types that are known to be short run without a lease.
        None when there is nothing to lock, or not in this way. Raises DatabaseUnavailable.
        """
        types = self._usual.lockable_types(known=only_known)
        if not types:
            return None
        session, sent = self._idle.pop(), monotonic()
        try:
            batch = await session.lock(
                self._identity, probes, limit, max_bytes=max_bytes, set_aside=set_aside, locked_types=types
            )
            if batch is not None:
                await self._rulebook.learn([task for task in batch.tasks if not task.lockable])
        except BaseException as error:
            await session.close()  # and with it the transaction
            self._idle.append(session)
            if isinstance(error, DatabaseUnavailable) and not isinstance(error, (RefusedByDatabase, RefusedByServer)):
                for other in tuple(self._idle):  # they may have been lost in the same way, and each would fail once
                    await other.close()
            raise
        if batch is None or not batch.tasks:
            self._idle.append(session)
            return None
        tasks = batch.tasks
        last = _fitting(tasks, free, max_bytes)
        marked = [task for task in tasks[last:] if task.lock_lost]
        if not last:  # a claim that leases handles it
            try:
                await session.commit([mark_lock_lost(marked)] if marked else [])
            finally:
                self._idle.append(session)
            return None
        if last < len(tasks):
            tasks = [tasks[0]._replace(cut=True), *tasks[1:last]]
        self._begin(session, tasks, marked, sent)
        return Batch(tasks, [])

    def _begin(self, session: LockingSession, tasks: Sequence[Claimed], marked: list[Claimed], sent: float) -> None:
        now = monotonic()  # opening the connection is not part of the grace
        locked = LockedBatch(session, now + GRACE_SECONDS, marked)
        locked.to_lease = self._rulebook.marked([task for task in tasks if not task.lockable])
        if locked.to_lease:
            locked.until = now + SHORT_GRACE_SECONDS
            tasks = [task for task in tasks if task.lockable]
        locked.hold(self._leased.add_locked(tasks, locked, sent))
        self._open[locked] = own_task(self._see_through(locked), name="pgsched batch")

    async def wait(self, seconds: float) -> None:
        """Wait until another batch may start, at most ``seconds``."""
        if self._open:
            await asyncio.wait(self._open.values(), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)

    async def stop(self, timeout: float) -> None:
        """Start no further batch and close the open ones: what has not started is let go."""
        self._stopping = True
        for batch in self._open:
            batch.all_ended.set()
        if self._open:
            await asyncio.wait(self._open.values(), timeout=timeout)

    async def close(self) -> None:
        """Close the connections."""
        for session in self._sessions:
            await session.close()

    async def note_lost(self) -> None:
        """Record lost attempts in the history. Raises DatabaseUnavailable."""
        if not self._lost:
            return
        lost = self._lost[:MAX_LOST]

        async def note(part: Sequence[LostAttempt]) -> None:
            await insert_lost(self._upkeep, self._identity.id, part, monotonic())

        for one, error in await in_halves(lost, note):
            log.warning("lost_attempt_not_noted", task_id=one.task.id, error=str(error))
        del self._lost[: len(lost)]

    async def _see_through(self, batch: LockedBatch) -> None:
        try:
            await self._wait(batch)
            await self._close(batch)
        except TransactionLost as error:
            await self._lose(batch, str(error))
        except DatabaseUnavailable as error:
            await batch.session.close()
            await self._find_out(batch, str(error))
        except Exception as error:  # a bug in pgsched: the rows are released at once
            log.exception("batch_failed")
            await self._lose(batch, repr(error))
        except BaseException as error:
            await self._lose(batch, repr(error))
            raise
        finally:
            del self._open[batch]
            self._idle.append(batch.session)
            self._on_due()

    async def _wait(self, batch: LockedBatch) -> None:
        """Wait for the batch to end: all have ended, the grace is over, or the connection is lost."""
        seconds = batch.until - monotonic()
        if seconds > 0:
            with batch.session.watched(batch.all_ended.set):
                await wait_at_most(seconds, batch.all_ended)

    async def _close(self, batch: LockedBatch) -> None:
        """End the transaction. Raises TransactionLost, or DatabaseUnavailable when its result is unknown."""
        now = batch.closing_at = monotonic()
        announced = self._writer.announced
        plain = [
            one
            for one in batch.ended
            if one[1].plain
            and one[0].state == FINISHING
            and (one[0].context is None or not one[0].context.reported)
            and not (announced and one[0].task.queue in announced)
        ]
        done = {leased for leased, _ in plain}
        rest = [leased for leased in batch.held if leased not in done and self._goes_on(leased)]
        later = [*map(partial(_late, now=now), rest), *(LeaseLater(task, 0.0, False) for task in batch.to_lease)]
        self._note_leases(rest, now)
        commands = [lease_locked(self._identity, later)] if later else []
        if batch.marked:
            commands.append(mark_lock_lost(batch.marked))
        if plain:
            commands.append(finish_locked(self._identity.id, [finish for _, finish in plain], now))
        try:
            await batch.session.commit(commands)
        except RefusedByDatabase as error:
            log.info("batch_refused", count=len(plain), error=str(error))
            await self._lease_all(batch)
            return
        self._wrote(plain)
        self._lease(batch, rest, later, now)

    def _goes_on(self, leased: LeasedTask) -> bool:
        """Whether a row is to be leased; one that has not started when the worker stops is let go."""
        if self._stopping and leased.state == WAITING:
            leased.move(ABANDON)
            self._leased.drop(leased)
            return False
        return True

    async def _lease_all(self, batch: LockedBatch) -> None:
        """Lease every row, one by one if necessary, and let the outcomes be written like any others."""
        now = batch.closing_at = monotonic()
        leased_ids: set[int] = set()

        async def lease(part: Sequence[LeaseLater]) -> None:
            (rows,) = await batch.session.run(lease_locked(self._identity, part))
            leased_ids.update(row[0] for row in rows)

        held = [leased for leased in batch.held if self._goes_on(leased)]
        later = [*map(partial(_late, now=now), held), *(LeaseLater(task, 0.0, False) for task in batch.to_lease)]
        self._note_leases(held, now)
        await in_halves(later, lease)
        await batch.session.commit([])
        self._on_refused(row.task.id for row in later if row.task.id not in leased_ids)
        batch.to_lease = [task for task in batch.to_lease if task.id in leased_ids]
        self._lease(batch, [leased for leased in held if leased.task.id in leased_ids], later, now)
        self._drop([leased for leased in held if leased.task.id not in leased_ids], "the lease cannot be written", now)

    def _note_leases(self, rows: Iterable[LeasedTask], now: float) -> None:
        """Let the heartbeat renew these leases, even if a handler blocks the loop before the COMMIT is answered."""
        for leased in rows:
            leased.leased_until = now + self._identity.lease

    async def _find_out(self, batch: LockedBatch, error: str) -> None:
        """Find out what an unanswered COMMIT did, for as long as a lease would be valid.

        Until then the rows may belong to anybody: running handlers are cancelled, and nothing else starts.
        """
        log.warning("commit_unanswered", count=len(batch.held) + len(batch.to_lease), error=error)
        ended = {leased for leased, _ in batch.ended}
        rest = [leased for leased in batch.held if leased not in ended]
        begun = [leased for leased in rest if leased.state != WAITING]
        waiting = [leased.task for leased in rest if leased.state == WAITING]
        for leased in rest:
            leased.batch = None
            self._leased.lose(leased)
        stopped_at = monotonic()
        tasks = [leased.task for leased in batch.held] + batch.to_lease
        leased_ids, over = await self._look_up(batch.session, tasks) or (set(), set())
        self._wrote([(leased, finish) for leased, finish in batch.ended if leased.task.id in over])
        # They were leased as not started, so they are held as such.
        leased_until = batch.closing_at + self._identity.lease
        self._leased.add([task for task in waiting if task.id in leased_ids], leased_until, batch.closing_at, free=0)
        batch.to_lease = [task for task in batch.to_lease if task.id in leased_ids]
        self._lease(batch, [leased for leased in ended if leased.task.id in leased_ids], [], batch.closing_at)
        self._on_room()
        # A lease of a cancelled row expires, and the next claim records that attempt.
        self._counts.fenced += sum(leased.task.id in leased_ids for leased in begun)
        lost = [leased for leased in (*ended, *begun) if leased.task.id not in leased_ids | over]
        self._drop(lost, error, stopped_at)

    async def _look_up(self, session: LockingSession, tasks: Sequence[Claimed]) -> tuple[set[int], set[int]] | None:
        """Return which rows a COMMIT has leased and which it has finished; None when nobody can tell in time."""
        pause, until = 0.0, monotonic() + self._identity.lease
        while True:
            try:
                return await find_locked_ends(session, self._identity.id, tasks)
            except DatabaseUnavailable as cause:
                if monotonic() > until:
                    log.warning("commit_not_looked_up", count=len(tasks), error=str(cause))
                    return None
                pause = next_pause(pause)
                await asyncio.sleep(pause)

    def _wrote(self, plain: list[tuple[LeasedTask, Finish]]) -> None:
        for leased, _ in plain:
            leased.batch = None
            self._leased.drop(leased)
        if plain:
            self._writer.wrote(plain)

    def _lease(
        self, batch: LockedBatch, rest: Sequence[LeasedTask], later: Sequence[LeaseLater], written: float
    ) -> None:
        """Note that these rows have their leases; what has ended meanwhile is written like any other outcome."""
        unbegun = {row.task.id for row in later if row.unbegun}
        for leased in rest:
            leased.batch = None
            leased.in_advance = leased.task.id in unbegun
        kept = set(rest)
        for leased, finish in batch.ended:
            if leased in kept and not leased.abandoned:
                self._on_ended(leased, finish)
        if batch.to_lease:
            self._leased.add(batch.to_lease, written + self._identity.lease, written)
            self._on_room()

    async def _lose(self, batch: LockedBatch, error: str) -> None:
        """Note that nothing of it is in the table: whatever its handlers still return is not written."""
        await batch.session.close()
        self._drop(batch.held, error, monotonic())

    def _drop(self, rows: Sequence[LeasedTask], error: str, now: float) -> None:
        if not rows:
            return
        begun = 0
        for leased in rows:
            leased.batch = None
            if leased.started_at is not None:
                begun += 1
                if len(self._lost) < MAX_LOST:
                    self._lost.append(LostAttempt(leased.task, leased.started_at, now))
            self._leased.lose(leased)
        self._counts.fenced += begun
        log.warning("locks_lost", count=len(rows), begun=begun, error=error)


def _fitting(tasks: Sequence[Claimed], free: int, max_bytes: int) -> int:
    """Return how many rows to hold, and release the ones behind them.

    Rows that need a lease before they start are limited to those that can start at once; payloads to ``max_bytes``,
    or one row.
    """
    size = 0
    for place, task in enumerate(tasks):
        if size >= max_bytes or (place >= free and not task.lockable):
            return place
        size += task.bytes
    return len(tasks)


def _late(leased: LeasedTask, *, now: float) -> LeaseLater:
    started = leased.started_at
    return LeaseLater(leased.task, 0.0 if started is None else now - started, leased.state == WAITING)
