"""How many rows come, and whether that makes a worker busy."""

from __future__ import annotations

BUSY_RATE = 200.0
"""Rows a second from which on a worker is busy: it locks rows, and dozes instead of sleeping."""
RATE_SECONDS = 0.25
"""The span over which that rate is measured."""


class Rate:
    """Rows a second that came lately."""

    def __init__(self) -> None:
        self._found = 0
        self._since = 0.0
        self._rate = 0.0

    def note(self, found: int, now: float) -> None:
        """Take what a claim found; ``now`` in monotonic seconds."""
        self._found += found
        if now - self._since >= RATE_SECONDS:
            self._rate = self._found / (now - self._since)
            self._found, self._since = 0, now

    @property
    def is_high(self) -> bool:
        """Whether so many come that a worker need not be notified of more."""
        return self._rate > BUSY_RATE
