"""A schedule with the columns that its next ticks are computed from, without its payload."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from pgsched.domain.interval import Interval
from pgsched.domain.records import Record

STATES: Final = ("active", "running", "disabled", "paused", "blocked", "dead", "ended")
"""States of a schedule. The last one that applies wins: a schedule in a paused queue may still be over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedSchedule(Record):
    """Columns of a schedule in ``pgsched.tasks``, and whether its queue is paused."""

    id: int
    task_type: str
    task_name: str | None
    queue: str
    cron_expression: str | None
    timezone: str
    start_date: datetime | None
    end_date: datetime | None
    repeat_interval: Interval | None
    repeat_count: int | None
    execution_count: int
    on_missed: str
    catchup_window: Interval | None
    jitter: Interval | None
    enabled: bool
    status: str
    scheduled_for: datetime | None
    next_run_at: datetime | None
    started_at: datetime | None
    attempts: int
    planned_from: datetime
    paused: bool
    """Whether its queue is paused, so that nothing is claimed from it."""

    @property
    def state(self) -> str:
        """The state of the schedule, one of :data:`STATES`."""
        if self.status in ("completed", "cancelled"):
            return "ended"
        if self.status in ("dead", "blocked"):
            return self.status
        if not self.enabled:
            return "disabled"
        if self.paused:
            return "paused"
        return "running" if self.status == "running" else "active"
