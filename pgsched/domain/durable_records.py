"""What is read back of durable tasks: frozen records of their runs, their steps and the events sent to them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pgsched.domain.records import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class DurableRun(Record):
    """A run of a durable handler that is not over: a row of ``pgsched.durable_runs``."""

    task_id: int
    tick_number: int
    """Which tick of the task it is, from 1."""
    began_at: datetime
    """With the id it names the run."""
    code_version: str | None
    """The version of the code that began it."""
    awaits: list[str]
    """What ends the wait while the task is blocked in one, as ``event:NAME`` and ``child:ID``; else empty."""
    wakes_at: datetime | None
    """When the first timeout or sleep among its waits is over; None: there is none."""
    unasked: list[str]
    """Recorded steps that the code no longer asked for when it went on behind them."""

    def __post_init__(self) -> None:
        """Lists are empty where the table has none."""
        for name in ("awaits", "unasked"):
            object.__setattr__(self, name, list(getattr(self, name) or ()))


@dataclass(frozen=True, slots=True, kw_only=True)
class DurableStep(Record):
    """What a durable run has recorded under a name: a row of ``pgsched.durable_steps``."""

    task_id: int
    began_at: datetime
    """The run."""
    tick_number: int
    name: str
    key: str
    """What tells steps of one name apart; empty: nothing."""
    kind: str
    """``step``, ``sleep``, ``event`` (a wait for one), ``child``, ``value`` or ``patch``."""
    status: str
    """``waiting``, ``failing`` (it is tried again), ``completed`` or ``failed``."""
    attempts: int
    """Attempts that have ended."""
    result: Any
    """What the step returned, the payload of the event, the result of the child."""
    error: str | None
    """Why its last attempt failed."""
    child_id: int | None
    cancels_child: bool
    """The child is cancelled with the task."""
    event_id: int | None
    """The event that ended the wait."""
    wakes_at: datetime | None
    """When the sleep ends, the wait times out, or the step is tried again."""
    started_at: datetime
    finished_at: datetime | None
    """When it was completed, or failed for good."""
    fencing_token: int
    """The claim that recorded it last."""

    @property
    def title(self) -> str:
        """Its name, with the key if it has one, for people."""
        return f"{self.name} [{self.key}]" if self.key else self.name

    @property
    def seconds(self) -> float | None:
        """How long it took, with its waits; None while it is not over."""
        return None if self.finished_at is None else (self.finished_at - self.started_at).total_seconds()


@dataclass(frozen=True, slots=True, kw_only=True)
class DurableEvent(Record):
    """An event that was sent to a durable task: a row of ``pgsched.durable_events``."""

    id: int
    task_id: int
    tick_number: int
    """The tick that it was sent to."""
    name: str
    payload: Any
    key: str | None
    """A second event of the same name and key is not stored."""
    sent_by: str
    """The database role that sent it."""
    sent_at: datetime
    consumed_at: datetime | None
    """When a wait took it; None: none has."""
