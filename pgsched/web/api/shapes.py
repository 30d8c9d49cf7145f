"""The records of pgsched as the API's description has them: the shapes of answers."""

from __future__ import annotations

from datetime import datetime
from inspect import signature
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints
from uuid import UUID

from pydantic import BaseModel, Field, RootModel, create_model

from pgsched.domain import records
from pgsched.domain.bulk_changes import BulkChange
from pgsched.domain.durable_records import DurableEvent, DurableStep
from pgsched.domain.interval import Interval
from pgsched.domain.saved_views import SavedView
from pgsched.domain.scheduling.calendars import Calendar
from pgsched.domain.silence import Alert
from pgsched.web.auth.hiding import SECRET

_PLAIN: dict[Any, Any] = {Interval: str}
"""What stands for a type in JSON; records are added as they are made."""


def shape_of(record: type, name: str, meaning: str | None = None) -> type[BaseModel]:
    """Return the shape of a record's JSON: its fields, all of them always there."""
    hints = get_type_hints(record, vars(records))
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
    """Return the shape of a list that is given as a whole."""
    return create_model(name, __base__=RootModel[list[item]], __doc__=meaning)  # type: ignore[valid-type]


def page_of(item: type[BaseModel], name: str) -> type[BaseModel]:
    """Return the shape of a page of a list."""
    cursor = Field(..., description="Give it as `cursor` for the next page; null: this is the last one.")
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
        return Union[inner]  # noqa: UP007 - made at run time
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
CalendarShape = shape_of(Calendar, "Calendar")
SavedViewShape = shape_of(SavedView, "SavedView")
BulkChangeShape = shape_of(BulkChange, "BulkChange")
BulkChangePage = page_of(BulkChangeShape, "BulkChangePage")
PrunedQueueShape = shape_of(
    records.PrunedQueue, "PrunedQueueShape", "How many tasks of a queue were deleted, by the status they had."
)
PrunedShape = shape_of(records.Pruned, "Pruned")
WorkerTroubleShape = shape_of(records.WorkerTrouble, "WorkerTrouble")
HandlerShape = shape_of(records.HandlerInfo, "Handler")
WorkerShape = shape_of(records.WorkerInfo, "Worker")
UnhandledShape = shape_of(records.Unhandled, "UnhandledShape", records.Unhandled.__doc__)
StatusCountShape = shape_of(records.StatusCount, "StatusCount")
StatsShape = shape_of(records.Stats, "Stats")


class MadeShape(TaskShape):  # type: ignore[misc, valid-type]
    """A task that was made, or that had its key before; ``differs``: the given fields that it has otherwise."""

    outcome: str
    differs: list[str]
    warnings: list[str]


class TaskStatusShape(TaskShape):  # type: ignore[misc, valid-type]
    """A task with what surrounds it."""

    schedule: str
    is_running: bool
    running: ExecutionShape | None  # type: ignore[valid-type]
    next_runs: list[datetime]
    last_execution: ExecutionShape | None  # type: ignore[valid-type]
    executions: list[ExecutionShape]  # type: ignore[valid-type]
    missed_ticks: list[MissedTicksShape]  # type: ignore[valid-type]
    alerts: list[AlertShape]  # type: ignore[valid-type]
    awaits: list[str] = Field(description="What ends the wait of a durable task, as event:NAME, child:ID and time.")
    wakes_at: datetime | None = Field(description="When the first timeout or sleep among its waits is over.")
    version: str | None = Field(
        description="As in the `ETag`: another one after each edit, the same whatever workers do; null where payloads "
        "are hidden."
    )


class NodeShape(BaseModel):
    """A task in a tree: the steps of a group, what it waits for, what waits for it."""

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
    """What a schedule will do."""

    schedule: str
    ticks: list[TickShape]


class ChangedShape(BaseModel):
    """What a change to many tasks did, or would do."""

    action: str
    dry_run: bool
    matched: int = Field(description="So many tasks fit the filter, up to the limit.")
    changed: int = Field(description="So many of them it suited, and were changed.")
    ids: list[int] = Field(description="The first 1,000 of those.")
    more: bool = Field(description="There may be more that fit: the limit was reached.")
    next_cursor: str | None = Field(description="Goes on behind these tasks, as cursor; null: nothing more fits.")


class SentShape(BaseModel):
    """The event that was sent."""

    id: int


class AddedShape(BaseModel):
    """The steps that were added to a group."""

    ids: list[int]


class RefusedEditShape(BaseModel):
    """A task whose payload stays as it is."""

    id: int
    reason: str = Field(description="The rule that the new payload breaks.")


class EditedPayloadsShape(BaseModel):
    """What a batch of changes to payloads did, or would do."""

    dry_run: bool
    matched: int = Field(description="So many tasks fit the filter, up to the limit.")
    edited: int = Field(description="So many of them wait, and have another payload now.")
    ids: list[int] = Field(description="The first 1,000 of those.")
    refused: int = Field(description="So many have a payload that the patch would make one that is not allowed.")
    refusals: list[RefusedEditShape] = Field(description="The first 1,000 of those.")
    next_cursor: str | None = Field(description="For the next batch; null: this was the last one.")


class BackfillTickShape(BaseModel):
    """A tick in the range of a backfill."""

    tick: str = Field(json_schema_extra={"format": "date-time"})
    task_id: int | None = Field(description="The task that runs it, or ran it; null in a dry run.")
    outcome: str = Field(
        description="`run`: it is to run; `ran`: it did before; `booked`: the schedule is still to run it by itself.",
        json_schema_extra={"enum": ["run", "ran", "booked"]},
    )


class BackfillShape(BaseModel):
    """What became of the ticks of a range, or would."""

    dry_run: bool
    ticks: list[BackfillTickShape]


class CheckedShape(BaseModel):
    """How one check of the doctor went."""

    check: str
    state: Literal["ok", "found", "unseen"] = Field(
        description="unseen: it could not be looked at; a finding says why."
    )


class FindingShape(BaseModel):
    """Something that is wrong."""

    check: str
    severity: Literal["error", "warning", "hint"]
    object: str = Field(description="What it is about: a queue, a table, a session.")
    problem: str = Field(description="What is wrong, in one line, with the value.")
    advice: str = Field(description="What to do, most often something to paste.")


class DiagnosisShape(BaseModel):
    """Every check that was made, and all that was found, the worst first."""

    healthy: bool = Field(description="There is no error.")
    checks: list[CheckedShape]
    findings: list[FindingShape]


class NumberShape(BaseModel):
    """How many."""

    number: int


class ProblemShape(BaseModel):
    """What went wrong (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str = Field(description="One line that names field, value and rule.")
    field: str | None = Field(None, description="The parameter or field that is wrong.")
    rule: str | None = Field(None, description="What it must be.")
    task_id: int | None = Field(None, description="The task that has the key already.")
    errors: list[dict[str, str]] | None = Field(None, description="Each of several fields that are wrong.")
