"""What is read back: frozen records of tasks, executions, log lines, queues and workers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

from pgsched.domain.interval import Interval
from pgsched.domain.queue_selector import fits_like

R = TypeVar("R")


def read(record: type[R], row: Mapping[str, Any]) -> R:
    """Make a record of a row that has a column for each of its fields; times become UTC."""
    values = {f.name: row[f.name] for f in fields(record)}  # type: ignore[arg-type]
    for name, value in values.items():
        if isinstance(value, datetime):
            values[name] = value.astimezone(UTC)
    return record(**values)


def to_json_able(value: Any) -> Any:
    """A value of a record as JSON has it: times in ISO 8601 with Z, intervals and ids of workers as text."""
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
    """What every record can do, each a frozen dataclass."""

    __slots__ = ()

    def as_dict(self) -> dict[str, Any]:
        """Return the record as a JSON-able dictionary."""
        return {f.name: to_json_able(getattr(self, f.name)) for f in fields(self)}  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task(Record):
    """A row of ``pgsched.tasks``; what each field means is on the table's columns."""

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
    """A task that has not started by then is cancelled instead."""

    @property
    def is_watched(self) -> bool:
        """Whether silence of it, or a long run, is to be told of."""
        return self.alert_if_no_success_for is not None or self.alert_if_running_for is not None


DeadTask = Task
"""A task that failed for good; its ``died_at`` is set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution(Record):
    """One attempt: a row of ``pgsched.executions``.

    Its ``attempt`` is 0 when it is not counted: it was lost with the transaction that had locked the task, or snoozed.
    One that is under way has the status ``running`` and no end.
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
    """The machine of the worker, which may be gone; None where nobody knows, or whoever asks may not."""
    pid: int | None
    """The process on it."""
    run_by: str | None = None
    """Who ran the task by hand, as a copy (``task_id``) of the one whose history this is; None: its time had come."""

    @property
    def is_running(self) -> bool:
        """Whether it is under way."""
        return self.finished_at is None

    @property
    def who(self) -> str | None:
        """The worker, for people: its machine and process, else its id."""
        if self.hostname is None:
            return None if self.worker_id is None else f"worker {self.worker_id}"
        return f"{self.hostname} (pid {self.pid})"

    def __post_init__(self) -> None:
        """Say what the table has as cancelled and not counted: programs of before it do not know the word."""
        if self.status == "cancelled" and self.attempt == 0:
            object.__setattr__(self, "status", "snoozed")


