"""The timing of duties that any worker can do: each does them rarely while it is otherwise idle."""

from __future__ import annotations

import random
from collections.abc import Callable
from time import monotonic


class Turn:
    """Comes every ``seconds``, and every ``idle_seconds`` while the worker has ``claimed`` nothing since the last turn.

    For duties about what workers did, idle workers leave the turn to the others and send no statement.
    """

    def __init__(self, seconds: float, idle_seconds: float, claimed: Callable[[], float]) -> None:
        self._seconds = seconds
        self._idle_seconds = idle_seconds
        self._claimed = claimed
        self._last_claimed = -1.0
        self._last_at = 0.0
        self._factor = 1.0

    def take(self) -> bool:
        """Whether it is time; the next turn is counted from now."""
        now, claimed = monotonic(), self._claimed()
        pause = self._idle_seconds if claimed == self._last_claimed else self._seconds
        if self._last_at and now - self._last_at < pause * self._factor:
            return False
        self._last_at, self._last_claimed = now, claimed
        self._factor = random.uniform(0.9, 1.1)  # noqa: S311 - not all at once
        return True
