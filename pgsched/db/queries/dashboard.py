"""What the dashboard asks of the database. Pure, as :mod:`pgsched.db.queries`.

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
"""Maximum number of rows to count: more than 10,000 is shown as such."""
SAMPLE = 1_000
"""Number of due rows of each queue whose types are read."""
MAX_RUNNING = 1_000
EXECUTION_STATUSES = ("completed", "failed", "timed_out", "cancelled", "lost", "snoozed")


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSurvey:
    """A queue, its settings and what waits in it."""

    name: str
    paused: bool
    ordering: str
    limits: dict[str, Any]
    ageing: Interval | None
    waiting: int
    """Rows that wait or run, counted up to the cap."""
    ready: int
    """Those of them that are due or run, up to the cap, too."""
    oldest_due_seconds: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSetup:
    """What a queue is told to do, as a form has it."""

    name: str
    ordering: str = "fifo"
    limits: dict[str, Any] = field(default_factory=dict)
    per: Interval | None = None
    """The time of its rates."""
    ageing: Interval | None = None
    events: bool = False
    retention: Interval | None = None
    retention_count: int | None = None
    dead_retention: Interval | None = None
    dead_retention_count: int | None = None
    archive: bool | None = None
    defaults: dict[str, Any] | None = None
    """The columns that its tasks have unless somebody with more to say says otherwise."""


def find_said_options(task_type: str, queue: str) -> Command[set[str]]:
    """Read the columns of which the handler or the queue of a task says something."""

    def parse(rows: Rows) -> set[str]:
        return {row["option"] for row in rows}

    return command("find_said_options", parse, task_type=task_type, queue=queue)


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeSurvey:
    """What is due or runs of one type in one queue, of the queue's first rows."""

    queue: str
    task_type: str
    due: int
    running: int
    handled: bool
    """A live worker of the queue has a handler for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MinuteCount:
    """Attempts that ended within one minute."""

    minute: datetime
    queue: str
    status: str
    number: int
    milliseconds: float
    """What they took together."""


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
    """Read how many rows the table has, about."""
    return command("survey_table", lambda rows: int(rows[0]["about_rows"]))


def count_executions(minutes: int) -> Command[list[MinuteCount]]:
    """Count the attempts that ended in the current minute and the ``minutes`` before it."""
    return command("count_executions", rows_as(MinuteCount), minutes=minutes)


def find_created_at(id: int) -> Command[datetime | None]:
    """Read when a task was made; None when it is gone."""
    return command("find_created_at", lambda rows: rows[0]["created_at"].astimezone(UTC) if rows else None, id=id)


def find_running_ids() -> Command[list[int]]:
    """Find the tasks that run."""
    return command("find_running_ids", lambda rows: [int(row["id"]) for row in rows], cap=MAX_RUNNING)


def begin_look() -> Command[datetime]:
    """Begin a look that may read much, at the head of a transaction; returns the time of the database."""
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
    """Read a page of the attempts that began at ``since`` or later, the latest first."""
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
    """Read of each table a number that differs after every change of it."""
    return command("watch_changes", lambda rows: {row["name"]: int(row["changes"]) for row in rows})


def watch_tasks(ids: Iterable[int]) -> Command[dict[int, str]]:
    """Read of each of these tasks a mark that differs after every change of it; one that is gone has none."""
    return command("watch_tasks", lambda rows: {row["id"]: row["mark"] for row in rows}, ids=sorted(ids))