@dataclass(frozen=True, slots=True, kw_only=True)
class MissedTicks(Record):
    """Ticks in a row that were not run: a row of ``pgsched.missed_ticks``."""

    task_id: int
    """The schedule."""
    reason: str
    """``once``, ``skip``, ``all`` (the on_missed that decided it), ``overlap``, ``edit``, ``paused`` or ``skipped``."""
    ticks: int
    """How many; for cron 999 or 1000 means at least so many."""
    first_tick: datetime
    next_tick: datetime | None
    """The tick that was run or booked instead; None: the schedule is over, or was edited."""
    noted_at: datetime
    """When it was decided."""


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
    """A queue, its settings and how much is in it; disabled tasks are not counted."""

    name: str
    paused: bool
    """Nothing is claimed from it."""
    ordering: str
    """``fifo`` or ``lifo``."""
    limits: dict[str, Any]
    """What may run and start, over all workers; empty: as much as the workers take."""
    ageing: Interval | None
    """A task that has waited so long counts as one priority higher; None: off."""
    pending: int
    """Tasks that wait, due or not."""
    due: int
    """Those of them that could be claimed now; a task whose lease ran out counts too."""
    running: int
    """Tasks that a worker holds."""
    dead: int
    """Tasks that failed for good."""
    oldest_due_seconds: float | None
    """How long the oldest due task has been waiting; None when none is due."""
    estimated: list[str]
    """Which of ``pending``, ``due``, ``running`` and ``dead`` are estimates, as there are too many to count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSettings(Record):
    """What a queue is told to do; one that was told nothing has the defaults."""

    name: str
    paused: bool
    ordering: str
    limits: dict[str, Any]
    ageing: Interval | None
    events: bool
    retention: Interval | None
    """Completed and cancelled tasks older than this are deleted. None here and below: as :class:`Settings` say."""
    retention_count: int | None
    """So many completed and cancelled ones are kept."""
    dead_retention: Interval | None
    dead_retention_count: int | None
    archive: bool | None
    """What is deleted is copied to ``pgsched.archived_tasks``."""
    defaults: dict[str, Any] | None
    """The columns that its tasks have unless their row or their handler says otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HandlerInfo(Record):
    """A type that an application has a handler for, as its workers have registered it."""

    task_type: str
    """``*``: a handler for the types that no other has."""
    defaults: dict[str, Any] | None
    """The columns that its tasks have unless the row says otherwise."""
    payload_schema: dict[str, Any] | None = field(repr=False)
    """The JSON Schema of the payload."""
    result_schema: dict[str, Any] | None = field(repr=False)
    """The JSON Schema of the result; None: not told."""
    description: str | None
    version: str | None
    """The version of the code that registered it last."""
    strict: bool
    """An INSERT whose payload does not fit is refused."""
    durable: bool
    """Its runs record their steps, and its tasks take events."""
    registered_at: datetime
    """When what is registered last changed."""
    seen_at: datetime
    """When a worker or a deployment last registered it, to the hour."""
    retired_at: datetime | None
    """When a deployment found it no longer in the code."""
    versions: list[dict[str, Any]]
    """The last 20 versions of the code that registered it, the newest last: ``version``, and ``since`` when."""
    workers: int
    """Live workers that have the handler."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(Record):
    """What holds for queues that say nothing else, and for the history: the row of ``pgsched.settings``."""

    retention: Interval | None
    """Completed and cancelled tasks older than this are deleted. None here and below: none are."""
    retention_count: int | None
    """Of completed and cancelled ones each queue keeps so many."""
    dead_retention: Interval | None
    dead_retention_count: int | None
    archive: bool
    """What is deleted is copied to ``pgsched.archived_tasks``."""
    history_retention: Interval | None
    """Days of the history that ended longer ago are dropped."""
    unknown_types: str
    """What becomes of a task of a type that is not registered: ``accept``, ``tell`` or ``refuse``."""


class PrunedQueue(NamedTuple):
    """How many tasks of a queue were deleted."""

    queue: str
    completed: int
    cancelled: int
    dead: int

    def as_dict(self) -> dict[str, Any]:
        """Return the record as a JSON-able dictionary."""
        return self._asdict()


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned(Record):
    """What was deleted, or would be."""

    dry_run: bool
    complete: bool
    """False: its time was over, or something could not be deleted now; the next run goes on."""
    queues: list[PrunedQueue]
    history: list[str]
    """The days of the history that were dropped, as the names of their partitions."""
    history_bytes: int
    """What they took on the disk."""
    history_rows: int
    """Rows of the history that were in no partition of a day."""
    kept: int
    """Tasks that stay because something of yours keeps them: a foreign key, a trigger."""
    kept_by: str | None
    """What keeps one of them."""
    history_kept: list[str]
    """Days that could not be dropped: somebody works with the history, or something of yours depends on them."""
    files: list[str]
    """The files that deleted rows were written to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerTrouble(Record):
    """Something that is wrong in a worker process, as its last heartbeat told it."""

    kind: str
    """The doctor's check of the same name says what to do about it."""
    object: str
    """What it is about: a loop, a task type; empty: the worker as a whole."""
    since: datetime
    stops: bool
    """It keeps the worker from its work."""
    detail: str
    """One line, with the figures."""


def read_troubles(told: list[dict[str, Any]]) -> list[WorkerTrouble]:
    """Make records of a worker's troubles. What a newer program tells of them beside that is left out."""
    return [read(WorkerTrouble, one | {"since": datetime.fromisoformat(one["since"])}) for one in told]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerInfo(Record):
    """A worker process: a row of ``pgsched.workers``."""

    id: UUID
    hostname: str
    pid: int
    queues: list[str]
    patterns: list[str]
    """It serves the queues that match one of these patterns of LIKE, too."""
    task_types: list[str]
    concurrency: int
    running: int
    """Slots that are occupied, also by what has overstayed its timeout and cannot be stopped."""
    started_at: datetime
    heartbeat_at: datetime
    lease: Interval
    sleeping_until: datetime | None
    alive: bool
    """It has been heard of within the last three leases."""
    troubles: list[WorkerTrouble]
    """What is wrong in it, the worst first; empty for programs that do not tell."""

    def serves(self, queue: str) -> bool:
        """Return whether it claims from a queue: by name, or by a pattern."""
        return queue in self.queues or any(fits_like(queue, pattern) for pattern in self.patterns)


@dataclass(frozen=True, slots=True, kw_only=True)
class LockInfo(Record):
    """A lock that was not given back: a row of ``pgsched.locks``."""

    name: str
    holder: str | None
    """Who has it, for people: host and process."""
    owner: UUID
    fencing_token: int
    acquired_at: datetime
    locked_until: datetime
    held: bool
    """False: its time is over, and whoever comes next gets it."""


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
    """The tasks of a change to many."""


class Unhandled(NamedTuple):
    """Due tasks of a type that no live worker of their queue has a handler for."""

    queue: str
    task_type: str
    due: int

    def as_dict(self) -> dict[str, Any]:
        """Return the record as a JSON-able dictionary."""
        return self._asdict()


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusCount(Record):
    """How many tasks are in one status."""

    status: str
    number: int
    exact: bool
    """False: there are too many to count, and the number is estimated from the planner's statistics."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats(Record):
    """Every queue, every worker, and what is due without anybody to run it."""

    statuses: list[StatusCount]
    queues: list[QueueInfo]
    workers: list[WorkerInfo]
    unhandled: list[Unhandled]
