"""Alerts that a task has asked for: no success for too long, or an attempt that runs for too long."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from pgsched.domain.interval import Interval
from pgsched.domain.records import Record

SILENT: Final = "silent"
RUNNING: Final = "running"
OPTIONS: Final[Mapping[str, str]] = {SILENT: "alert_if_no_success_for", RUNNING: "alert_if_running_for"}
"""The option that sets the limit, by the kind of the alert."""
_WORDS: Final[Mapping[str, str]] = {SILENT: "no success since", RUNNING: "an attempt has been running since"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert(Record):
    """A limit of a task that is exceeded."""

    task_id: int
    """The task that has the limit."""
    task_type: str
    queue: str
    kind: str
    """``silent``: no success for ``alert_if_no_success_for``; ``running``: an attempt for ``alert_if_running_for``."""
    since: datetime
    """The last success, or since when there should have been one; or when the attempt started."""
    seconds: float
    """How long ago that was, by the database's clock."""
    limit: Interval
    """The limit that is exceeded."""
    row_id: int
    """The task that runs: a child when the task may overlap itself, else the task itself."""

    @property
    def problem(self) -> str:
        """Return what is wrong, since when, and by which limit."""
        return f"{_WORDS[self.kind]} {self.since:%Y-%m-%d %H:%M:%S} UTC; {OPTIONS[self.kind]} is {self.limit.to_text()}"
