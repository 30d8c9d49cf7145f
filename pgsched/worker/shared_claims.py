"""Claims from all queues without limits together, by one statement."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import monotonic

from pgsched.db.error_mapping import RefusedByDatabase
from pgsched.db.worker.claims import Batch
from pgsched.domain.attempt import Claimed
from pgsched.observability.logs import get_logger
from pgsched.worker.claims import Claims
from pgsched.worker.clock import DatabaseClock
from pgsched.worker.locked_batches import LockedBatches
from pgsched.worker.rate import Rate
from pgsched.worker.scan import Look, Scan

log = get_logger("pgsched.worker")

LOCK_WAIT_SECONDS = 0.05
"""How long to wait for a batch of locked rows to end before rows are claimed with a lease."""


class SharedClaims:
    """Claims with a lease, or by a lock where many rows arrive."""

    def __init__(
        self,
        *,
        claims: Claims,
        locked_batches: LockedBatches,
        clock: DatabaseClock,
        rate: Rate,
        on_claim: Callable[[list[Claimed], float], None],
    ) -> None:
        self._claims = claims
        self._locked_batches = locked_batches
        self._clock = clock
        self._rate = rate
        self._on_claim = on_claim
        self.scan = Scan()
        self._is_full = False
        """Whether the last claim brought as many rows as it could."""
        self._short_came = False
        """Whether the last rows were of types whose attempts are known to be short."""
        self._lockable_came = True
        """Whether all of the last rows could start before they are leased."""
        self.waits_for_room = False
        """Whether the last claim ended before a row that cannot be prefetched, so the next one needs a free slot."""

    async def claim(self, queues: Sequence[str], limit: int, free: int) -> bool:
        """Claim up to ``limit`` rows, of which ``free`` can start at once; returns whether there may be more.

        Raises DatabaseUnavailable.
        """
        may_lock = await self._may_lock()
        sent = monotonic()
        if self.scan.pairs.suit(len(queues), sent):
            look = await self._look_at_pairs(queues, limit, sent)
            if not look.probes:
                self._is_full = self.waits_for_room = False
                return False
            sent = monotonic()
        else:
            look = self.scan.next_look(queues, sent, self._clock.at(sent), busy=self._is_busy)
        room = self._claims.room_in_bytes
        batch, are_lockable = None, self._locked_batches.are_lockable
        if may_lock and self._is_to_lock(look):
            batch = await self._lock(look, limit, free, room)
        if batch is not None:
            self._clock.set(batch.tasks[0].database_time, sent)
            look = look.without_expired()
            are_lockable = _were_lockable
        else:
            batch = await self._claims.claim(look, limit, free=free, max_bytes=room)
        tasks = batch.tasks
        cut, has_room = bool(tasks) and tasks[0].cut, self._claims.room_in_bytes > 1
        self._is_full = cut or not has_room or len(tasks) + len(batch.spoiled) >= limit
        self.waits_for_room = cut and has_room
        now = monotonic()
        # Without a free slot, what was found may be rows that cannot be prefetched: they are still there.
        stuck = look.narrow and free <= 0 and not tasks
        if not stuck:
            self.scan.saw(look, tasks, sent, now - sent, full=self._is_full)
        self._rate.note(len(tasks), sent)
        if tasks:
            self._short_came = self._locked_batches.are_short(tasks)
            self._lockable_came = are_lockable(tasks)
        self._on_claim(tasks, now - sent)
        found = bool(tasks or batch.spoiled) or batch.again
        if look.narrow:
            return found or (self.scan.pairs.remain and not stuck) or self.scan.pairs.due_in(now) <= 0
        return found or self.scan.due_in(now) <= 0 or (not look.sweeps and self.scan.sweeps_next(busy=self._is_busy))

    def due_in(self, now: float) -> float:
        """Seconds until it makes sense to claim again without an external reason."""
        return min(self.scan.due_in(now), self._claims.due_in)

    def due_in_pairs(self, now: float) -> float:
        """The same for a worker of so many queues that it looks only where rows are due."""
        return min(self.scan.pairs.due_in(now), self._claims.due_in)

    async def _look_at_pairs(self, queues: Sequence[str], limit: int, sent: float) -> Look:
        """Return what to look at where rows are due; search for that first, when it is time."""
        pairs = self.scan.pairs
        searches = pairs.wants_search(sent)
        look = Look((), sweeps=False) if searches else self.scan.next_look_at_pairs(queues, limit)
        if not look.probes and (searches or pairs.wants_search(sent)):
            pairs.found(await self._claims.find_due_pairs(), queues, sent, monotonic(), busy=self._is_busy)
            look = self.scan.next_look_at_pairs(queues, limit)
        return look

    @property
    def _is_busy(self) -> bool:
        return self._is_full or self._rate.is_high

    def _is_to_lock(self, look: Look) -> bool:
        """Whether to lock rows before they are leased: many arrive, or probably a single one of a short type.

        Only a claim that leases finds expired leases; it follows where something else was found. And only it
        prefetches rows that need a lease: one of them among a thousand makes batches of locked rows the slower way.
        """
        if self._is_busy:
            return self._lockable_came and not look.sweeps
        return self._short_came and look.expected and (look.is_whole or not look.sweeps)

    async def _may_lock(self) -> bool:
        """Whether rows may be locked. A busy worker waits for one of its batches to end."""
        if self._claims.set_aside:
            return False
        if self._is_busy and self._lockable_came and not self._locked_batches.ready:
            await self._locked_batches.wait(LOCK_WAIT_SECONDS)
        return self._locked_batches.ready

    async def _lock(self, look: Look, limit: int, free: int, room: int) -> Batch | None:
        """Lock rows; None when there are none, or the claim must lease them."""
        try:
            return await self._locked_batches.lock(
                look.probes,
                limit,
                free=free,
                max_bytes=room,
                set_aside=self._claims.ids,
                only_known=not self._is_busy,
            )
        except RefusedByDatabase as error:  # a claim that leases finds the row
            log.info("lock_refused", error=str(error))
            return None


def _were_lockable(tasks: Sequence[Claimed]) -> bool:
    """Whether all rows of a batch could start while they were only locked."""
    return all(task.lockable for task in tasks)
