"""Frozen records for readers: tasks, executions, log lines, queues and settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

from pgsched.domain.interval import Interval

R = TypeVar("R")


def read(record: type[R], row: Mapping[str, Any]) -> R:
    """Build a record from a row that has a column for each of its fields; times become UTC."""
    values = {f.name: row[f.name] for f in fields(record)}  # type: ignore[arg-type]
    for name, value in values.items():
        if isinstance(value, datetime):
            values[name] = value.astimezone(UTC)
    return record(**values)


def to_json_able(value: Any) -> Any:
    """Return a value of a record as JSON has it: times in ISO 8601 with Z, intervals and worker ids as text."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, Interval):
        return value.to_text()
    if isinstance(value, UUID):
        return str(value)
    if hasattr(value, "as_dict"):
        return value.as_dict()
    if isinstance(value, list):
        return [to_json_able(item) for item in value]
    return value


class Record:
    """What every record can do. Each is a frozen dataclass."""

    __slots__ = ()

    def as_dict(self) -> dict[str, Any]:
        """Return the record as a JSON-able dictionary."""
        return {f.name: to_json_able(getattr(self, f.name)) for f in fields(self)}  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task(Record):
    """A row of ``pgsched.tasks``; the comments of the table's columns describe the fields."""

    id: int
    task_type: str
    task_name: str | None
    queue: str
    priority: int
    payload: dict[str, Any]
    metadata: dict[str, Any]
    tags: list[str]
    tenant_id: str | None
    user_id: str | None
    created_by: str | None
    schedule_type: str
    scheduled_for: datetime | None
    cron_expression: str | None
    timezone: str
    start_date: datetime | None
    end_date: datetime | None
    repeat_interval: Interval | None
    repeat_count: int | None
    execution_count: int
    on_missed: str
    catchup_window: Interval | None
    overlap: str
    jitter: Interval | None
    enabled: bool
    status: str
    next_run_at: datetime | None
    last_run_at: datetime | None
    started_at: datetime | None
    completed_at: datetime | None
    died_at: datetime | None
    attempts: int
    max_attempts: int
    backoff: str
    backoff_delay: Interval
    backoff_max: Interval
    backoff_factor: float | None
    backoff_jitter: float | None
    timeout: Interval | None
    locked_by: UUID | None
    locked_until: datetime | None
    fencing_token: int
    idempotency_key: str | None
    depends_on: list[int]
    dependency_mode: str
    on_dependency_dead: str
    waiting_for: int
    fired: list[int] | None
    concurrency_key: str | None
    parent_id: int | None
    progress: Any
    result: Any
    last_error: str | None
    planned_from: datetime
    created_at: datetime
    updated_at: datetime
    alert_if_no_success_for: Interval | None
    alert_if_running_for: Interval | None
    expires_at: datetime | None
    """The deadline to start; a task that has not started by then is cancelled."""

    @property
    def is_watched(self) -> bool:
        """Whether the worker reports that the task has been silent, or has run long."""
        return self.alert_if_no_success_for is not None or self.alert_if_running_for is not None


