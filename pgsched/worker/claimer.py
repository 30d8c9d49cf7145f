"""Claims due rows; when there are none, sleeps until the next is due or something wakes it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta
from time import monotonic

from pgsched.db.error_mapping import RefusedByDatabase
from pgsched.db.session import Session
from pgsched.db.worker import leases
from pgsched.db.worker.claims import Answer, Batch
from pgsched.db.worker.leases import Identity
from pgsched.domain.attempt import Claimed
from pgsched.observability.logs import get_logger
from pgsched.worker.claims import Claims
from pgsched.worker.clock import DatabaseClock
from pgsched.worker.dead_letters import DeadLetters
from pgsched.worker.late_starts import LateStarts
from pgsched.worker.leased_tasks import LeasedTasks
from pgsched.worker.locked_batches import LockedBatches
from pgsched.worker.loops import wait_at_most
from pgsched.worker.prefetch import Prefetch
from pgsched.worker.queue_rotation import QueueRotation
from pgsched.worker.scan import Look, Scan
from pgsched.worker.sleep import Sleep

log = get_logger("pgsched.worker")

MAX_BYTES = 16 * 1024 * 1024
"""Payloads in hand, as JSON text; parsed they take several times as much memory."""
LOCK_WAIT_SECONDS = 0.05
"""How long to wait for a batch of locked rows to end before rows are claimed with a lease."""
BUSY_RATE = 200.0
"""Rows a second from which on a worker dozes instead of sleeping: it looks again after DOZE_SECONDS and tells inserts
not to notify it, because every NOTIFY makes the commits of all sessions wait for one another."""
DOZE_SECONDS = 0.005
RATE_SECONDS = 0.25
"""The span over which that rate is measured."""
LEARN_SECONDS = 1.0
"""How often a worker with patterns, or with limited queues, asks which they are."""
LEARN_IDLE_SECONDS = 5.0
"""How often any other asks that does not hear of changes."""
LEARN_HEARD_SECONDS = 300.0
"""How often any other asks that does."""


class Claimer:
    """The loop that claims. ``run_once`` claims once; ``rest`` waits for a reason to claim again."""

    def __init__(
        self,
        *,
        session: Session,
        identity: Identity,
        dead_letters: DeadLetters,
        rotation: QueueRotation,
        leased_tasks: LeasedTasks,
        prefetch: Prefetch,
        locked_batches: LockedBatches,
        clock: DatabaseClock,
        poll_interval: float,
        on_claim: Callable[[list[Claimed], float], None],
    ) -> None:
        self._session = session
        self.identity = identity
        self.claims = Claims(session=session, identity=identity, dead_letters=dead_letters)
        self._dead_letters = dead_letters
        self._rotation = rotation
        self._leased = leased_tasks
        self._prefetch = prefetch
        self._locked_batches = locked_batches
        self._full = False
        """The last claim brought as many rows as it might."""
        self._clock = clock
        self._poll_interval = poll_interval
        self._on_claim = on_claim
        self.wakeup = asyncio.Event()
        """Set when there may be something to claim: a notification, a free slot, the end."""
        self.scan = Scan()
        self._look_at = 0.0
        """When the queues without limits are asked again; looked at only when there are others."""
        self._learn_at = 0.0
        self.cut = False
        """The last claim ended before rows that are not held in advance."""
        self.heard = False
        """Whether notifications come in: then a change of a queue's settings is heard of."""
        self._woken_for_limited = False
        """Woken only because a task of a queue with limits has gone."""
        self._asking = False
        """A claim of limited queues is under way, here or with a finish."""
        self._reserved = False
        """That claim is made with a finish."""
        self._orphaned_claim = False
        """There may be rows that this worker claimed without knowing."""
        self._late = LateStarts(session=session, on_late=self._wake_limited)
        self._sleep = Sleep(session=session, identity=identity, rotation=rotation, poll_interval=poll_interval)
        self._outcome_unknown = False
        """A claim was sent whose answer never came: it may have taken rows."""
        self._rate = 0.0
        self._found = 0
        self._counted_since = 0.0

    async def run_once(self, limit: int, free: int | None = None) -> bool:
        """Claim up to ``limit`` rows into the holds; returns whether there may be more.

        ``free``: slots that are free, by default as many as may be claimed; of limited queues no more rows
        than can start at once, of others what comes behind these is held in advance. Raises DatabaseUnavailable.
        """
        sent = monotonic()
        rotation = self._rotation
        await self._late.report()
        if sent >= self._learn_at:
            await self._learn(sent)
        if self._outcome_unknown or self._orphaned_claim:
            await self._release_orphaned()
        if self.claims.ids:
            await self.claims.retry()
        limited = rotation.limited
        order = rotation.order
        rotation.next_turn()
        room = max(limit if free is None else min(limit, free), 0)
        if not limited:
            return await self._claim(order, limit, room)
        looks = sent >= self._look_at
        before, more = len(self._leased), False
        if order[0] in limited:
            room -= await self._claim_limited(order, room, idle_too=looks)
            limit -= len(self._leased) - before
        if looks and limit > 0 and len(limited) < len(order):
            waiting = len(self._leased)
            more = await self._claim([name for name in order if name not in limited], limit, max(room, 0))
            room -= len(self._leased) - waiting
        elif looks:
            await self._note(0, sent)
        if order[0] not in limited:
            await self._claim_limited(order, max(room, 0), idle_too=looks)
        return more or len(self._leased) > before

    async def _claim(self, queues: Sequence[str], limit: int, free: int) -> bool:
        """Claim from the queues that are claimed together."""
        sent = monotonic()
        room = self.room_in_bytes
        look = self.scan.next_look(queues, sent, self._clock.at(sent), busy=self._busy)
        batch = await self._lock(look, limit, free, room)
        locked = batch is not None
        if batch is None:
            self._outcome_unknown = True
            batch = await self.claims.claim(look, limit, free=free, max_bytes=room)
            self._outcome_unknown = False
        tasks = batch.tasks
        cut = bool(tasks) and tasks[0].cut
        self._full = cut or len(tasks) + len(batch.spoiled) >= limit
        self.cut = cut and sum(task.bytes for task in tasks) < room
        self.scan.saw(look, tasks, sent, monotonic() - sent, full=self._full)
        if locked:
            self._clock.set(tasks[0].next_run_at + timedelta(seconds=tasks[0].late), sent)
        else:
            self._take(batch, sent, free)
        self._on_claim(tasks, monotonic() - sent)
        await self._note(len(tasks), sent)
        looks_on = self.scan.due_in(monotonic()) <= 0 or (not look.sweeps and self.scan.sweeps_next(busy=self._busy))
        return bool(tasks or batch.spoiled) or batch.again or looks_on

    @property
    def _busy(self) -> bool:
        return self._full or self._rate > BUSY_RATE

    async def _lock(self, look: Look, limit: int, free: int, room: int) -> Batch | None:
        """Lock rows, when many come; None when there are none, or the claim is to lease them.

        A single row is leased: that starts it sooner. And sweeps lease: only that finds expired leases.
        """
        if look.sweeps or not self._busy or self.claims.set_aside:
            return None
        if not self._locked_batches.ready:
            await self._locked_batches.wait(LOCK_WAIT_SECONDS)
        if not self._locked_batches.ready:
            return None
        try:
            batch = await self._locked_batches.lock(
                look.probes, limit, free=free, max_bytes=room, set_aside=self.claims.ids
            )
        except RefusedByDatabase as error:  # a claim that leases finds the row
            log.info("lock_refused", error=str(error))
            return None
        if batch is not None:
            await self.claims.rulebook.learn(batch.tasks)
        return batch

    async def _claim_limited(self, order: Sequence[str], room: int, *, idle_too: bool) -> int:
        """Claim from the limited queues that are to be asked now; returns how many rows came."""
        sent = monotonic()
        asked = self._rotation.to_ask(order, room, sent, idle_too=idle_too)
        if not asked or self._asking:
            return 0
        self._outcome_unknown = self._asking = True
        try:
            batch, answers = await self.claims.claim_limited(
                [(queue.name, room_of) for queue, room_of in asked], room, max_bytes=self.room_in_bytes
            )
        finally:
            self._asking = False
        self._outcome_unknown = False
        self._take_limited(batch, answers, sent)
        return len(batch.tasks)

    def _take_limited(self, batch: Batch, answers: list[Answer], sent: float) -> None:
        now = monotonic()
        tasks = batch.tasks
        came: dict[str, list[int]] = {}
        for task in tasks:
            came.setdefault(task.queue, []).append(task.id)
        for queue, ids in came.items():
            self._rotation.take(queue, ids)
        for answer in answers:
            limited = self._rotation.limited.get(answer.queue)
            if limited is not None:
                limited.answer(len(came.get(answer.queue, ())), answer.again, answer.held_back, now)
        self._found += len(tasks)
        self._take(batch, sent, len(tasks))
        self._on_claim(tasks, now - sent)
        for answer in answers:
            if answer.noted is not None:
                ids = came.get(answer.queue, [])
                leased_tasks = [leased for task_id in ids if (leased := self._leased.get(task_id)) is not None]
                self._late.watch(answer.queue, answer.noted, leased_tasks, sent)

    @property
    def room_in_bytes(self) -> int:
        """How large the payloads of the next claim may be."""
        return max(MAX_BYTES - self._leased.bytes, 1)

    def reserve(self, ended: Sequence[int], free: int) -> tuple[list[tuple[str, int]], int]:
        """What to claim in the transaction that ends these tasks: queues and the room of each, and that in all.

        Nothing when none of them is of a limited queue, or a claim is under way. What is reserved has to be
        settled.
        """
        if self._asking or free <= 0 or not self._rotation.in_hand:
            return [], 0
        asked = self._rotation.to_ask_after(ended, free)
        if asked:
            self._asking = self._reserved = True
        return asked, free

    def settle(self, claimed: tuple[Batch, list[Answer]] | None, sent: float) -> bool:
        """Take what was claimed in the transaction of a finish, None when nothing was; whether rows came."""
        if not self._reserved:
            return False
        self._asking = self._reserved = False
        if claimed is None:
            self._orphaned_claim = True  # nobody knows what became of it
            return False
        self._let_go()
        self._take_limited(*claimed, sent)
        if self._rotation.ready_in(monotonic()) <= 0:
            self._wake_limited()
        return bool(claimed[0].tasks)

    def _take(self, batch: Batch, sent: float, free: int) -> None:
        """Take rows in hand, ``free`` of which can begin at once."""
        leased_until = sent + self.identity.lease
        if batch.tasks:
            first = batch.tasks[0]
            self._clock.set(first.next_run_at + timedelta(seconds=first.late), sent)
            self._leased.add(self.claims.rulebook.marked(batch.tasks), leased_until, sent, free)
        for task, problem in batch.spoiled:
            self._dead_letters.spoiled(self._leased.take(task, leased_until, sent), problem)

    async def _release_orphaned(self) -> None:
        """Give back what a claim may have taken whose answer never came; not while a finish claims, too."""
        self._orphaned_claim = True
        if not self._reserved:
            self._asking = True
            try:
                held = [*(leased.task.id for leased in self._leased.snapshot()), *self._leased.given_up]
                await self.claims.release_orphaned(held, self._rotation.names)
            finally:
                self._asking = False
            self._orphaned_claim = self._outcome_unknown = False

    async def _learn(self, now: float) -> None:
        rotation = self._rotation
        try:
            rotation.learn(await leases.learn_queues(self._session, self.identity))
        except RefusedByDatabase as error:  # it goes on with the queues that it knows
            log.warning("queues_not_learned", error=str(error))
        idle = LEARN_HEARD_SECONDS if self.heard else LEARN_IDLE_SECONDS
        self._learn_at = now + (LEARN_SECONDS if rotation.limited or rotation.likes else idle)

    async def rest(self) -> None:
        """Wait after a claim that found nothing: the second looks, then until a row is due, a wakeup, or the poll.

        Raises DatabaseUnavailable.
        """
        if self._rate > BUSY_RATE:
            self._look_at = 0.0
            await self.wait(DOZE_SECONDS)
            return
        now = monotonic()
        limited = self._rotation.limited
        if limited and now < self._look_at:
            # Something of a queue with limits had a reason to be looked at; the others wait as before.
            await self.wait(min(self._look_at - now, self._rotation.ready_in(now)))
            return
        pause = await self._sleep.pause()
        now = monotonic()
        if self.claims.set_aside:
            pause = min(pause, self.claims.set_aside.due_in())
        pause = min(pause, self.scan.due_in(now))
        if limited:
            self._look_at = now + pause
            pause = min(pause, self._rotation.ready_in(now))
        await self.wait(pause)

    def wake(self, queue: str | None = None) -> None:
        """There may be something to claim, in this queue or in any."""
        if queue is not None:
            self._rotation.wake(queue, monotonic())
            self.scan.look_everywhere()  # it may have been committed late
        self._woken_for_limited = False
        self.wakeup.set()

    def serves(self, queue: str) -> bool:
        """Whether this worker takes tasks of a queue."""
        return self._rotation.serves(queue)

    def wake_after_change(self) -> None:
        """The settings of a queue have changed: which are limited, and what may start."""
        self._learn_at = 0.0
        self._rotation.wake_all(monotonic())
        self.scan.look_everywhere()
        self.wake()

    def look_after_end(self) -> bool:
        """Look whether tasks of limited queues have gone, so that others may start; true if so."""
        gone = self._let_go()
        if gone:
            self._wake_limited()
        return gone

    def _let_go(self) -> bool:
        in_hand = self._rotation.in_hand
        gone = [task_id for task_id in in_hand if self._leased.get(task_id) is None]
        if gone:
            self._rotation.let_go(gone, monotonic())
        return bool(gone)

    def _wake_limited(self) -> None:
        """Look again, but only at limited queues."""
        if not self.wakeup.is_set():
            self._woken_for_limited = True
            self.wakeup.set()

    def waits_for_room(self, free: int) -> bool:
        """Whether what comes next wants a free slot: a row of a queue with limits, or one not held in advance."""
        return free <= 0 and (self.cut or self._rotation.first_waits_for_room(monotonic()))

    async def wait_for_room(self) -> None:
        """Wait for a wakeup when this worker has no room; meanwhile wake other workers for what it cannot start.

        Raises DatabaseUnavailable.
        """
        pause = self._poll_interval
        await self._late.report()
        if self._rotation.limited:
            now = monotonic()
            queues = self._rotation.to_notify_peers_of(now)
            if queues:
                await leases.wake_workers(self._session, queues)
            pause = min(pause, self._rotation.notify_peers_in(now))
        await self.wait(pause)

    async def wait(self, seconds: float | None) -> None:
        """Wait for a wakeup, ``seconds`` at most."""
        try:
            await wait_at_most(seconds, self.wakeup)
        finally:
            if self.wakeup.is_set():
                self.wakeup.clear()
                if not self._woken_for_limited:
                    # The waker may know of a row that is due earlier than what this worker sleeps for.
                    self._look_at = 0.0
                    self._sleep.disturb()
                self._woken_for_limited = False

    async def _note(self, found: int, now: float) -> None:
        """Take the rate at which rows come; say that this worker is awake when it is high."""
        self._found += found
        if found:
            self._sleep.look_again()
        if now - self._counted_since >= RATE_SECONDS:
            self._rate = self._found / (now - self._counted_since)
            self._found, self._counted_since = 0, now
        if self._rate > BUSY_RATE:
            await self._sleep.end(now)
