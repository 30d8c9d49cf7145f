"""Current activity, for people who watch. Pure, as :mod:`pgsched.db.queries`.

Each command reads a bounded number of rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from pgsched.db.queries.workers import worker_id
from pgsched.db.query import Command, command, row_as, rows_as
from pgsched.domain.records import Record

MAX_RUNNING = 200
FRONT = 500
"""Number of rows at the front of each queue and priority that are searched."""
WINDOW_SECONDS = 5.0
"""Seconds over which rates are measured."""
MAX_ENDED = 50_000
"""Maximum number of attempts to count; beyond it only the queues' shares are known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """The server's own statistics."""

    now: datetime
    version: str
    ended: int
    """Attempts that ended since its statistics were reset."""
    findings: list[dict[str, str]] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningTask(Record):
    """A running task."""

    id: int
    task_type: str
    queue: str
    attempt: int
    max_attempts: int
    progress: Any
    hostname: str | None
    pid: int | None
    seconds: float
    worker_id: UUID | None = None
    started_at: datetime | None = None


def show_activity() -> Command[Moment]:
    """Read the server's own statistics."""
    return command("show_activity", row_as(Moment))


def list_running(worker: UUID | str | None = None) -> Command[list[RunningTask]]:
    """Read the running tasks, of all workers or of one, the longest first. Raises InvalidTask for an invalid id."""
    id = None if worker is None else worker_id(worker)
    return command("list_running", rows_as(RunningTask), cap=FRONT, limit=MAX_RUNNING, worker=id)


def count_ended() -> Command[dict[str, int]]:
    """Count the attempts that ended recently, by queue, up to :data:`MAX_ENDED`."""
    params = {"seconds": WINDOW_SECONDS, "cap": MAX_ENDED}
    return command("count_ended", lambda rows: {row["queue"]: row["number"] for row in rows}, **params)
