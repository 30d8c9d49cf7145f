"""The attempt as its handler sees it, and what the handler may report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from datetime import datetime, timedelta
from typing import Any, Literal

from pgsched.domain.about import About, read_about
from pgsched.domain.attempt import Claimed, LogLine
from pgsched.domain.dependency_results import Results
from pgsched.domain.errors import NotTransactional
from pgsched.domain.storable import storable, storable_json
from pgsched.domain.workflow import Named, more_steps
from pgsched.execution.state import NOWHERE, State

MAX_LOG_LINES = 1000
"""Maximum number of log lines kept per attempt; one more says that others were dropped."""
MAX_LOG_CHARACTERS = 8192
"""Maximum length of a log line."""


class Context:
    """The current attempt, passed to handlers that have a parameter annotated ``Context`` (or named ``ctx``)."""

    __slots__ = (
        "_about",
        "_clock",
        "_connection",
        "_dependencies",
        "_lines",
        "_logged",
        "_now",
        "_progress",
        "_state",
        "_task",
        "_trace",
        "added_steps",
        "cancelled",
        "deadline_monotonic",
        "is_catchup",
    )

    def __init__(
        self,
        *,
        task: Claimed,
        clock: Callable[[], float],
        now: Callable[[], datetime],
        deadline: float | None,
        is_catchup: bool,
    ) -> None:
        self._task = task
        self._clock = clock
        self._now = now
        self._lines: list[LogLine] = []
        self._logged = 0
        self._progress: str | None = None
        self.added_steps: list[dict[str, Any]] | None = None
        """What :meth:`add_steps` was given (read by the worker)."""
        self.deadline_monotonic = deadline
        """The deadline on the clock of ``time.monotonic()``, in seconds; None without a timeout."""
        self.is_catchup = is_catchup
        """This attempt starts over ten seconds after its tick: no worker ran then, or an earlier attempt failed."""
        self.cancelled = False
        """Set at the deadline, when the task is cancelled, and when the lease is lost. A plain function cannot be
        interrupted: it may check this and stop."""

    @property
    def id(self) -> int:
        """The task's id."""
        return self._task.id

    @property
    def task_type(self) -> str:
        """The task's type, under which the handler is registered."""
        return self._task.task_type

    @property
    def name(self) -> str | None:
        """The task's name."""
        return self._row.name

    @property
    def tags(self) -> tuple[str, ...]:
        """The task's tags."""
        return self._row.tags

    @property
    def metadata(self) -> dict[str, Any]:
        """The task's metadata, as it was at the claim; a copy."""
        return deepcopy(self._row.metadata)

    @property
    def tenant_id(self) -> str | None:
        """Whose the task is, as an organisation."""
        return self._row.tenant_id

    @property
    def user_id(self) -> str | None:
        """Whose the task is, as a person."""
        return self._row.user_id

    @property
    def created_by(self) -> str | None:
        """Who or what made the task; of a run by hand whoever asked for it."""
        return self._row.created_by

    @property
    def key(self) -> str | None:
        """The task's idempotency key."""
        return self._row.key

    @property
    def parent_id(self) -> int | None:
        """The task that this one is a step, a tick, a copy or a child of."""
        return self._row.parent_id

    @property
    def trigger(self) -> Literal["schedule", "manual", "retry"]:
        """Why this attempt is made: ``schedule``, because its time has come; ``manual``, because somebody ran the task
        by hand (``run_by``); ``retry``, because an attempt before it has failed or was lost."""
        if self.attempt > 1 or self._row.failed_before:
            return "retry"
        return "manual" if self._row.is_manual else "schedule"

    @property
    def run_by(self) -> str | None:
        """Who asked for this run, by ``run_now`` of a schedule or of a task that was over; None for any other."""
        return self._row.created_by if self._row.is_manual else None

    @property
    def _row(self) -> About:
        about: About | None = getattr(self, "_about", None)
        if about is None:
            about = self._about = read_about(self._task.about)
        return about

    @property
    def queue(self) -> str:
        """The task's queue."""
        return self._task.queue

    @property
    def attempt(self) -> int:
        """The number of this attempt at the current tick, from 1."""
        return self._task.attempts

    @property
    def max_attempts(self) -> int:
        """The maximum number of attempts at a tick."""
        return self._task.max_attempts

    @property
    def tick_number(self) -> int:
        """The number of this tick among those that the schedule has run, from 1; the same in every attempt at it.

        1 for a one-time task.
        """
        return self._task.execution_count + 1

    @property
    def scheduled_for(self) -> datetime:
        """The tick: the nominal time of this run, in UTC."""
        return self._task.scheduled_for or self._task.next_run_at

    @property
    def fencing_token(self) -> int:
        """Increases with every claim of the task: pass it to systems that can reject older ones."""
        return self._task.fencing_token

    @property
    def remaining(self) -> float | None:
        """Seconds until the timeout, never negative; None without a timeout."""
        if self.deadline_monotonic is None:
            return None
        return max(0.0, self.deadline_monotonic - self._clock())

    @property
    def deadline(self) -> datetime | None:
        """When the timeout expires, by the database's clock; None without a timeout."""
        remaining = self.remaining
        return None if remaining is None else self._now() + timedelta(seconds=remaining)

    @property
    def connection(self) -> Any:
        """The connection of a transactional handler, in the transaction that is committed with the task's outcome.

        A psycopg ``AsyncConnection`` for an ``async`` handler, a ``Connection`` for a plain one. Raises
        NotTransactional in any other handler.
        """
        connection = getattr(self, "_connection", None)  # set by equip() only
        if connection is None:
            raise NotTransactional(
                f"handler {self.task_type!r} is not transactional: ctx.connection is for those registered with "
                "transactional=True"
            )
        return connection

    @property
    def dependencies(self) -> Results:
        """The results of the tasks that this one depends on, by id and by ``task_name``; read-only."""
        return getattr(self, "_dependencies", None) or Results()

    @property
    def state(self) -> State:
        """What the lifespans of the application have opened: ``ctx.state["http"]``, ``ctx.state.get(HttpClient)``."""
        return getattr(self, "_state", None) or State(NOWHERE)  # set by share() only

    def share(self, state: State) -> None:
        """Set what all handlers share (called by the worker)."""
        self._state = state

    def equip(self, connection: object, dependencies: Results | None) -> None:
        """Set what only some handlers need (called by the worker)."""
        self._connection = connection
        self._dependencies = dependencies

    def carry(self, trace: Mapping[str, str]) -> None:
        """Set the trace that the attempt belongs to, for a child process (called by the worker)."""
        self._trace = trace

    def log(self, message: str, level: str = "info", **fields: Any) -> None:
        """Keep a line with the attempt's history (``pgsched.execution_logs``).

        Lines are truncated at 8,192 characters, and an attempt keeps 1,000 of them. A field that is not JSON is kept
        as text.
        """
        self.log_fields(message, level, fields)

    def log_fields(self, message: str, level: str, fields: Mapping[str, Any]) -> None:
        """As :meth:`log`, for fields whose names are not identifiers."""
        if self._logged < MAX_LOG_LINES:
            text = storable(str(message), MAX_LOG_CHARACTERS)
            shown = storable_json(fields, MAX_LOG_CHARACTERS) if fields else None
            self._lines.append(LogLine(self._clock(), storable(str(level), 100), text, shown))
        elif self._logged == MAX_LOG_LINES:
            self._lines.append(LogLine(self._clock(), "warning", "further lines were dropped", None))
        self._logged += 1

    def progress(self, value: Any) -> None:
        """Report progress: any JSON value, written to the task's ``progress`` within a second."""
        self._progress = storable_json(value, MAX_LOG_CHARACTERS)

    def add_steps(self, *parts: Named | Mapping[str, Any]) -> None:
        """Add steps to the group that this task is a step of; they come with the completion of this attempt.

        ``parts`` are as of :func:`pgsched.flow.group`, or one plan as an object: steps, chains, task types. They run in
        the order that they have among themselves, after this step; ``after`` may name steps that are there. The group
        waits for them, too. Of an attempt that is not completed nothing comes, so each is there once. Raises
        InvalidTask. What only the database knows, that a name is taken or that this is no step of a group, ends the
        attempt: the task is dead with the reason.
        """
        steps = more_steps(parts)
        more_steps([{"steps": [*(self.added_steps or ()), *steps]}])  # two calls may give one name
        self.added_steps = [*(self.added_steps or ()), *steps]

    def facts(self) -> dict[str, Any]:
        """Return what a child process needs to build its context, as JSON values (called by the worker)."""
        task = self._task
        same = ("id", "task_type", "queue", "attempts", "max_attempts", "fencing_token", "execution_count", "about")
        return {
            **{name: getattr(task, name) for name in same},
            "scheduled_for": task.scheduled_for and task.scheduled_for.isoformat(),
            "next_run_at": task.next_run_at.isoformat(),
            "at": self._clock(),
            "now": self._now().isoformat(),
            "dependencies": self.dependencies.tasks(),
            "trace": getattr(self, "_trace", None),  # set by carry() only
        }

    def add_report(self, progress: str | None, lines: list[LogLine]) -> None:
        """Add what the handler reported in a child process (called by the worker)."""
        if progress is not None:
            self._progress = progress
        self._lines.extend(lines)

    @property
    def reported(self) -> int:
        """Size in characters of the log lines and progress not written yet (read by the worker)."""
        lines = self._lines
        return len(self._progress or "") + sum(len(line.message) + len(line.fields or "") for line in lines)

    def take_report(self) -> tuple[str | None, list[LogLine]]:
        """Return the progress, as JSON text, and the log lines since the last call (called by the worker)."""
        progress, self._progress = self._progress, None
        lines = self._lines[:]
        del self._lines[: len(lines)]  # a thread may be appending concurrently
        return progress, lines

    def give_back(self, progress: str | None, lines: list[LogLine]) -> None:
        """Keep a report that could not be written (called by the worker)."""
        if self._progress is None:
            self._progress = progress
        self._lines[:0] = lines
