"""Runs the claimer while there is room for more rows, and wakes it when room becomes available."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from time import monotonic

from pgsched.worker.claimer import Claimer
from pgsched.worker.claims import MAX_BYTES
from pgsched.worker.completer import Completer
from pgsched.worker.executor import Executor
from pgsched.worker.leased_tasks import LeasedTasks
from pgsched.worker.limited_claims import LimitedClaims
from pgsched.worker.metrics import WorkerMetrics
from pgsched.worker.prefetch import Prefetch


@dataclass(kw_only=True, eq=False, repr=False)
class ClaimLoop:
    """One iteration after another."""

    claimer: Claimer
    limited_claims: LimitedClaims
    executor: Executor
    completer: Completer
    leased_tasks: LeasedTasks
    prefetch: Prefetch
    counts: WorkerMetrics

    def __post_init__(self) -> None:
        self._waits_for_room = False
        self._paused = False

    def pause(self, paused: bool) -> None:
        """Stop claiming, or start again."""
        self._paused = self.limited_claims.paused = paused
        self.claimer.wake_after_change()

    async def run_once(self) -> None:
        """Claim once, or wait for room or for something to claim. Raises DatabaseUnavailable."""
        if self._paused:
            await self.claimer.wait_paused()
            return
        waiting = len(self.leased_tasks.waiting)
        free = self.executor.free - waiting
        wanted = self.prefetch.wanted(free_slots=self.executor.free, waiting=waiting)
        full = self.completer.behind or (waiting and self.leased_tasks.bytes >= MAX_BYTES)
        if wanted <= 0 or full or self.claimer.waits_for_room(free):
            self._waits_for_room = True
            await self.claimer.wait_for_room()
            self._waits_for_room = False
            return
        self.prefetch.measure(monotonic())
        try:
            more = await self.claimer.run_once(wanted, free)
        finally:
            self.executor.feed()  # after an error too: earlier claims must not wait forever
        if len(self.leased_tasks.waiting) < wanted:
            await asyncio.sleep(0)  # the next claim is not urgent: start what was claimed first
        self.counts.running = self.executor.running
        if not more:
            self._waits_for_room = free <= 0  # rows that cannot be prefetched may wait for a slot
            await self.claimer.rest()
            self._waits_for_room = False

    def room_came(self) -> None:
        """React to a free slot or the end of a batch."""
        self.limited_claims.look_after_end()
        if self._waits_for_room:
            self.claimer.wake()

    def ended(self, booked: int) -> None:
        """React to written outcomes, after which this many rows are to run again."""
        self.room_came()
        if booked:
            self.claimer.wake()