DeadTask = Task
"""A task that failed for good; its ``died_at`` is set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution(Record):
    """One attempt: a row of ``pgsched.executions``.

    ``attempt`` is 0 when it does not count: it was lost with the transaction that had locked the task, or snoozed.
    An attempt in progress has the status ``running`` and no end.
    """

    task_id: int
    task_type: str
    queue: str
    attempt: int
    fencing_token: int
    scheduled_for: datetime | None
    worker_id: UUID | None
    status: str
    started_at: datetime
    finished_at: datetime | None
    duration_ms: float | None
    result: Any
    error: str | None
    hostname: str | None
    """The host of the worker; None when it is unknown, or hidden from the reader."""
    pid: int | None
    """The process id on that host."""
    run_by: str | None = None
    """Who ran the task by hand, as a copy (``task_id``) of the task whose history this is; None for a scheduled run."""

    @property
    def is_running(self) -> bool:
        """Whether the attempt is in progress."""
        return self.finished_at is None

    @property
    def who(self) -> str | None:
        """The worker for display: its host and process, else its id."""
        if self.hostname is None:
            return None if self.worker_id is None else f"worker {self.worker_id}"
        return f"{self.hostname} (pid {self.pid})"

    def __post_init__(self) -> None:
        """Return the status ``snoozed`` for rows stored as cancelled and uncounted, as older programs expect them."""
        if self.status == "cancelled" and self.attempt == 0:
            object.__setattr__(self, "status", "snoozed")


@dataclass(frozen=True, slots=True, kw_only=True)
class MissedTicks(Record):
    """Consecutive ticks that were not run: a row of ``pgsched.missed_ticks``."""

    task_id: int
    """The schedule."""
    reason: str
    """``once``, ``skip`` or ``all`` (the on_missed that decided), ``overlap``, ``edit``, ``paused`` or ``skipped``."""
    ticks: int
    """The number of ticks; for cron, 999 or 1000 is a lower bound."""
    first_tick: datetime
    next_tick: datetime | None
    """The tick that was run or scheduled instead; None when the schedule is over or was edited."""
    noted_at: datetime
    """When this was decided."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEntry(Record):
    """A line that a handler logged: a row of ``pgsched.execution_logs``."""

    task_id: int
    fencing_token: int
    attempt: int
    logged_at: datetime
    level: str
    message: str
    fields: dict[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueInfo(Record):
    """A queue, its settings and the number of its tasks; disabled tasks are not counted."""

    name: str
    paused: bool
    """Whether it is paused: nothing is claimed from it."""
    ordering: str
    """``fifo`` or ``lifo``."""
    limits: dict[str, Any]
    """Limits on what may run and start, across all workers; empty when there is no limit."""
    ageing: Interval | None
    """A task gains one priority for each such period that it waits; None when ageing is off."""
    pending: int
    """Waiting tasks, due or not."""
    due: int
    """Waiting tasks that could be claimed now, including those whose lease has expired."""
    running: int
    """Tasks that a worker holds."""
    dead: int
    """Tasks that failed for good."""
    oldest_due_seconds: float | None
    """How long the oldest due task has been waiting, in seconds; None when none is due."""
    estimated: list[str]
    """Which of ``pending``, ``due``, ``running`` and ``dead`` are estimates because there are too many to count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSettings(Record):
    """The settings of a queue; one without settings of its own has the defaults."""

    name: str
    paused: bool
    ordering: str
    limits: dict[str, Any]
    ageing: Interval | None
    events: bool
    retention: Interval | None
    """Completed and cancelled tasks older than this are deleted. None, here and below, uses :class:`Settings`."""
    retention_count: int | None
    """The number of completed and cancelled tasks that are kept."""
    dead_retention: Interval | None
    dead_retention_count: int | None
    archive: bool | None
    """Whether deleted tasks are copied to ``pgsched.archived_tasks``."""
    defaults: dict[str, Any] | None
    """Defaults for columns of its tasks that neither their row nor their handler sets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HandlerInfo(Record):
    """A task type that an application has a handler for, as its workers have registered it."""

    task_type: str
    """``*`` is a handler for the types that no other handler has."""
    defaults: dict[str, Any] | None
    """Defaults for columns of its tasks that the row does not set."""
    payload_schema: dict[str, Any] | None = field(repr=False)
    """The JSON Schema of the payload."""
    result_schema: dict[str, Any] | None = field(repr=False)
    """The JSON Schema of the result; None when it is not declared."""
    description: str | None
    version: str | None
    """The version of the code that last registered it."""
    strict: bool
    """Whether an INSERT with a payload that violates the schema is rejected."""
    durable: bool
    """Whether its runs record their steps and its tasks accept events."""
    registered_at: datetime
    """When the registration last changed."""
    seen_at: datetime
    """When a worker or a deployment last registered it, to the hour."""
    retired_at: datetime | None
    """When a deployment no longer found it in the code."""
    versions: list[dict[str, Any]]
    """The last 20 versions of the code that registered it, the newest last: ``version``, and ``since`` when."""
    workers: int
    """Number of live workers that have the handler."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(Record):
    """Defaults for queues without their own settings, and settings of the history: the row of ``pgsched.settings``."""

    retention: Interval | None
    """Completed and cancelled tasks older than this are deleted. None, here and below, means no limit."""
    retention_count: int | None
    """The number of completed and cancelled tasks that each queue keeps."""
    dead_retention: Interval | None
    dead_retention_count: int | None
    archive: bool
    """Whether deleted tasks are copied to ``pgsched.archived_tasks``."""
    history_retention: Interval | None
    """Days of the history that ended longer ago than this are dropped."""
    unknown_types: str
    """What happens to a task whose type is not registered: ``accept``, ``tell`` or ``refuse``."""


class PrunedQueue(NamedTuple):
    """The number of deleted tasks of a queue."""

    queue: str
    completed: int
    cancelled: int
    dead: int

    def as_dict(self) -> dict[str, Any]:
        """Return the record as a JSON-able dictionary."""
        return self._asdict()


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned(Record):
    """What was deleted, or would be deleted."""

    dry_run: bool
    complete: bool
    """False when the run ran out of time or something could not be deleted now; the next run continues."""
    queues: list[PrunedQueue]
    history: list[str]
    """The days of the history that were dropped, by the names of their partitions."""
    history_bytes: int
    """Their size on disk, in bytes."""
    history_rows: int
    """Rows of the history that belonged to no partition of a day."""
    kept: int
    """Tasks that remain because another object prevents their deletion: a foreign key or a trigger."""
    kept_by: str | None
    """What prevents the deletion of one of them."""
    history_kept: list[str]
    """Days that could not be dropped because a session uses the history or another object depends on them."""
    files: list[str]
    """The files that deleted rows were written to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LockInfo(Record):
    """A lock that is held: a row of ``pgsched.locks``."""

    name: str
    holder: str | None
    """The holder for display: host and process."""
    owner: UUID
    fencing_token: int
    acquired_at: datetime
    locked_until: datetime
    held: bool
    """False once its time has expired, when the next caller can take it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry(Record):
    """A change made through the web: a row of ``pgsched.audit_log``."""

    id: int
    at: datetime
    actor: str
    role: str
    remote: str | None
    action: str
    task_id: int | None
    queue: str | None
    target: str | None
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    task_ids: list[int] | None
    """The tasks of a bulk change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusCount(Record):
    """The number of tasks in one status."""

    status: str
    number: int
    exact: bool
    """False when there are too many to count and the planner's statistics give an estimate."""
