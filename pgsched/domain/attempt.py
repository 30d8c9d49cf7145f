"""The values that pass between the layers: a claimed row, the outcome of an attempt, what is written of it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, NamedTuple

from pgsched.domain.durable import Suspension
from pgsched.domain.interval import Interval
from pgsched.domain.scheduling.recurrence import Schedule, due_at

GROUP = "pgsched.group"
"""The task_type of groups: every worker knows it."""

PRIORITIES = tuple(range(10, 0, -1))
"""Every priority, the one that runs first in front."""

BACKOFF = "exponential"
BACKOFF_DELAY = Interval(microseconds=5_000_000)
BACKOFF_MAX = Interval(microseconds=3_600_000_000)
"""The retry policy of a row that names none: the defaults of its columns."""

TIMEZONE, ON_MISSED = "UTC", "once"
"""The same for a schedule."""


class Claimed(NamedTuple):
    """A row as the claim returned it. The order of the fields is the order of its columns.

    A policy is None for the default of its column: those above, FACTOR and JITTER of the backoff, ``skip`` of overlap.
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
    """The attempt before this one was lost: its worker's lease ran out."""
    bytes: int
    """Size of the payload."""
    depends_on: list[int] | None = None
    """The tasks it waited for; None when there were none."""
    fired: bool = False
    """A group whose children were made by an earlier claim, and have ended."""
    left_out: list[str] | None = None
    """The days of the calendars that the cron expression names; None when it names none."""
    cut: bool = False
    """The claim ended before rows that are due: they are not held in advance, or too large."""
    lockable: bool = False
    """It is locked, not leased: its handler may run before anything of the claim is written."""
    lock_lost: bool = False
    """A transaction that had locked it was lost."""
    expires_at: datetime | None = None
    """By when it must start; None also for one that has started before."""
    about: str | None = None
    """What else the row says, as JSON text (:mod:`pgsched.domain.about`); None where its handler takes no context."""

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
        """The database's time of its claim."""
        return self.next_run_at + timedelta(seconds=self.late)

    @property
    def due(self) -> datetime:
        """When the start of its tick was due: a late one is caught up. A retry is late."""
        if self.scheduled_for is None or (self.schedule_type == "one_time" and self.jitter and self.attempts == 1):
            return self.next_run_at
        if self.schedule_type == "one_time" or self.jitter is None:
            return self.scheduled_for
        return due_at(self.schedule, self.scheduled_for)


class Outcome(NamedTuple):
    """How one attempt went. Times are seconds of the worker's monotonic clock."""

    status: str
    """``completed``, ``failed``, ``timed_out``, ``discarded``, ``snoozed``, ``suspended`` or ``released``."""
    started: float
    finished: float
    result: str | None = None
    """What the handler returned, as JSON text."""
    error: str | None = None
    retry_delay: float | None = None
    """Seconds, when the handler chose them itself, by Retry or Snooze, or by the type of its error."""
    ends: bool = False
    """The handler ended its schedule."""
    warning: str | None = None
    """How the result is not what the handler returned, or annotated."""
    steps: str | None = None
    """Of a completed one: the steps that it adds to its group, as JSON text."""
    misfit: bool = False
    """The payload does not fit the handler, which was not called."""
    durable_tick: int = 0
    """Of a durable run that has recorded something: the number of its tick; else 0."""
    suspension: Suspension | None = None
    """Of a suspended one: what it waits for."""


class Missed(NamedTuple):
    """Ticks that were not run, and why."""

    reason: str
    """``once``, ``skip`` or ``all`` (the ``on_missed`` that decided it), ``overlap``; by the database
    ``edit``, ``paused`` or ``skipped``."""
    ticks: int
    """How many; of a cron expression's at least so many (see ``pgsched.domain.scheduling.recurrence.COUNT_LIMIT``)."""
    since: datetime
    """The first of them."""
    until: datetime | None
    """The tick that was run or booked instead; None when the schedule is over."""


class Finish(NamedTuple):
    """What the finish writes for one claimed row: its next state, and the history row if there is one.

    What the common end needs comes first: it is made by position, a third of the time that names take.
    """

    id: int
    fencing_token: int
    next_status: str
    plain: bool = False
    """A one-time task that went well: nothing but the outcome is written."""
    execution: str | None = None
    """Status of the history row; None writes none. ``snoozed`` is written as ``cancelled``, with 0 for the attempt."""
    tick: datetime | None = None
    """The nominal time the attempt was for."""
    counted: bool = False
    """The tick is over: ``execution_count`` grows and the attempts start again."""
    attempts: int = 0
    """Attempts of the tick that the row then shows."""
    started: float = 0.0
    finished: float = 0.0
    result: str | None = None
    queue: str = ""
    """Of a plain one: the database asks whether its tasks leave when they are completed."""
    error: str | None = None
    next_tick: datetime | None = None
    """The nominal time the row is moved to; None keeps it."""
    retry_in: float | None = None
    """Seconds from now until it is due again; None: due at ``next_tick``."""
    jitter: float = 0.0
    """Seconds added to ``next_tick``."""
    dead_lettered: bool = False
    """The tick died: a dead child keeps it."""
    spawned: bool = False
    """The tick is not run by the row itself but by a child that is due now (``overlap`` = allow)."""
    missed: tuple[Missed, ...] = ()
    revision: int = 0
    ends: bool = False
    """The handler ended its schedule: nothing that was edited meanwhile is booked."""
    steps: str | None = None
    """What it adds to its group, as JSON text."""
    durable_tick: int = 0
    """As of the outcome."""
    suspension: Suspension | None = None
    """The run is suspended, which is no end of an attempt."""


class LogLine(NamedTuple):
    """One line that a handler logged; ``at`` is the worker's monotonic clock, in seconds."""

    at: float
    level: str
    message: str
    fields: str | None
    """JSON text of an object."""
