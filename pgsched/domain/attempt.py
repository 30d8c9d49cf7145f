"""The values that pass between the layers: a claimed row, the outcome of an attempt, and what the finish writes."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, NamedTuple

from pgsched.domain.durable import Suspension
from pgsched.domain.interval import Interval
from pgsched.domain.scheduling.recurrence import Schedule, due_at

GROUP = "pgsched.group"
"""The task_type of groups; every worker registers it."""

PRIORITIES = tuple(range(10, 0, -1))
"""Every priority, the one that runs first at the front."""

BACKOFF = "exponential"
BACKOFF_DELAY = Interval(microseconds=5_000_000)
BACKOFF_MAX = Interval(microseconds=3_600_000_000)
"""The retry policy of a row that sets none: the defaults of its columns."""

TIMEZONE, ON_MISSED = "UTC", "once"
"""The same for a schedule."""


class Claimed(NamedTuple):
    """A row as the claim returned it. The fields are in the order of its columns.

    A policy is None where the row uses the default of the column: the values above, FACTOR and JITTER of the backoff,
    ``skip`` for overlap.
    """

    id: int
    task_type: str
    queue: str
    priority: int
    payload: dict[str, Any]
    schedule_type: str
    scheduled_for: datetime | None
    next_run_at: datetime
    late: float
    """Seconds from ``next_run_at`` to the claim, by the database's clock."""
    attempts: int
    max_attempts: int
    fencing_token: int
    timeout: Interval | None
    backoff: str | None
    backoff_delay: Interval | None
    backoff_max: Interval | None
    backoff_factor: float | None
    backoff_jitter: float | None
    cron_expression: str | None
    timezone: str | None
    start_date: datetime | None
    end_date: datetime | None
    repeat_interval: Interval | None
    repeat_count: int | None
    execution_count: int
    on_missed: str | None
    catchup_window: Interval | None
    overlap: str | None
    jitter: Interval | None
    planned_from: datetime | None
    """None for a one-time row."""
    revision: int
    lease_expired: bool
    """Whether the previous attempt was lost: its worker's lease expired."""
    bytes: int
    """Size of the payload in bytes."""
    depends_on: list[int] | None = None
    """The tasks that it depended on; None when there were none."""
    fired: bool = False
    """Whether this is a group whose children were created by an earlier claim and have ended."""
    left_out: list[str] | None = None
    """The dates of the calendars that the cron expression names; None when it names none."""
    cut: bool = False
    """Whether the claim stopped before rows that are due, because they cannot be prefetched or are too large."""
    lockable: bool = False
    """Whether the row is locked instead of leased: its handler may run before the claim writes anything."""
    lock_lost: bool = False
    """Whether a transaction that had locked the row was lost."""
    expires_at: datetime | None = None
    """The deadline to start; None when the task has none or has started before."""
    about: str | None = None
    """Further columns as JSON text (:mod:`pgsched.domain.about`); None when the handler takes no context."""

    @property
    def schedule(self) -> Schedule:
        """The schedule columns of a recurring or repeating row."""
        return Schedule(
            cron_expression=self.cron_expression,
            timezone=self.timezone or TIMEZONE,
            start_date=self.start_date,
            end_date=self.end_date,
            repeat_interval=self.repeat_interval,
            repeat_count=self.repeat_count,
            on_missed=self.on_missed or ON_MISSED,
            catchup_window=self.catchup_window,
            left_out=tuple(self.left_out or ()),
            jitter=self.jitter,
            task_id=self.id,
            planned_from=self.planned_from,
        )

    @property
    def database_time(self) -> datetime:
        """The database's time of the claim."""
        return self.next_run_at + timedelta(seconds=self.late)

    @property
    def due(self) -> datetime:
        """When this tick was due to start; a tick that starts late is caught up. A retry is always late."""
        if self.scheduled_for is None or (self.schedule_type == "one_time" and self.jitter and self.attempts == 1):
            return self.next_run_at
        if self.schedule_type == "one_time" or self.jitter is None:
            return self.scheduled_for
        return due_at(self.schedule, self.scheduled_for)


class Outcome(NamedTuple):
    """The result of one attempt. Times are seconds of the worker's monotonic clock."""

    status: str
    """``completed``, ``failed``, ``timed_out``, ``discarded``, ``snoozed``, ``suspended`` or ``released``."""
    started: float
    finished: float
    result: str | None = None
    """What the handler returned, as JSON text."""
    error: str | None = None
    retry_delay: float | None = None
    """Seconds, when the handler chose the delay itself: by Retry, by Snooze, or by the type of its error."""
    ends: bool = False
    """Whether the handler ended its schedule."""
    warning: str | None = None
    """How the result differs from what the handler returned or annotated."""
    steps: str | None = None
    """Steps that a completed attempt adds to its group, as JSON text."""
    misfit: bool = False
    """Whether the payload did not fit the handler, which was therefore not called."""
    durable_tick: int = 0
    """The number of the tick of a durable run that has recorded something; otherwise 0."""
    suspension: Suspension | None = None
    """What a suspended run waits for."""


class Missed(NamedTuple):
    """Ticks that were not run, and the reason."""

    reason: str
    """``once``, ``skip`` or ``all`` (the ``on_missed`` policy that decided), or ``overlap``; the database writes
    ``edit``, ``paused`` or ``skipped``."""
    ticks: int
    """The number of ticks; a lower bound for a cron expression (COUNT_LIMIT in domain/scheduling/recurrence)."""
    since: datetime
    """The first of these ticks."""
    until: datetime | None
    """The tick that was run or scheduled instead; None when the schedule is over."""


class Finish(NamedTuple):
    """What the finish writes for one claimed row: its next state, and its history row if it has one.

    The fields of the common case come first, so that it can be built by position, which takes a third of the time that
    names take.
    """

    id: int
    fencing_token: int
    next_status: str
    plain: bool = False
    """Whether this is a one-time task that completed, for which only the outcome is written."""
    execution: str | None = None
    """Status of the history row; None writes none. ``snoozed`` is written as ``cancelled``, with attempt 0."""
    tick: datetime | None = None
    """The nominal time that the attempt was for."""
    counted: bool = False
    """Whether the tick is over: ``execution_count`` grows and the attempts start again."""
    attempts: int = 0
    """The attempts of the tick that the row shows afterwards."""
    started: float = 0.0
    finished: float = 0.0
    result: str | None = None
    queue: str = ""
    """For a plain task: whether the database must look up if completed tasks of its type are deleted."""
    error: str | None = None
    next_tick: datetime | None = None
    """The nominal time that the row moves to; None keeps it."""
    retry_in: float | None = None
    """Seconds from now until the row is due again; None when it is due at ``next_tick``."""
    jitter: float = 0.0
    """Seconds added to ``next_tick``."""
    dead_lettered: bool = False
    """Whether the tick died; a dead child row keeps it."""
    spawned: bool = False
    """Whether the tick is run by a child that is due now instead of the row itself (``overlap`` = allow)."""
    missed: tuple[Missed, ...] = ()
    revision: int = 0
    ends: bool = False
    """Whether the handler ended its schedule; edits made in the meantime schedule no further tick."""
    steps: str | None = None
    """The steps that it adds to its group, as JSON text."""
    durable_tick: int = 0
    """As in the outcome."""
    suspension: Suspension | None = None
    """Whether the run is suspended, which does not end the attempt."""


class LogLine(NamedTuple):
    """One line that a handler logged; ``at`` is a time of the worker's monotonic clock, in seconds."""

    at: float
    level: str
    message: str
    fields: str | None
    """JSON text of an object."""
