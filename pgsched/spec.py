"""What a task is to be, before it is a row: the options of ``schedule``, by the rules of the table."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypedDict

from pgsched.cron import parse_cron
from pgsched.errors import InvalidTask
from pgsched.interval import Interval
from pgsched.jsontext import encode_json, foreign_key
from pgsched.zones import load_zone

Duration = float | timedelta | Interval | str
"""Seconds, a timedelta, an Interval, or text as ``"15m"``."""

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_MILLISECOND = Interval(microseconds=1_000)
_DAY = Interval(days=1)
_MILLENNIUM = Interval(months=12_000)
_LONGEST_SHOWN = 100
_MAX_INTEGER = 2**31 - 1
_MAX_BIGINT = 2**63 - 1


class TaskOptions(TypedDict, total=False):
    """The options of ``schedule``; each that is left out has the default of the table."""

    at: datetime
    delay: Duration
    cron: str
    every: Duration
    times: int
    timezone: str
    start: datetime
    end: datetime
    queue: str
    priority: int
    idempotency_key: str
    name: str
    tags: Sequence[str]
    metadata: Mapping[str, Any]
    tenant_id: str
    user_id: str
    created_by: str
    max_attempts: int
    backoff: str
    backoff_delay: Duration
    backoff_max: Duration
    timeout: Duration
    on_missed: str
    catchup_window: Duration
    overlap: str
    jitter: Duration
    enabled: bool
    parent_id: int


OPTION_NAMES: Final = frozenset(TaskOptions.__optional_keys__)
"""The names of all options."""


@dataclass(frozen=True, kw_only=True)
class TaskSpec:
    """A task to schedule. None stands for the table's default.

    ``at`` or ``delay`` is for a one-time task, ``cron`` makes it recurring, ``every`` (and ``times``)
    repeating. Raises InvalidTask (InvalidCron, InvalidTimezone) that names the option, the rule and the
    value. The payload is encoded at once: later changes to the dictionary change nothing.
    """

    task_type: str
    payload: Mapping[str, Any] | None = field(default=None, repr=False)
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
    timeout: Duration | None = None
    on_missed: str | None = None
    catchup_window: Duration | None = None
    overlap: str | None = None
    jitter: Duration | None = None
    enabled: bool | None = None
    parent_id: int | None = None
    _arguments: dict[str, Any] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check every option by itself, then what must not or must come together."""
        arguments = {"task_type": _RULES["task_type"][1]("task_type", self.task_type)}
        for name, value in self.__dict__.items():
            if value is not None and name != "task_type":
                argument, check = _RULES[name]
                arguments[argument] = check(name, value)
        if len(arguments) > 1 + ("payload" in arguments):
            self._check_together()
        object.__setattr__(self, "_arguments", arguments)

    def parameters(self) -> dict[str, Any]:
        """Return the arguments for the SQL function ``pgsched.schedule``, None where nothing was given.

        Times, intervals and JSON are text that PostgreSQL reads alike whatever the session's settings.
        """
        return {argument: self._arguments.get(argument) for argument, _ in _RULES.values()}

    def arguments(self) -> Mapping[str, Any]:
        """Return those of the :meth:`parameters` that were given."""
        return self._arguments

    def with_defaults(self, options: TaskOptions) -> TaskSpec:
        """Return the spec with ``options`` where it has none of its own."""
        missing = {name: value for name, value in options.items() if getattr(self, name) is None}
        return replace(self, **missing) if missing else self  # type: ignore[arg-type]

    def _check_together(self) -> None:
        if self.at is not None and self.delay is not None:
            raise InvalidTask("at and delay exclude each other")
        if self.cron is not None and self.every is not None:
            raise InvalidTask("cron and every exclude each other")
        if (self.at is not None or self.delay is not None) and (self.cron is not None or self.every is not None):
            raise InvalidTask("at and delay are for one-time tasks; a schedule begins with start")
        if self.times is not None and self.every is None:
            raise InvalidTask(f"times needs every, got times {self.times} alone")
        if self.start is not None and self.end is not None and self.end < self.start:
            raise InvalidTask(f"end must not be before start, got {self.end} and {self.start}")


