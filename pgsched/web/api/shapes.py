"""The shapes of answers: the records of pgsched in the description of the API."""

from __future__ import annotations

import sys
from datetime import datetime
from inspect import signature
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints
from uuid import UUID

from pydantic import BaseModel, Field, RootModel, create_model

from pgsched.db.queries.activity import RunningTask
from pgsched.domain import records, stats, worker_records
from pgsched.domain.bulk_changes import BulkChange
from pgsched.domain.database_state import DatabaseState
from pgsched.domain.durable_records import DurableEvent, DurableStep
from pgsched.domain.interval import Interval
from pgsched.domain.saved_views import SavedView
from pgsched.domain.scheduling.calendars import Calendar
from pgsched.domain.silence import Alert
from pgsched.domain.waiting.backlog import Forecast
from pgsched.domain.waiting.reasons import Reason, Why, WhyQueue, WorkerName
from pgsched.web.auth.hiding import SECRET

_PLAIN: dict[Any, Any] = {Interval: str}
"""The JSON type of each Python type; records are added as they are created."""


def shape_of(record: type, name: str, meaning: str | None = None) -> type[BaseModel]:
    """Return the shape of a record's JSON: its fields, all of them always present."""
    hints = get_type_hints(record, vars(records) | vars(sys.modules[record.__module__]))
    columns: dict[str, Any] = {}
    for name_of_field, parameter in signature(record).parameters.items():
        kind = _json_type(hints[name_of_field])
        if name_of_field in SECRET and kind is not Any:
            kind = kind | None
        columns[name_of_field] = (kind, Field(...) if parameter.default is parameter.empty else parameter.default)
    shape: type[BaseModel] = create_model(name, __doc__=meaning, **columns)
    _PLAIN[record] = shape
    return shape


def list_of(item: type[BaseModel], name: str, meaning: str) -> type[BaseModel]:
    """Return the shape of a list that is returned completely."""
    return create_model(name, __base__=RootModel[list[item]], __doc__=meaning)  # type: ignore[valid-type]


def page_of(item: type[BaseModel], name: str) -> type[BaseModel]:
    """Return the shape of a page of a list."""
    cursor = Field(..., description="Pass it as `cursor` for the next page; null: this is the last one.")
    return create_model(name, items=(list[item], Field(...)), next_cursor=(str | None, cursor))  # type: ignore[valid-type]


def _json_type(kind: Any) -> Any:
    if kind in (Any, datetime, UUID, str, int, float, bool, type(None)):
        return kind
    if kind in _PLAIN:
        return _PLAIN[kind]
    inner = tuple(_json_type(one) for one in get_args(kind))
    origin = get_origin(kind)
    if origin in (list, dict):
        return origin[inner]
    if origin is not None:
        return Union[inner]  # noqa: UP007 - created at run time
    raise TypeError(f"{kind!r} has no type in JSON")


TaskShape = shape_of(records.Task, "Task")
ExecutionShape = shape_of(records.Execution, "Execution")
MissedTicksShape = shape_of(records.MissedTicks, "MissedTicks")
AlertShape = shape_of(Alert, "Alert")
LogEntryShape = shape_of(records.LogEntry, "LogEntry")
DurableStepShape = shape_of(DurableStep, "DurableStep")
DurableEventShape = shape_of(DurableEvent, "DurableEvent")
QueueShape = shape_of(records.QueueInfo, "Queue")
QueueSettingsShape = shape_of(records.QueueSettings, "QueueSettings")
SettingsShape = shape_of(records.Settings, "Settings")
DatabaseStateShape = shape_of(DatabaseState, "DatabaseState")
CalendarShape = shape_of(Calendar, "Calendar")
SavedViewShape = shape_of(SavedView, "SavedView")
BulkChangeShape = shape_of(BulkChange, "BulkChange")
BulkChangePage = page_of(BulkChangeShape, "BulkChangePage")
PrunedQueueShape = shape_of(
    records.PrunedQueue, "PrunedQueueShape", "Number of deleted tasks of a queue, by the status they had."
)
PrunedShape = shape_of(records.Pruned, "Pruned")
WorkerTroubleShape = shape_of(worker_records.WorkerTrouble, "WorkerTrouble")
HandlerShape = shape_of(records.HandlerInfo, "Handler")
WorkerShape = shape_of(worker_records.WorkerInfo, "Worker")
RunningTaskShape = shape_of(RunningTask, "RunningTask")
WorkerNameShape = shape_of(WorkerName, "WorkerName")
ReasonShape = shape_of(Reason, "Reason")
ForecastShape = shape_of(Forecast, "Forecast")
WhyShape = shape_of(Why, "Why")
WhyQueueShape = shape_of(WhyQueue, "WhyQueue")
UnhandledShape = shape_of(stats.Unhandled, "UnhandledShape", stats.Unhandled.__doc__)
StatusCountShape = shape_of(records.StatusCount, "StatusCount")
StatsShape = shape_of(stats.Stats, "Stats")


