"""Lists of schedules and of workflows, with their recent history. Pure, as :mod:`pgsched.db.queries`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

from pgsched.db.query import Command, Rows, choice, unprepared
from pgsched.domain.planned_schedule import STATES
from pgsched.domain.records import Task, read
from pgsched.domain.validation import one_of, optional

MAX_SCHEDULES: Final = 10_000
"""Maximum number of schedules that are read, the newest first."""
STRETCH: Final = 20_000
"""Number of rows of the index of workflows that a page examines."""
MAX_PARTS: Final = 300
"""Number of tasks of one workflow that a list examines."""
MAX_ATTEMPTS: Final = 3_000
"""Number of attempts of one workflow that its timeline reads."""
WORKFLOW_STATES: Final = ("pending", "running", "blocked", "completed", "dead", "cancelled")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleRow:
    """A schedule, its state, and its last attempt that has ended."""

    task: Task
    state: str
    at: datetime
    """The sort key: its next run, or the end of time."""
    last_status: str | None
    last_ms: float | None
    last_task_id: int | None
    """The task of that attempt: a child where runs may overlap."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowRow:
    """A workflow, identified by the group or the task at its end, and its progress."""

    task: Task
    state: str
    """Its status; running while the steps of a group run."""
    number: int
    """Its tasks: the steps of a group, otherwise the task and all its dependencies."""
    completed: int
    failed: int
    failed_ids: list[int]
    """The first three of the dead ones."""
    is_cut: bool
    """Whether there are more tasks than were examined: ``completed`` and ``failed`` are of the first 300."""
    began_at: datetime | None
    ended_at: datetime | None


class Listed(NamedTuple):
    """A page of schedules."""

    rows: list[ScheduleRow]
    complete: bool
    """False when there are more schedules than are read."""


class FoundWorkflows(NamedTuple):
    """A page of workflows."""

    rows: list[WorkflowRow]
    next_before: int | None
    """Where to continue when the page is not full and there is more."""


def list_schedules(
    *,
    queue: str | None,
    task_type: str | None,
    search: str | None,
    state: str | None,
    after: tuple[datetime, int] | None,
    limit: int,
) -> Command[Listed]:
    """Read a page of the schedules, the next one to run first. Raises InvalidTask for a state that is none."""
    at, id = after or (None, None)
    params: dict[str, Any] = {
        **choice(queue=queue, task_type=task_type, search=search),
        "state": optional(one_of(*STATES))("state", state),
        "after_at": at,
        "after_id": id,
        "limit": limit,
        "most": MAX_SCHEDULES + 1,
    }

    def parse(rows: Rows) -> Listed:
        names = ("state", "at", "last_status", "last_ms", "last_task_id")
        found = [ScheduleRow(task=read(Task, row), **{name: row[name] for name in names}) for row in rows]
        return Listed(found, not any(row["is_cut"] for row in rows))

    return unprepared("list_schedules", parse, **params)


def list_workflows(
    *, status: str | None, queue: str | None, search: str | None, before_id: int | None, limit: int
) -> Command[FoundWorkflows]:
    """Read a page of workflows, the latest first. Raises InvalidTask for a status that is none."""
    params: dict[str, Any] = {
        **choice(queue=queue, search=search),
        "status": optional(one_of(*WORKFLOW_STATES))("status", status),
        "before_id": before_id,
        "limit": limit,
        "stretch": STRETCH,
        "most": MAX_PARTS,
    }

    def parse(rows: Rows) -> FoundWorkflows:
        names = ("state", "number", "completed", "failed", "is_cut", "began_at", "ended_at")
        found = [
            WorkflowRow(task=read(Task, row), failed_ids=row["failed_ids"] or [], **{name: row[name] for name in names})
            for row in rows
            if row["id"] is not None
        ]
        further = rows[0]["last_looked"] if rows and len(found) < limit and rows[0]["is_stretch_full"] else None
        return FoundWorkflows(found, further)

    return unprepared("list_workflows", parse, **params)


class AttemptTime(NamedTuple):
    """When an attempt at a task of a workflow was in progress."""

    task_id: int
    status: str
    started_at: datetime
    finished_at: datetime | None


def list_workflow_attempts(ids: Sequence[int]) -> Command[list[AttemptTime]]:
    """Read when tasks ran, the last ten attempts of each."""

    def parse(rows: Rows) -> list[AttemptTime]:
        return [AttemptTime(*(row[name] for name in AttemptTime._fields)) for row in rows]

    return unprepared("list_workflow_attempts", parse, ids=list(ids), limit=MAX_ATTEMPTS)
