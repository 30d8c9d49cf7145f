"""The dashboard's commands. Pure, as :mod:`pgsched.db.queries`.

Every statement reads a bounded number of rows, whatever the table holds; counts end at :data:`CAP`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pgsched.db.query import Command, Rows, choice, command, rows_as, unprepared, value
from pgsched.domain.interval import Interval
from pgsched.domain.records import Execution, read
from pgsched.domain.validation import one_of, optional

CAP = 10_001
"""Maximum number of rows to count; "more than 10,000" is shown beyond it."""
SAMPLE = 1_000
"""Number of due rows of each queue whose types are read."""
MAX_RUNNING = 1_000
EXECUTION_STATUSES = ("completed", "failed", "timed_out", "cancelled", "lost", "snoozed")


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSurvey:
    """A queue, its settings and its waiting tasks."""

    name: str
    paused: bool
    ordering: str
    limits: dict[str, Any]
    ageing: Interval | None
    waiting: int
    """Waiting and running rows, counted up to the cap."""
    ready: int
    """Due and running rows among them, also up to the cap."""
    oldest_due_seconds: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSetup:
    """The settings of a queue, for a form."""

    name: str
    ordering: str = "fifo"
    limits: dict[str, Any] = field(default_factory=dict)
    per: Interval | None = None
    """The window of its rates."""
    ageing: Interval | None = None
    events: bool = False
    retention: Interval | None = None
    retention_count: int | None = None
    dead_retention: Interval | None = None
    dead_retention_count: int | None = None
    archive: bool | None = None
    defaults: dict[str, Any] | None = None
    """Defaults for columns of its tasks that neither their row nor their handler sets."""


def find_said_options(task_type: str, queue: str) -> Command[set[str]]:
    """Read the columns for which the handler or the queue of a task has defaults."""

    def parse(rows: Rows) -> set[str]:
        return {row["option"] for row in rows}

    return command("find_said_options", parse, task_type=task_type, queue=queue)


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeSurvey:
    """Due and running tasks of one type in one queue, among the queue's first rows."""

    queue: str
    task_type: str
    due: int
    running: int
    handled: bool
    """Whether a live worker of the queue has a handler for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MinuteCount:
    """Attempts that ended within one minute."""

    minute: datetime
    queue: str
    status: str
    number: int
    milliseconds: float
    """Their total duration."""


def survey_queues() -> Command[list[QueueSurvey]]:
    """Read every queue with capped counts."""
    return command("survey_queues", rows_as(QueueSurvey), cap=CAP)


def list_queue_settings(queue: str | None = None) -> Command[dict[str, QueueSetup]]:
    """Read the settings of every queue that has some, or of one; by its name."""

    def parse(rows: Rows) -> dict[str, QueueSetup]:
        return {row["name"]: read(QueueSetup, row) for row in rows}

    return unprepared("list_queue_settings", parse, **choice(queue=queue))


def survey_types() -> Command[list[TypeSurvey]]:
    """Read what is due or runs, by queue and type."""
    return command("survey_types", rows_as(TypeSurvey), cap=SAMPLE)


def survey_dead() -> Command[dict[str, int]]:
    """Count the dead letters by queue, of the last ones up to the cap."""
    return command("survey_dead", lambda rows: {row["queue"]: row["number"] for row in rows}, cap=CAP)


def survey_table() -> Command[int]:
    """Read the approximate number of rows in the table."""
    return command("survey_table", lambda rows: int(rows[0]["about_rows"]))


def count_executions(minutes: int) -> Command[list[MinuteCount]]:
    """Count the attempts that ended in the current minute and the ``minutes`` before it."""
    return command("count_executions", rows_as(MinuteCount), minutes=minutes)


def find_created_at(id: int) -> Command[datetime | None]:
    """Read when a task was created; None when it no longer exists."""
    return command("find_created_at", lambda rows: rows[0]["created_at"].astimezone(UTC) if rows else None, id=id)


def find_running_ids() -> Command[list[int]]:
    """Find the tasks that run."""
    return command("find_running_ids", lambda rows: [int(row["id"]) for row in rows], cap=MAX_RUNNING)


def begin_look() -> Command[datetime]:
    """Start an expensive read, as the first statement of a transaction; returns the database's time."""
    return command("begin_look", value("now"))


def latest_executions(
    *,
    since: datetime,
    queue: str | None,
    task_type: str | None,
    status: str | None,
    before: tuple[datetime, int, int] | None,
    limit: int,
) -> Command[list[Execution]]:
    """Read a page of the attempts that started at ``since`` or later, the latest first."""
    at, task_id, token = before or (None, None, None)
    params = {
        "since": since,
        **choice(queue=queue, task_type=task_type),
        "status": optional(one_of(*EXECUTION_STATUSES))("status", status),
        "before_at": at,
        "before_id": task_id,
        "before_token": token,
        "limit": limit,
    }
    return unprepared("list_latest_executions", rows_as(Execution), **params)


def watch_changes() -> Command[dict[str, int]]:
    """Read a number for each table that differs after every change of it."""
    return command("watch_changes", lambda rows: {row["name"]: int(row["changes"]) for row in rows})


def watch_tasks(ids: Iterable[int]) -> Command[dict[int, str]]:
    """Read a mark for each of these tasks that differs after every change of it; a deleted one has none."""
    return command("watch_tasks", lambda rows: {row["id"]: row["mark"] for row in rows}, ids=sorted(ids))
