"""How long attempts of each type usually take: short ones need no lease before they start."""

from __future__ import annotations

from pgsched.execution.registry import Registry

LOCKABLE_SECONDS = 0.005
"""Types whose attempts take longer than this are leased before they start."""
SMOOTHING = 0.05
NEGLIGIBLE = 0.001
"""Seconds: a shorter attempt need not be observed, unless some type is slow or its own is unknown."""
KNOWN = 10
"""Number of attempts after which the usual duration of a type is known."""


class UsualSeconds:
    """The smoothed duration of each type's attempts, in seconds."""

    def __init__(self, registry: Registry) -> None:
        # They write in their own transaction, or run in a process, and need the row before they start.
        self._seconds = {
            handler.task_type: 0.0
            for handler in registry
            if not (handler.transactional or handler.durable) and handler.executor != "process"
        }
        self._attempts = dict.fromkeys(self._seconds, 0)
        self.slow: set[str] = set()
        """Types that usually take longer than NEGLIGIBLE."""
        self.known: set[str] = set()
        """Types of which some attempts were observed."""

    def observe(self, task_type: str, seconds: float) -> None:
        """Take the duration of one attempt."""
        before = self._seconds.get(task_type)
        if before is not None:
            if task_type not in self.known:
                self._attempts[task_type] += 1
                if self._attempts[task_type] >= KNOWN:
                    self.known.add(task_type)
            usual = self._seconds[task_type] = before + SMOOTHING * (min(seconds, 1.0) - before)
            if usual > NEGLIGIBLE:
                self.slow.add(task_type)
            else:
                self.slow.discard(task_type)

    def lockable_types(self, *, known: bool = False) -> list[str]:
        """The types whose attempts may start before they are leased; ``known``: only known short ones."""
        types = self.known if known else self._seconds
        return [task_type for task_type in types if self._seconds[task_type] < LOCKABLE_SECONDS]

    def is_lockable(self, task_type: str) -> bool:
        """Whether attempts of a type may start before they are leased."""
        return self._seconds.get(task_type, LOCKABLE_SECONDS) < LOCKABLE_SECONDS

    def is_short(self, task_type: str) -> bool:
        """Whether attempts of a type are known to be short."""
        return task_type in self.known and self._seconds[task_type] < LOCKABLE_SECONDS
