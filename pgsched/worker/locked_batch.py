"""The rows that one transaction has locked; see :mod:`pgsched.worker.locked_batches`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from pgsched.db.worker.locking import LockingSession
from pgsched.domain.attempt import Claimed, Finish
from pgsched.worker.leased_tasks import LeasedTask


class LockedBatch:
    """The rows of one transaction."""

    def __init__(self, session: LockingSession, until: float, marked: Sequence[Claimed]) -> None:
        self.session = session
        self.until = until
        self.marked = marked
        """Rows that were let go, whose lock was lost before."""
        self.held: list[LeasedTask] = []
        """Rows whose handlers may run."""
        self.to_lease: list[Claimed] = []
        """Rows that wait for the batch to end."""
        self.ended: list[tuple[LeasedTask, Finish]] = []
        self.all_ended = asyncio.Event()
        self.closing_at = 0.0
        """When its leases were sent, by the monotonic clock."""
        self._running = 0

    def hold(self, held: list[LeasedTask]) -> None:
        """Take rows whose handlers may run."""
        self.held = held
        self._running = len(held)
        if not held:
            self.all_ended.set()

    def end(self, leased: LeasedTask, finish: Finish) -> None:
        """Note that an attempt has ended."""
        self.ended.append((leased, finish))
        self._running -= 1
        if not self._running:
            self.all_ended.set()
