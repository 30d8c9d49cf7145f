"""Waiting for a task to end: what to poll, how often, and what the answer means. Reads no clock of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from pgsched.domain.errors import TaskNotFound
from pgsched.domain.validation import Duration, interval_of

FIRST_PAUSE, LONGEST_PAUSE, GROWTH = 0.01, 0.5, 1.5
"""Seconds between two polls, which grow from the first to the longest."""


class Waiting:
    """One wait for a task; for a schedule, a wait for its next completed tick."""

    def __init__(self, task_id: int, timeout: Duration | None, *, clock: Callable[[], float]) -> None:
        """``timeout`` in seconds or as any duration; None waits forever. Raises InvalidTask for an invalid one."""
        self.task_id = task_id
        self._timeout = None if timeout is None else interval_of("timeout", timeout).seconds
        self._clock = clock
        self._began = clock()
        self._pause = FIRST_PAUSE
        self._status = ""
        self.token: int | None = None
        """For a schedule: only ticks of later claims count. None before the first poll."""
        self.since: datetime | None = None
        """For a schedule that may overlap itself: only ticks that were completed after this time count."""
        self.result: Any = None
        self.failed = False
        """The task is dead or cancelled."""

    def is_over(self, row: Mapping[str, Any] | None) -> bool:
        """Process a poll; returns whether the wait is over: ``result`` is set, or the task ``failed``.

        Raises TaskNotFound when there is no row.
        """
        if row is None:
            raise TaskNotFound(f"task {self.task_id} does not exist")
        self.token, self.since = row["next_token"], row["next_since"]
        self._status = row["status"]
        if row["is_schedule"] and row["ticked"]:
            self.result = row["tick_result"]
            return True
        if self._status == "completed":
            self.result = row["result"]
            return True
        self.failed = self._status in ("dead", "cancelled")
        return self.failed

    def pause(self) -> float:
        """Return the delay before the next poll, in seconds. Raises TimeoutError when the time is up."""
        pause = self._pause
        self._pause = min(pause * GROWTH, LONGEST_PAUSE)
        if self._timeout is None:
            return pause
        left = self._began + self._timeout - self._clock()
        if left <= 0:
            raise TimeoutError(f"task {self.task_id} is still {self._status} after {self._timeout:g} s")
        return min(pause, left)