class MadeShape(TaskShape):  # type: ignore[misc, valid-type]
    """A task that was created, or that already had the key; ``differs``: the given fields whose values differ."""

    outcome: str
    differs: list[str]
    warnings: list[str]


class TaskStatusShape(TaskShape):  # type: ignore[misc, valid-type]
    """A task with its surroundings."""

    schedule: str
    is_running: bool
    running: ExecutionShape | None  # type: ignore[valid-type]
    next_runs: list[datetime]
    last_execution: ExecutionShape | None  # type: ignore[valid-type]
    executions: list[ExecutionShape]  # type: ignore[valid-type]
    missed_ticks: list[MissedTicksShape]  # type: ignore[valid-type]
    alerts: list[AlertShape]  # type: ignore[valid-type]
    awaits: list[str] = Field(
        description="What ends the wait of a durable task, such as event:NAME, child:ID and time."
    )
    wakes_at: datetime | None = Field(description="When the first timeout or sleep among its waits ends.")
    version: str | None = Field(
        description="As in the `ETag`: changed by each edit, never by workers; null where payloads are hidden."
    )


class NodeShape(BaseModel):
    """A task in a tree: the steps of a group, its dependencies, its dependents."""

    id: int
    name: str | None
    task_type: str
    status: str
    depends_on: list[int]
    duration: float | None
    last_error: str | None
    children: list[NodeShape]
    upstream: list[NodeShape]
    dependents: list[NodeShape]
    cut: bool


TaskPage = page_of(TaskShape, "TaskPage")
ExecutionPage = page_of(ExecutionShape, "ExecutionPage")


class TickShape(BaseModel):
    """One tick of a preview."""

    at: datetime
    local: datetime
    note: str | None


class PreviewShape(BaseModel):
    """The preview of a schedule."""

    schedule: str
    ticks: list[TickShape]


class ChangedShape(BaseModel):
    """The result of a change to many tasks, or of its dry run."""

    action: str
    dry_run: bool
    matched: int = Field(description="Number of tasks that match the filter, up to the limit.")
    changed: int = Field(description="Number of them that allowed the action, and were changed.")
    ids: list[int] = Field(description="The first 1,000 of those.")
    more: bool = Field(description="More tasks may match: the limit was reached.")
    next_cursor: str | None = Field(
        description="Pass it as cursor to continue after these tasks; null: nothing more matches."
    )


class SentShape(BaseModel):
    """The event that was sent."""

    id: int


class AddedShape(BaseModel):
    """The steps that were added to a group."""

    ids: list[int]


class RefusedEditShape(BaseModel):
    """A task whose payload stays unchanged."""

    id: int
    reason: str = Field(description="The rule that the new payload breaks.")


class EditedPayloadsShape(BaseModel):
    """The result of a batch of changes to payloads, or of its dry run."""

    dry_run: bool
    matched: int = Field(description="Number of tasks that match the filter, up to the limit.")
    edited: int = Field(description="Number of them that wait, and have a new payload now.")
    ids: list[int] = Field(description="The first 1,000 of those.")
    refused: int = Field(description="Number of tasks whose payload the patch would make invalid.")
    refusals: list[RefusedEditShape] = Field(description="The first 1,000 of those.")
    next_cursor: str | None = Field(description="Pass it as cursor for the next batch; null: this was the last one.")


class BackfillTickShape(BaseModel):
    """A tick in the range of a backfill."""

    tick: str = Field(json_schema_extra={"format": "date-time"})
    task_id: int | None = Field(description="The task that runs or ran it; null in a dry run.")
    outcome: str = Field(
        description="`run`: it will run; `ran`: it ran before; `booked`: the schedule itself will still run it.",
        json_schema_extra={"enum": ["run", "ran", "booked"]},
    )


class BackfillShape(BaseModel):
    """The result of a backfill for the ticks of a range, or of its dry run."""

    dry_run: bool
    ticks: list[BackfillTickShape]


class CheckedShape(BaseModel):
    """The result of one check of the doctor."""

    check: str
    state: Literal["ok", "found", "unseen"] = Field(description="unseen: it could not be checked; a finding says why.")


class FindingShape(BaseModel):
    """A problem."""

    check: str
    severity: Literal["error", "warning", "hint"]
    object: str = Field(description="The object of the problem: a queue, a table, a session.")
    problem: str = Field(description="The problem in one line, with the value.")
    advice: str = Field(description="What to do, usually a command to paste.")


class DiagnosisShape(BaseModel):
    """All checks that were made, and all findings, the worst first."""

    healthy: bool = Field(description="Whether there is no error.")
    checks: list[CheckedShape]
    findings: list[FindingShape]


class NumberShape(BaseModel):
    """How many."""

    number: int


class ProblemShape(BaseModel):
    """An error (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str = Field(description="One line that names field, value and rule.")
    field: str | None = Field(None, description="The wrong parameter or field.")
    rule: str | None = Field(None, description="What it must be.")
    task_id: int | None = Field(None, description="The task that already has the key.")
    errors: list[dict[str, str]] | None = Field(None, description="Each of several wrong fields.")
