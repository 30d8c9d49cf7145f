"""A monotonic clock that the test moves."""

from __future__ import annotations


class Clock:
    """Shows ``now`` seconds."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now