Check = Callable[[str, Any], Any]
"""Takes an option's name and value, returns the SQL function's argument or raises InvalidTask."""


def _shown(value: object) -> str:
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "…"


def _refused(option: str, rule: str, value: object) -> InvalidTask:
    return InvalidTask(f"{option} must {rule}, got {_shown(value)}")


def _text(option: str, value: object) -> str:
    if not isinstance(value, str):
        raise _refused(option, "be text", value)
    if "\0" in value:
        raise _refused(option, "not contain the character \\0", value)
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _refused(option, "be Unicode text without half surrogate pairs", value) from None
    return value


def _text_of(longest: int, *, control_characters: bool = True) -> Check:
    def check(option: str, value: object) -> str:
        text = _text(option, value)
        if not 1 <= len(text) <= longest:
            raise InvalidTask(f"{option} must have 1 to {longest} characters, got {len(text)}")
        if not control_characters and _CONTROL.search(text):
            raise _refused(option, "not contain control characters", text)
        return text

    return check


def _one_of(*words: str) -> Check:
    rule = f"be {', '.join(words[:-1])} or {words[-1]}"

    def check(option: str, value: object) -> str:
        if value not in words:
            raise _refused(option, rule, value)
        return str(value)

    return check


def _whole(low: int, high: int) -> Check:
    rule = f"be at least {low}" if high >= _MAX_INTEGER else f"be between {low} and {high}"

    def check(option: str, value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise _refused(option, "be a whole number", value)
        if value > high >= _MAX_INTEGER:
            raise _refused(option, f"be at most {high}", value)
        if not low <= value <= high:
            raise _refused(option, rule, value)
        return int(value)

    return check


def _flag(option: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise _refused(option, "be True or False", value)
    return value


def _moment(option: str, value: object) -> str:
    if not isinstance(value, datetime):
        raise _refused(option, "be a datetime", value)
    if value.utcoffset() is None:
        raise _refused(option, "have a time zone", value)
    try:
        return value.astimezone(UTC).isoformat()
    except OverflowError:
        raise _refused(option, "be between the years 1 and 9999 in UTC", value) from None


def _json_object(option: str, value: object) -> str:
    if not isinstance(value, dict | Mapping):  # the quick test first
        raise InvalidTask(f"{option} must be a dictionary, got a {type(value).__name__}")
    text = encode_json(value if isinstance(value, dict) else dict(value), option)
    if (path := foreign_key(value)) is not None:
        raise InvalidTask(f"{option} must have keys that are strings, got {_shown(option + path)}")
    return text


def _tags(option: str, value: object) -> list[str]:
    if isinstance(value, str | bytes) or not isinstance(value, Sequence):
        raise _refused(option, "be a list of texts", value)
    if len(value) > 100:
        raise InvalidTask(f"{option} must be at most 100, got {len(value)}")
    return [_text(f"each of {option}", tag) for tag in value]


def _cron(option: str, value: object) -> str:
    text = _text(option, value)
    parse_cron(text)
    return text


def _timezone(option: str, value: object) -> str:
    text = _text(option, value)
    load_zone(text)
    return text


def interval_of(option: str, value: Duration) -> Interval:
    """Return a duration as an Interval: a number is elapsed seconds.

    Raises InvalidTask, naming the option, for anything that is no duration or is negative.
    """
    if isinstance(value, Interval):
        interval = value
    elif isinstance(value, timedelta):
        interval = Interval.from_timedelta(value)
    elif isinstance(value, str):
        try:
            interval = Interval.parse(value)
        except InvalidTask as error:
            raise InvalidTask(f"{option}: {error}") from None
    elif isinstance(value, int | float) and not isinstance(value, bool):
        if not math.isfinite(value) or abs(value) >= 2**63 / 1_000_000:
            raise _refused(option, "be a number of seconds within PostgreSQL's range", value)
        interval = Interval(microseconds=round(value * 1_000_000))
    else:
        raise _refused(option, 'be seconds, a timedelta, an Interval or text as "15m"', value)
    if min(interval) < 0:
        raise _refused(option, "not be negative", value)
    return interval


def _duration(low: Interval | None = None, high: Interval = _MILLENNIUM, rule: str = "") -> Check:
    def check(option: str, value: Duration) -> str:
        interval = interval_of(option, value)
        if low is not None and interval.seconds < low.seconds:
            raise _refused(option, rule, value)
        if interval.seconds > high.seconds:
            raise _refused(option, "be at most 1000 years" if high == _MILLENNIUM else rule, value)
        return interval.to_text()

    return check


_any_duration = _duration()
_some_duration = _duration(low=_MILLISECOND, rule="be at least 1 millisecond")

_RULES: Final[dict[str, tuple[str, Check]]] = {
    "task_type": ("task_type", _text_of(200, control_characters=False)),
    "payload": ("payload", _json_object),
    "at": ("run_at", _moment),
    "delay": ("delay", _any_duration),
    "cron": ("cron_expression", _cron),
    "timezone": ("timezone", _timezone),
    "every": ("repeat_interval", _some_duration),
    "times": ("repeat_count", _whole(1, _MAX_INTEGER)),
    "start": ("start_date", _moment),
    "end": ("end_date", _moment),
    "queue": ("queue", _text_of(100, control_characters=False)),
    "priority": ("priority", _whole(1, 10)),
    "idempotency_key": ("idempotency_key", _text_of(500)),
    "name": ("task_name", _text),
    "tags": ("tags", _tags),
    "metadata": ("metadata", _json_object),
    "tenant_id": ("tenant_id", _text),
    "user_id": ("user_id", _text),
    "created_by": ("created_by", _text),
    "max_attempts": ("max_attempts", _whole(1, 1000)),
    "backoff": ("backoff", _one_of("exponential", "linear", "fixed")),
    "backoff_delay": ("backoff_delay", _any_duration),
    "backoff_max": ("backoff_max", _any_duration),
    "timeout": ("timeout", _some_duration),
    "on_missed": ("on_missed", _one_of("once", "skip", "all")),
    "catchup_window": ("catchup_window", _any_duration),
    "overlap": ("overlap", _one_of("skip", "allow")),
    "jitter": ("jitter", _duration(high=_DAY, rule="be between 0 and 1 day")),
    "enabled": ("enabled", _flag),
    "parent_id": ("parent_id", _whole(1, _MAX_BIGINT)),
}
"""For each option the argument of ``pgsched.schedule`` and its rule, that of the column's domain."""


MAY_BE_EMPTY: Final = frozenset(
    {
        "cron",
        "every",
        "times",
        "start",
        "end",
        "idempotency_key",
        "name",
        "tenant_id",
        "user_id",
        "created_by",
        "timeout",
        "catchup_window",
        "jitter",
        "parent_id",
    }
)
"""Options that a task may have none of."""


def changed_columns(payload: Mapping[str, Any] | None, options: TaskOptions) -> tuple[dict[str, Any], str | None]:
    """Return the columns that an edit sets, as JSON values, and the delay if the edit names one.

    An option that is None empties its column. ``cron`` takes the place of an interval and the other way round. Raises
    InvalidTask as :class:`TaskSpec` does, and for an edit of nothing.
    """
    given: dict[str, Any] = {**options}
    if payload is not None:
        given["payload"] = payload
    if not given:
        raise InvalidTask("nothing to change was given")
    if unknown := sorted(given.keys() - _RULES.keys()):
        raise InvalidTask(f"{unknown[0]} is no option of a task")
    TaskSpec(task_type="edit", **{name: value for name, value in given.items() if name != "times"})  # together
    columns: dict[str, Any] = {}
    for name, value in given.items():
        if value is None and name not in MAY_BE_EMPTY:
            raise InvalidTask(f"{name} must have a value, got None")
        parameter, check = _RULES[name]
        columns[parameter] = None if value is None else check(name, value)
    if given.get("cron") is not None:
        columns |= {"repeat_interval": None, "repeat_count": None}
    elif given.get("every") is not None:
        columns["cron_expression"] = None
    delay = columns.pop("delay", None)
    if "run_at" in columns:
        columns["scheduled_for"] = columns.pop("run_at")
    for name in ("payload", "metadata"):
        if columns.get(name) is not None:
            columns[name] = json.loads(columns[name])
    return columns, delay
