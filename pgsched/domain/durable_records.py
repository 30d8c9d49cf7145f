"""Frozen records of durable tasks for readers: their runs, their steps, and the events sent to them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pgsched.domain.records import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class DurableRun(Record):
    """A run of a durable handler that has not ended: a row of ``pgsched.durable_runs``."""

    task_id: int
    tick_number: int
    """The number of the task's tick, from 1."""
    began_at: datetime
    """Identifies the run, together with the id of the task."""
    code_version: str | None
    """The version of the code that started it."""
    awaits: list[str]
    """What ends the wait of a blocked task, as ``event:NAME`` and ``child:ID``; otherwise empty."""
    wakes_at: datetime | None
    """When the first timeout or sleep among its waits expires; None when there is none."""
    unasked: list[str]
    """Recorded steps that the code no longer reached although it ran past them."""

    def __post_init__(self) -> None:
        """Lists are empty where the table has null."""
        for name in ("awaits", "unasked"):
            object.__setattr__(self, name, list(getattr(self, name) or ()))


@dataclass(frozen=True, slots=True, kw_only=True)
class DurableStep(Record):
    """What a durable run recorded under a name: a row of ``pgsched.durable_steps``."""

    task_id: int
    began_at: datetime
    """The run."""
    tick_number: int
    name: str
    key: str
    """Distinguishes steps of the same name; may be empty."""
    kind: str
    """``step``, ``sleep``, ``event`` (a wait for one), ``child``, ``value`` or ``patch``."""
    status: str
    """``waiting``, ``failing`` (it will be retried), ``completed`` or ``failed``."""
    attempts: int
    """Attempts that have ended."""
    result: Any
    """The return value of the step, the payload of the event, or the result of the child."""
    error: str | None
    """Why its last attempt failed."""
    child_id: int | None
    cancels_child: bool
    """Whether the child is cancelled with the task."""
    event_id: int | None
    """The event that ended the wait."""
    wakes_at: datetime | None
    """When the sleep ends, the wait times out, or the step is retried."""
    started_at: datetime
    finished_at: datetime | None
    """When it completed, or failed for good."""
    fencing_token: int
    """The claim that last recorded it."""

    @property
    def title(self) -> str:
        """The name for display, with the key if there is one."""
        return f"{self.name} [{self.key}]" if self.key else self.name

    @property
    def seconds(self) -> float | None:
        """How long it took, including its waits; None while it has not ended."""
        return None if self.finished_at is None else (self.finished_at - self.started_at).total_seconds()


@dataclass(frozen=True, slots=True, kw_only=True)
class DurableEvent(Record):
    """An event that was sent to a durable task: a row of ``pgsched.durable_events``."""

    id: int
    task_id: int
    tick_number: int
    """The tick that the event was sent to."""
    name: str
    payload: Any
    key: str | None
    """Another event of the same name and key is not stored."""
    sent_by: str
    """The database role that sent it."""
    sent_at: datetime
    consumed_at: datetime | None
    """When a wait consumed it; None when none has."""
