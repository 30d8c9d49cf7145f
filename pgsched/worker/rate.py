"""The rate at which rows arrive, and whether it makes a worker busy."""

from __future__ import annotations

BUSY_RATE = 200.0
"""Rows per second from which on a worker is busy: it locks rows, and dozes instead of sleeping."""
RATE_SECONDS = 0.25
"""The period over which that rate is measured."""


class Rate:
    """The recent rate of rows per second."""

    def __init__(self) -> None:
        self._found = 0
        self._since = 0.0
        self._rate = 0.0

    def note(self, found: int, now: float) -> None:
        """Update it with the rows of a claim; ``now`` in monotonic seconds."""
        self._found += found
        if now - self._since >= RATE_SECONDS:
            self._rate = self._found / (now - self._since)
            self._found, self._since = 0, now

    @property
    def is_high(self) -> bool:
        """Whether the rate is so high that a worker need not be notified of more."""
        return self._rate > BUSY_RATE
