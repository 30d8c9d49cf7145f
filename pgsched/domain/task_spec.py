"""A task before it is a row: the options of ``schedule``, by the rules of the table."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final, Protocol, TypedDict

from pgsched.domain.errors import Described, InvalidTask
from pgsched.domain.validation import RULES, Duration, checked, refused


class StepOptions(TypedDict, total=False):
    """The options that a step of a group also accepts."""

    queue: str
    """Workers serve queues by name; ``default``."""
    priority: int
    """1 to 10, 10 runs first; 5."""
    max_attempts: int
    """Maximum attempts of a tick before it is dead: 1 to 1000; 3."""
    backoff: str
    """How the delay of retries grows: ``exponential`` (the default), ``linear`` or ``fixed``."""
    backoff_delay: Duration
    """The delay of the first retry; 5 seconds."""
    backoff_max: Duration
    """The maximum delay of a retry; an hour, or ``backoff_delay`` where that is longer."""
    backoff_factor: float
    """The factor by which an exponential delay grows from retry to retry: 1 to 1000; 2."""
    backoff_jitter: float
    """How far retries are spread around their delay, as a share of it: 0 (not at all) to 1; 0.2."""
    timeout: Duration
    """The maximum duration of one attempt; unlimited when left out."""
    on_dependency_dead: str
    """What happens when a dependency is dead or cancelled: ``cancel`` (the default), ``run`` or ``wait``."""
    dependency_mode: str
    """Whether it waits for ``all`` its dependencies (the default) or ``any``; or ``each``: it follows one
    schedule, stays in the table, and a child of it runs after each completed tick."""
    concurrency_key: str
    """The key for the queue's per-key limits; up to 200 characters."""
    tags: Sequence[str]
    """Labels to filter by, at most 100."""
    metadata: Mapping[str, Any]
    """A JSON object for people and programs, at most 1 MiB; handlers do not receive it as arguments."""


class TaskOptions(StepOptions, total=False):
    """The options of ``schedule``; the table supplies the default of each that is left out."""

    at: datetime
    """Once, at this instant, which must have a time zone."""
    delay: Duration
    """Once, after this delay by the database's clock."""
    cron: str
    """Recurring: five fields, six with seconds first, or an alias (``@daily``), with options (``days=both``)."""
    every: Duration
    """Repeating: the interval from tick to tick, at least a millisecond."""
    times: int
    """With ``every``: the number of ticks; unlimited when left out."""
    timezone: str
    """The IANA time zone of the schedule; UTC."""
    start: datetime
    """No tick before this instant, from which an interval is counted. It must have a time zone."""
    end: datetime
    """No tick after this instant. It must have a time zone."""
    idempotency_key: str
    """No two tasks share a key: scheduling with a used one returns the task that has it. Up to 500 characters."""
    name: str
    """A label for people, and the name of the result for tasks that depend on this one."""
    tenant_id: str
    """The organisation that owns it; for people and filters."""
    user_id: str
    """The person who owns it; for people and filters."""
    created_by: str
    """The person or program that created it; for people and filters."""
    on_missed: str
    """Ticks that passed while nothing ran: ``once`` (the default), ``skip`` or ``all``."""
    catchup_window: Duration
    """Missed ticks older than this are not run."""
    overlap: str
    """What happens to a tick that comes while the previous one runs: ``skip`` (the default) or ``allow``."""
    jitter: Duration
    """Each tick is delayed by a random part of this, at most a day."""
    enabled: bool
    """False: paused."""
    parent_id: int
    """The task that this one is a child of."""
    depends_on: Sequence[int]
    """The ids of the tasks that it waits for, at most 100,000; for one-time tasks."""
    alert_if_no_success_for: Duration
    """Alert as silent when no attempt has completed for this long; at least a second."""
    alert_if_running_for: Duration
    """Alert when an attempt runs for this long; at least a second."""
    expires_at: datetime
    """One-time tasks: cancel it if it has not started by this instant, which must have a time zone."""


OPTION_NAMES: Final = frozenset(TaskOptions.__optional_keys__)
"""The names of all options."""


OWN_OPTIONS: Final = frozenset(
    {
        "at", "delay", "cron", "every", "times", "start", "end", "idempotency_key", "enabled", "parent_id",
        "depends_on", "expires_at",
    }
)  # fmt: skip
"""The options of a single task, for which neither a handler nor a queue sets defaults."""
FOLLOWS: Final = "each"
"""The ``dependency_mode`` of a task that stays in the table and runs after each tick of the schedule it follows."""
SCHEDULE_OPTIONS: Final = frozenset(
    {"timezone", "on_missed", "catchup_window", "overlap", "jitter", "alert_if_no_success_for"}
)
"""Options that a decorator with ``cron`` or ``every`` sets for that schedule only, not for the handler's tasks."""


