"""The status of a task: its schedule in words, its recent runs and its next ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate
from typing import Any

from pgsched.domain.errors import InvalidTask
from pgsched.domain.planned_schedule import PlannedSchedule
from pgsched.domain.records import Execution, MissedTicks, Task, to_json_able
from pgsched.domain.scheduling.preview import explain, next_from
from pgsched.domain.scheduling.recurrence import Schedule, admit, book, first_tick
from pgsched.domain.silence import Alert
from pgsched.domain.task_spec import FOLLOWS

NEXT_RUNS = 5
"""Maximum number of coming runs that are listed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskStatus:
    """A task with its surroundings."""

    task: Task
    schedule: str
    """The schedule in words, or why its ticks cannot be computed."""
    is_running: bool
    next_runs: list[datetime]
    """The coming ticks, in UTC; empty while it is paused or when it is over."""
    executions: list[Execution]
    """The attempt in progress, then recent attempts, the latest first."""
    missed: list[MissedTicks]
    """Ticks that were not run, the latest first."""
    alerts: list[Alert]
    """The limits of ``alert_if_no_success_for`` and ``alert_if_running_for`` that are exceeded."""
    awaits: list[str]
    """What ends the wait of a blocked durable task, as ``event:NAME`` and ``child:ID``."""
    wakes_at: datetime | None
    """When the first timeout or sleep among its waits expires; None when there is none."""
    version: str
    """Changes with each edit, but not with what workers do with the task."""

    @property
    def last_execution(self) -> Execution | None:
        """The latest attempt that has ended; None when there was none."""
        return next((one for one in self.executions if not one.is_running), None)

    @property
    def running(self) -> Execution | None:
        """The attempt in progress: its worker, and since when. A copy that somebody runs by hand does not count."""
        own = self.task.id
        return next(
            (one for one in self.executions if one.is_running and (one.run_by is None or one.task_id == own)), None
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the task as a JSON-able dictionary, with its status beside the columns."""
        return self.task.as_dict() | {
            "schedule": self.schedule,
            "is_running": self.is_running,
            "running": to_json_able(self.running),
            "next_runs": to_json_able(self.next_runs),
            "last_execution": to_json_able(self.last_execution),
            "executions": to_json_able(self.executions),
            "missed_ticks": to_json_able(self.missed),
            "alerts": to_json_able(self.alerts),
            "awaits": self.awaits,
            "wakes_at": to_json_able(self.wakes_at),
            "version": self.version,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Stand:
    """State of a task that its row does not contain."""

    now: datetime
    """The time by the database's clock."""
    ticks_running: bool = False
    """Whether a child runs one of its ticks."""
    left_out: list[str] | None = None
    """The dates of its calendars."""
    awaits: list[str] | None = None
    """What a durable task waits for."""
    wakes_at: datetime | None = None
    version: str = ""
    """The value that edits compare."""

    def status_of(
        self, task: Task, executions: list[Execution], missed: list[MissedTicks], alerts: list[Alert]
    ) -> TaskStatus:
        """Return the current status of the task."""
        return status_of(
            task,
            executions,
            missed,
            alerts,
            self.left_out or (),
            now=self.now,
            ticks_running=self.ticks_running,
            awaits=self.awaits or (),
            wakes_at=self.wakes_at,
            version=self.version,
        )


def latest(executions: Sequence[Execution], number: int) -> list[Execution]:
    """Return the attempt in progress and this many of the others."""
    of_rank = accumulate(not one.is_running for one in executions)
    return [one for one, rank in zip(executions, of_rank, strict=True) if one.is_running or rank <= number]


def status_of(
    task: Task,
    executions: list[Execution],
    missed: list[MissedTicks],
    alerts: list[Alert],
    left_out: Sequence[str] = (),
    *,
    now: datetime,
    ticks_running: bool = False,
    awaits: Sequence[str] = (),
    wakes_at: datetime | None = None,
    version: str = "",
) -> TaskStatus:
    """Return the status of a task at ``now``, by the database's clock.

    ``left_out`` are the dates of its calendars; ``ticks_running`` says that a child runs one of its ticks. ``awaits``
    and ``wakes_at`` describe the wait of a durable task; edits compare ``version``.
    """
    schedule = planned_as(task, left_out)
    try:
        words = explain(schedule) if task.dependency_mode != FOLLOWS else _follows(task)
        coming = _next_runs(task, schedule, now)
    except InvalidTask as error:
        words, coming = str(error), []
    return TaskStatus(
        task=task,
        schedule=words,
        is_running=task.status == "running" or ticks_running,
        next_runs=coming,
        executions=executions,
        missed=missed,
        alerts=alerts,
        awaits=list(awaits),
        wakes_at=wakes_at,
        version=version,
    )


def planned_as(task: Task | PlannedSchedule, left_out: Sequence[str] = ()) -> Schedule:
    """Return the columns from which its ticks are computed; ``left_out`` are the dates of its calendars."""
    return Schedule(
        cron_expression=task.cron_expression,
        timezone=task.timezone,
        start_date=task.start_date,
        end_date=task.end_date,
        repeat_interval=task.repeat_interval,
        repeat_count=task.repeat_count,
        on_missed=task.on_missed,
        catchup_window=task.catchup_window,
        jitter=task.jitter,
        task_id=task.id,
        planned_from=task.planned_from,
        left_out=tuple(left_out),
    )


def _follows(task: Task) -> str:
    return f"after each completed tick of task {task.depends_on[0]}"


def _next_runs(task: Task, schedule: Schedule, now: datetime) -> list[datetime]:
    if task.schedule_type == "one_time":
        runs = task.enabled and task.status == "pending" and task.next_run_at is not None
        return [task.next_run_at] if runs and task.next_run_at is not None else []
    tick, done = coming_tick(task, schedule, now)
    return [] if tick is None else next_from(schedule, tick=tick, anchor=now, done=done, n=NEXT_RUNS)


def coming_tick(task: Task | PlannedSchedule, schedule: Schedule, now: datetime) -> tuple[datetime | None, int]:
    """Return the next tick that a schedule will run, and how many are over by then; None when it will run none.

    Raises InvalidTask for a schedule whose ticks cannot be computed.
    """
    if not task.enabled or task.status not in ("pending", "running"):
        return None, task.execution_count
    tick, done = task.scheduled_for or first_tick(schedule, task.planned_from), task.execution_count
    claimed = now if task.status == "pending" else task.started_at or now
    if (
        tick is not None
        and task.next_run_at is not None
        and task.next_run_at <= claimed
        and task.attempts == (task.status == "running")
    ):
        # The same decision as a worker's. A retry runs whatever has passed.
        admission = admit(schedule, tick, task.next_run_at, claimed, done)
        tick = admission.next_tick if admission.run is None else admission.run
    if tick is not None and task.status == "running":
        done += 1
        tick = book(schedule, tick, claimed, now, done).next_tick
    return tick, done
