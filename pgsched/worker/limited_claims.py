"""Claims from queues with limits or ageing, by a statement of their own.

A slot that a limit allows is empty from the end of one task to the start of the next: during the write of the end, and
during the claim after it. So the next claim of such a queue is made in the transaction that ends a task of it, where it
costs neither a commit nor a round trip. If it fails for any reason, the finish is written again without it, and the
claimer claims as usual.

    free --claim--> claiming --answer, error--> free
      \\----reserve-> reserved --settle---------> free
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from time import monotonic

from pgsched.db.session import Rows
from pgsched.db.worker.claims import Answer, Batch, claim_limited_command, read_claim_limited
from pgsched.db.worker.completions import Command
from pgsched.db.worker.leases import Identity
from pgsched.domain.attempt import Claimed, Finish
from pgsched.worker.claims import Claims
from pgsched.worker.late_starts import LateStarts
from pgsched.worker.leased_tasks import LeasedTasks
from pgsched.worker.queue_rotation import QueueRotation
from pgsched.worker.rate import Rate

FREE, CLAIMING, RESERVED = "free", "claiming", "reserved"


class LimitedClaims:
    """One claim at a time: the claimer's, or one that is written with finishes."""

    def __init__(
        self,
        *,
        identity: Identity,
        claims: Claims,
        rotation: QueueRotation,
        leased_tasks: LeasedTasks,
        late_starts: LateStarts,
        rate: Rate,
        on_claim: Callable[[list[Claimed], float], None],
        on_due: Callable[[], None],
        free: Callable[[], int],
        on_claimed: Callable[[], None],
    ) -> None:
        """``on_due`` is called when these queues must be asked again; ``free`` returns the number of idle slots, and
        ``on_claimed`` is called when a claim that was written with finishes brought rows for them.
        """
        self._identity = identity
        self._claims = claims
        self._rotation = rotation
        self._leased = leased_tasks
        self._late_starts = late_starts
        self._rate = rate
        self._on_claim = on_claim
        self._on_due = on_due
        self._free = free
        self._on_claimed = on_claimed
        self._state = FREE
        self.paused = False
        """Claim nothing together with finishes."""
        self._reserved_at = 0.0
        self._rows: Rows | None = None
        """Return the rows of the reserved claim."""

    async def claim(self, order: Sequence[str], room: int, *, idle_too: bool) -> None:
        """Claim up to ``room`` rows from the queues that must be asked now. Raises DatabaseUnavailable."""
        sent = monotonic()
        asked = self._rotation.to_ask(order, room, sent, idle_too=idle_too)
        if not asked or self._state != FREE:
            return
        self._state = CLAIMING
        try:
            await self._claims.claim_limited(
                [(queue.name, room_of) for queue, room_of in asked],
                room,
                max_bytes=self._claims.room_in_bytes,
                take=partial(self._take, sent=sent),
            )
        finally:
            self._state = FREE

    async def release_orphaned(self) -> None:
        """Release what unanswered claims took, when no claim is in progress. Raises DatabaseUnavailable."""
        if self._state != FREE:
            return
        self._state = CLAIMING
        try:
            await self._claims.release_orphaned(self._rotation.names)
        finally:
            self._state = FREE

    def reserve(self, finishes: Sequence[Finish]) -> tuple[Command, Callable[[Rows], None]] | None:
        """Return the claim that follows these finishes in their transaction, and what takes its rows.

        None when none is of a limited queue, no slot is free, or a claim is in progress. A reservation must be settled.
        """
        free = self._free()
        if self._state != FREE or free <= 0 or self.paused or not self._rotation.in_hand:
            return None
        asked = self._rotation.to_ask_after([finish.id for finish in finishes], free)
        if not asked:
            return None
        self._state, self._reserved_at, self._rows = RESERVED, monotonic(), None
        command = claim_limited_command(
            self._identity, asked, free, max_bytes=self._claims.room_in_bytes, set_aside=self._claims.ids
        )
        return command, self._keep

    def settle(self) -> None:
        """Pass on what was claimed with the finishes, written or not, to the slots."""
        if self._state != RESERVED:
            return
        self._state = FREE
        if self._rows is None:
            self._claims.lost_answer()
            return
        batch, answers = read_claim_limited(self._rows)
        self._let_go()
        self._take(batch, answers, self._reserved_at)
        if self._rotation.ready_in(monotonic()) <= 0:
            self._on_due()
        if batch.tasks:
            self._on_claimed()

    def look_after_end(self) -> bool:
        """Check whether tasks of limited queues have left, so that others may start; returns true if so."""
        gone = self._let_go()
        if gone:
            self._on_due()
        return gone

    def _let_go(self) -> bool:
        gone = [task_id for task_id in self._rotation.in_hand if self._leased.get(task_id) is None]
        if gone:
            self._rotation.let_go(gone, monotonic())
        return bool(gone)

    def _keep(self, rows: Rows) -> None:
        self._rows = rows

    def _take(self, batch: Batch, answers: list[Answer], sent: float) -> None:
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
        self._rate.note(len(tasks), sent)
        self._claims.take(batch, sent, len(tasks))
        self._on_claim(tasks, now - sent)
        for answer in answers:
            if answer.noted is not None:
                found = map(self._leased.get, came.get(answer.queue, ()))
                leased_tasks = [leased for leased in found if leased is not None]
                self._late_starts.watch(answer.queue, answer.noted, leased_tasks, sent)