@dataclass(frozen=True, kw_only=True)
class TaskSpec:
    """A task to schedule. None stands for the table's default.

    ``at`` or ``delay`` is for a one-time task, ``cron`` makes it recurring, ``every`` (and ``times``)
    repeating. Raises InvalidTask (InvalidCron, InvalidTimezone) that names the option, the rule and the
    value. The payload is encoded at once: later changes to the dictionary have no effect.
    """

    task_type: str
    """The type, which decides the handler that runs it: 1 to 200 characters."""
    payload: Mapping[str, Any] | None = field(default=None, repr=False)
    """A JSON object of at most 1 MiB; its keys are the handler's arguments."""
    at: datetime | None = None
    delay: Duration | None = None
    cron: str | None = None
    every: Duration | None = None
    times: int | None = None
    timezone: str | None = None
    start: datetime | None = None
    end: datetime | None = None
    queue: str | None = None
    priority: int | None = None
    idempotency_key: str | None = None
    name: str | None = None
    tags: Sequence[str] | None = None
    metadata: Mapping[str, Any] | None = field(default=None, repr=False)
    tenant_id: str | None = None
    user_id: str | None = None
    created_by: str | None = None
    max_attempts: int | None = None
    backoff: str | None = None
    backoff_delay: Duration | None = None
    backoff_max: Duration | None = None
    backoff_factor: float | None = None
    backoff_jitter: float | None = None
    timeout: Duration | None = None
    on_missed: str | None = None
    catchup_window: Duration | None = None
    overlap: str | None = None
    jitter: Duration | None = None
    enabled: bool | None = None
    parent_id: int | None = None
    depends_on: Sequence[int] | None = None
    dependency_mode: str | None = None
    on_dependency_dead: str | None = None
    concurrency_key: str | None = None
    alert_if_no_success_for: Duration | None = None
    alert_if_running_for: Duration | None = None
    expires_at: datetime | None = None
    _arguments: dict[str, Any] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check every option by itself, then the options that exclude or require each other."""
        arguments = {"task_type": checked("task_type", self.task_type)}
        for name, value in self.__dict__.items():
            if value is not None and name != "task_type":
                parameter, check, _ = RULES[name]
                arguments[parameter] = check(name, value)
        if len(arguments) > 1 + ("payload" in arguments):
            self._check_together()
        object.__setattr__(self, "_arguments", arguments)

    def parameters(self) -> dict[str, Any]:
        """Return the arguments for the SQL function ``schedule``, None where nothing was given (called by pgsched).

        Times, intervals and JSON are text that PostgreSQL parses the same whatever the session's settings.
        """
        return {rule.parameter: self._arguments.get(rule.parameter) for rule in RULES.values()}

    def arguments(self) -> Mapping[str, Any]:
        """Return those of the :meth:`parameters` that were given (called by pgsched)."""
        return self._arguments

    def with_defaults(self, options: TaskOptions) -> TaskSpec:
        """Return the spec completed by ``options``."""
        missing = {name: value for name, value in options.items() if getattr(self, name) is None}
        return replace(self, **missing) if missing else self  # type: ignore[arg-type]

    def _check_together(self) -> None:
        if self.at is not None and self.delay is not None:
            raise InvalidTask("exclude each other", field="at", subject="at and delay")
        if self.cron is not None and self.every is not None:
            raise InvalidTask("exclude each other", field="cron", subject="cron and every")
        schedule = "cron" if self.cron is not None else "every" if self.every is not None else None
        if schedule is not None and (self.at is not None or self.delay is not None):
            rule = "are for one-time tasks; a schedule begins with start"
            raise InvalidTask(rule, field="at", subject="at and delay")
        if self.times is not None and self.every is None:
            raise InvalidTask("needs every", field="times", value=Described(f"times {self.times} alone"))
        if self.depends_on and schedule is not None:
            said = Described(f"{schedule} {getattr(self, schedule)!r} with it")
            raise InvalidTask("is for one-time tasks", field="depends_on", value=said)
        if self.dependency_mode == FOLLOWS:
            if len(self.depends_on or ()) != 1:
                number = Described(str(len(self.depends_on or ())))
                raise InvalidTask("each needs one task in depends_on", field="dependency_mode", value=number)
            if self.at is not None or self.delay is not None:
                rule = "must be left out with dependency_mode each, which runs when a tick is completed"
                raise InvalidTask(rule, field="at", subject="at and delay")
        if self.expires_at is not None:
            if schedule is not None:
                raise InvalidTask(
                    "is for one-time tasks; a schedule ends with end", field="expires_at", value=self.expires_at
                )
            if self.at is not None and self.expires_at <= self.at:
                raise refused("expires_at", "be after at", Described(f"{self.expires_at} and {self.at}"))
        if self.start is not None and self.end is not None and self.end < self.start:
            raise refused("end", "not be before start", Described(f"{self.end} and {self.start}"))


Defaults = Callable[[str], TaskOptions]
"""Returns the default options of a task_type."""


def no_defaults(_task_type: str) -> TaskOptions:
    """No options for any task_type."""
    return TaskOptions()


class Payloads(Protocol):
    """Payloads as the annotations of handlers describe them."""

    def encode(self, task_type: str, payload: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a payload encoded by the annotations, where there are any. Raises PayloadMismatch."""

    def check(self, spec: TaskSpec) -> None:
        """Raise PayloadMismatch for a task whose payload does not fit the annotations."""


