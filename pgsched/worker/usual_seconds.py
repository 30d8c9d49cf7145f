"""How long attempts of each type usually take: what is soon over need not be leased before it begins."""

from __future__ import annotations

from pgsched.execution.registry import Registry

LOCKABLE_SECONDS = 0.005
"""Types whose attempts take longer than this are leased before they begin."""
SMOOTHING = 0.05
NEGLIGIBLE = 0.001
"""Seconds: an attempt that takes less need not be observed, unless some type is slow."""


class UsualSeconds:
    """The smoothed duration of each type's attempts, in seconds."""

    def __init__(self, registry: Registry) -> None:
        # Writes in a transaction of its own, and processes, need the row before they begin.
        self._seconds = {
            handler.task_type: 0.0
            for handler in registry
            if not handler.transactional and handler.executor != "process"
        }
        self.slow: set[str] = set()
        """Types that usually take longer than NEGLIGIBLE."""

    def observe(self, task_type: str, seconds: float) -> None:
        """Take the duration of one attempt."""
        before = self._seconds.get(task_type)
        if before is not None:
            usual = self._seconds[task_type] = before + SMOOTHING * (min(seconds, 1.0) - before)
            if usual > NEGLIGIBLE:
                self.slow.add(task_type)
            else:
                self.slow.discard(task_type)

    def lockable_types(self) -> list[str]:
        """The types whose attempts may begin before they are leased."""
        return [task_type for task_type, seconds in self._seconds.items() if seconds < LOCKABLE_SECONDS]
