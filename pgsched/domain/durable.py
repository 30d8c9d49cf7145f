"""The values of durable runs: what is recorded, what is about to be recorded, what a suspended run waits for."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

MAX_STEPS = 10_000
"""Maximum number of recorded steps of a run; ``ctx.restart_with`` starts another run."""
MAILBOX = 100
"""Maximum number of events of one name that are loaded at once."""
MAX_NAME = 200
"""Maximum length of the name or key of a step."""

SLEEP = "time"
"""What a blocked run awaits when it only sleeps."""

Name = tuple[str, str]
"""The name and the key of a step; the key is empty when the name is unique."""


class Step(NamedTuple):
    """A recorded step."""

    name: str
    key: str
    kind: str
    """``step``, ``sleep``, ``event``, ``child``, ``value`` or ``patch``."""
    status: str
    """``waiting``, ``failing``, ``completed`` or ``failed``."""
    attempts: int = 0
    result: str | None = None
    """JSON text."""
    error: str | None = None
    child_id: int | None = None
    wakes_at: datetime | None = None
    """When the sleep ends, the wait times out, or the step is retried."""
    started_at: datetime | None = None


class Event(NamedTuple):
    """An event that no wait has consumed."""

    id: int
    name: str
    payload: str | None
    """JSON text."""


class Ended(NamedTuple):
    """The state of a child."""

    status: str
    """``completed``, ``dead``, ``cancelled`` or ``deleted``."""
    result: str | None
    """JSON text."""
    error: str | None


class Run(NamedTuple):
    """A run as loaded from the database."""

    tick_number: int
    began_at: datetime
    code_version: str | None
    steps: tuple[Step, ...] = ()
    children: dict[int, Ended] = {}  # noqa: RUF012 - never changed


class RunId(NamedTuple):
    """The run and the claim that something is recorded for."""

    task_id: int
    fencing_token: int
    tick_number: int
    began_at: datetime
    code_version: str | None


class Record(NamedTuple):
    """What is about to be recorded for a step."""

    run: RunId
    step: Step
    finished_at: datetime | None = None
    event_id: int | None = None
    """The event that it consumes."""


class Suspension(NamedTuple):
    """Why a run is suspended, and what is recorded along with that."""

    awaits: tuple[str, ...]
    """What wakes the run: ``event:NAME``, ``child:ID`` or ``time``; empty when the task's due time does."""
    wakes_at: datetime | None
    """When the first of its sleeps and timeouts expires."""
    records: tuple[Record, ...]
    payload: str | None = None
    """The payload of the run that follows, as JSON text; None when this run continues."""
    unasked: tuple[str, ...] = ()
    """Recorded steps that the code no longer reached although it ran past them."""