def spec_with(
    task_type: str,
    payload: Mapping[str, Any] | None,
    options: TaskOptions,
    defaults: Defaults,
    payloads: Payloads | None = None,
) -> TaskSpec:
    """Return the task that a caller describes, completed by the defaults of its task_type."""
    if payloads is not None and (payload is None or isinstance(payload, Mapping)):
        payload = payloads.encode(task_type, payload or {}) or payload
    return TaskSpec(task_type=task_type, payload=payload, **options).with_defaults(defaults(task_type))


def specs_with(specs: Iterable[TaskSpec], defaults: Defaults, payloads: Payloads | None = None) -> Iterable[TaskSpec]:
    """Return the tasks completed by the defaults of their task_types, whose payloads fit."""
    if defaults is no_defaults and payloads is None:
        return specs
    found = [*specs]
    for place, spec in enumerate(found):
        if isinstance(spec, TaskSpec):
            if payloads is not None:
                payloads.check(spec)
            found[place] = spec.with_defaults(defaults(spec.task_type))
    return found


_EMPTY: Final[Mapping[str, Any]] = {"depends_on": ()}
"""The empty value of a column that is never null."""


def changed_columns(payload: Mapping[str, Any] | None, options: TaskOptions) -> tuple[dict[str, Any], str | None]:
    """Return the columns that an edit sets, as JSON values, and the delay if the edit names one.

    An option that is None clears its column. ``cron`` replaces an interval and vice versa. Raises InvalidTask as
    :class:`TaskSpec` does, and for an empty edit.
    """
    given: dict[str, Any] = {**options}
    if payload is not None:
        given["payload"] = payload
    if not given:
        raise InvalidTask("nothing to change was given")
    if unknown := sorted(given.keys() - RULES.keys()):
        raise InvalidTask("is no option of a task", field=unknown[0])
    TaskSpec(task_type="edit", **{name: value for name, value in given.items() if name != "times"})  # together
    columns: dict[str, Any] = {}
    for name, value in given.items():
        parameter, check, may_be_empty = RULES[name]
        if value is None and not may_be_empty:
            raise refused(name, "have a value", None)
        columns[parameter] = _EMPTY.get(name) if value is None else check(name, value)
    if given.get("cron") is not None:
        columns |= {"repeat_interval": None, "repeat_count": None}
    elif given.get("every") is not None:
        columns["cron_expression"] = None
    delay = columns.pop("delay", None)
    if "run_at" in columns:
        columns["scheduled_for"] = columns.pop("run_at")
    return json_values(columns), delay


def default_columns(options: TaskOptions) -> dict[str, Any]:
    """Return the default options of a handler or a queue in the form of ``pgsched.task_defaults``.

    Raises InvalidTask as :class:`TaskSpec` does, and for an option of single tasks.
    """
    if own := sorted(options.keys() & OWN_OPTIONS):
        raise InvalidTask("is an option of single tasks: it has no default", field=own[0])
    if options.get("dependency_mode") == FOLLOWS:
        raise InvalidTask("each is an option of single tasks: it is no default", field="dependency_mode")
    if unknown := sorted(options.keys() - RULES.keys()):
        raise InvalidTask("is no option of a task", field=unknown[0])
    arguments = dict(TaskSpec(task_type="defaults", **options).arguments())
    del arguments["task_type"]
    return json_values(arguments)


def json_values(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments as JSON values: JSON text among them is parsed."""
    read = {name: json.loads(arguments[name]) for name in ("payload", "metadata") if arguments.get(name) is not None}
    return {**arguments, **read}
