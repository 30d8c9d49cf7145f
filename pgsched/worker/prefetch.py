"""How many rows to claim: those that this worker will start within a tenth of a second, and no more."""

from __future__ import annotations

HORIZON = 0.06
"""Seconds of work to prefetch."""
_SMOOTHING = 0.3


class Prefetch:
    """Measures how fast tasks start, and thus how many to hold that have not started.

    Slow handlers never hoard work that another worker could run; fast ones never wait for the next claim.
    """

    def __init__(self, *, concurrency: int, max_batch: int) -> None:
        self._concurrency = concurrency
        self._max_batch = max_batch
        self._started = 0
        self._measured_at: float | None = None
        self.rate = 0.0
        """Tasks started per second, smoothed."""

    def count(self, started: int = 1) -> None:
        """Note that tasks were started."""
        self._started += started

    def measure(self, now: float) -> None:
        """Update the rate with the last measurement; ``now`` in seconds of the monotonic clock."""
        if self._measured_at is None:
            self._measured_at = now
            return
        elapsed = now - self._measured_at
        if elapsed < 0.001:
            return
        self.rate += _SMOOTHING * (self._started / elapsed - self.rate)
        self._measured_at, self._started = now, 0

    def wanted(self, *, free_slots: int, waiting: int) -> int:
        """Return how many rows to claim now: the free slots and the prefetch, less what waits already.

        A claim for a few rows while many wait is postponed until it is worth its round trip.
        """
        ahead = int(self.rate * HORIZON)
        missing = min(free_slots + ahead - waiting, self._max_batch)
        if waiting and missing < min(self._concurrency + ahead, self._max_batch) // 4:
            return 0
        return max(missing, 0)
