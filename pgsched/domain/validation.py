"""The rules for single values: those of the table's domains, checked before anything is sent. There are no others.

A check receives the name of a field and its value, and returns what is sent to the database. It raises InvalidTask with
the field, the rule and the value.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from pgsched.domain.errors import Described, InvalidTask
from pgsched.domain.interval import Interval
from pgsched.domain.json_text import encode_json, foreign_key
from pgsched.domain.scheduling.cron import parse_cron
from pgsched.domain.scheduling.time_zones import load_zone

Duration = float | timedelta | Interval | str
"""Seconds, a timedelta, an Interval, or text such as ``"15m"``."""

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_NOTHING = Interval()
_SECOND = Interval(microseconds=1_000_000)
_MILLENNIUM = Interval(months=12_000)
MAX_INTEGER = 2**31 - 1
MAX_BIGINT = 2**63 - 1

Check = Callable[[str, Any], Any]


def refused(field: str, rule: str, value: object) -> InvalidTask:
    """Return the error for a field that breaks a rule."""
    return InvalidTask(f"must {rule}", field=field, value=value)


def optional(check: Check) -> Check:
    """Return a check that accepts None as well."""
    return lambda field, value: None if value is None else check(field, value)


# Texts and words.


def text(field: str, value: object) -> str:
    """Any text that PostgreSQL can store."""
    if not isinstance(value, str):
        raise refused(field, "be text", value)
    if "\0" in value:
        raise refused(field, "not contain the character \\0", value)
    try:
        value.encode()
    except UnicodeEncodeError:
        raise refused(field, "be Unicode text without half surrogate pairs", value) from None
    return value


def text_of(longest: int, *, control_characters: bool = True) -> Check:
    """Text of 1 to ``longest`` characters."""

    def check(field: str, value: object) -> str:
        found = text(field, value)
        if not 1 <= len(found) <= longest:
            raise InvalidTask(f"must have 1 to {longest} characters", field=field, value=len(found))
        if not control_characters and _CONTROL.search(found):
            raise refused(field, "not contain control characters", found)
        return found

    return check


def plain_text(field: str, value: object) -> str:
    """Text to compare with; a text that no row can contain matches none."""
    if not isinstance(value, str) or "\0" in value:
        raise refused(field, "be text without the character \\0", value)
    return value


def one_of(*words: str, rule: str = "") -> Check:
    """One of several words."""
    rule = rule or f"be one of {', '.join(words)}"

    def check(field: str, value: object) -> str:
        if value not in words:
            raise refused(field, rule, value)
        return str(value)

    return check


def _either(*words: str) -> Check:
    return one_of(*words, rule=f"be {', '.join(words[:-1])} or {words[-1]}")


# Numbers.


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def whole(low: float, high: float, *, rule: str = "") -> Check:
    """A whole number from ``low`` to ``high``; ``rule`` words that differently."""
    kind = rule or "be a whole number"
    bounds = rule or (f"be at least {low}" if high >= MAX_INTEGER else f"be between {low} and {high}")
    too_much = rule or (f"be at most {high}" if high >= MAX_INTEGER else bounds)

    def check(field: str, value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise refused(field, kind, value)
        if not low <= value <= high:
            raise refused(field, too_much if value > high else bounds, value)
        return int(value)

    return check


def number(low: float, high: float, *, rule: str = "") -> Check:
    """A number from ``low`` to ``high``; ``rule`` words that differently."""

    def check(field: str, value: Any) -> float:
        if not _is_number(value):
            raise refused(field, rule or "be a number", value)
        if not low <= value <= high:
            raise refused(field, rule or f"be between {low} and {high}", value)
        return float(value)

    return check


def flag(field: str, value: object) -> bool:
    """True or False."""
    if not isinstance(value, bool):
        raise refused(field, "be True or False", value)
    return value


# Times.


def aware(field: str, value: object) -> datetime:
    """An instant."""
    if not isinstance(value, datetime):
        raise refused(field, "be a datetime", value)
    if value.utcoffset() is None:
        raise refused(field, "have a time zone", value)
    return value


def moment(field: str, value: object) -> str:
    """An instant, as text in UTC."""
    try:
        return aware(field, value).astimezone(UTC).isoformat()
    except OverflowError:
        raise refused(field, "be between the years 1 and 9999 in UTC", value) from None


def interval_of(field: str, value: Duration) -> Interval:
    """Return a duration as an Interval: a number is elapsed seconds.

    Raises InvalidTask for anything that is not a duration or is negative.
    """
    if isinstance(value, Interval):
        interval = value
    elif isinstance(value, timedelta):
        interval = Interval.from_timedelta(value)
    elif isinstance(value, str):
        try:
            interval = Interval.parse(value)
        except InvalidTask as error:
            raise InvalidTask.of(error, field=field, subject=f"{field}: {error.subject}") from None
    elif isinstance(value, int | float) and not isinstance(value, bool):
        if not math.isfinite(value) or abs(value) >= 2**63 / 1_000_000:
            raise refused(field, "be a number of seconds within PostgreSQL's range", value)
        interval = Interval(microseconds=round(value * 1_000_000))
    else:
        raise refused(field, 'be seconds, a timedelta, an Interval or text as "15m"', value)
    if min(interval) < 0:
        raise refused(field, "not be negative", value)
    return interval


def duration(low: Interval = _NOTHING, high: Interval = _MILLENNIUM, *, least: str = "", rule: str = "") -> Check:
    """A duration as text for PostgreSQL, from ``low`` (``least``, in words) to ``high``; ``rule`` states both."""

    def check(field: str, value: Duration) -> str:
        interval = interval_of(field, value)
        if interval.seconds < low.seconds:
            raise refused(field, rule or f"be at least {least}", value)
        if interval.seconds > high.seconds:
            raise refused(field, rule or "be at most 1000 years", value)
        return interval.to_text()

    return check


# Lists and objects.


def list_of(check: Check, what: str, *, most: int = MAX_INTEGER) -> Check:
    """A list of limited length whose values pass a check."""

    def check_all(field: str, value: object) -> list[Any]:
        if isinstance(value, str | bytes) or not isinstance(value, Sequence):
            raise refused(field, f"be a list of {what}", value)
        if len(value) > most:
            raise refused(field, f"be at most {most}", len(value))
        try:
            return [check(field, one) for one in value]
        except InvalidTask as error:
            raise type(error).of(error, subject=f"each of {field}") from None

    return check_all


def json_object(field: str, value: object) -> str:
    """An object with string keys, as JSON text."""
    if not isinstance(value, dict | Mapping):  # the quick test first
        raise refused(field, "be a dictionary", Described(f"a {type(value).__name__}"))
    return json_value(field, value if isinstance(value, dict) else dict(value))


def json_value(field: str, value: object) -> str:
    """Any JSON value whose objects have string keys, as JSON text."""
    encoded = encode_json(value, field)
    if (path := foreign_key(value)) is not None:
        raise refused(field, "have keys that are strings", field + path)
    return encoded


# Options of a task.


def _cron(field: str, value: object) -> str:
    expression = text(field, value)
    parse_cron(expression)
    return expression


def _timezone(field: str, value: object) -> str:
    name = text(field, value)
    load_zone(name)
    return name


_id = whole(1, MAX_BIGINT)
_duration = duration()
_seconds = duration(_SECOND, least="1 second")
_milliseconds = duration(Interval(microseconds=1_000), least="1 millisecond")

WORDS: Final = {
    "backoff": ("exponential", "linear", "fixed"),
    "on_missed": ("once", "skip", "all"),
    "overlap": ("skip", "allow"),
    "dependency_mode": ("all", "any", "each"),
    "on_dependency_dead": ("cancel", "run", "wait"),
}
"""The options with a fixed set of words."""


class Rule(NamedTuple):
    """The rule for an option of a task."""

    parameter: str
    """The argument of ``pgsched.schedule``."""
    check: Check
    may_be_empty: bool = False
    """Whether a task can be without it, so that an edit can clear it."""


RULES: Final[dict[str, Rule]] = {
    "task_type": Rule("task_type", text_of(200, control_characters=False)),
    "payload": Rule("payload", json_object),
    "at": Rule("run_at", moment),
    "delay": Rule("delay", _duration),
    "cron": Rule("cron_expression", _cron, True),
    "timezone": Rule("timezone", _timezone),
    "every": Rule("repeat_interval", _milliseconds, True),
    "times": Rule("repeat_count", whole(1, MAX_INTEGER), True),
    "start": Rule("start_date", moment, True),
    "end": Rule("end_date", moment, True),
    "queue": Rule("queue", text_of(100, control_characters=False)),
    "priority": Rule("priority", whole(1, 10)),
    "idempotency_key": Rule("idempotency_key", text_of(500), True),
    "name": Rule("task_name", text, True),
    "tags": Rule("tags", list_of(text, "texts", most=100)),
    "metadata": Rule("metadata", json_object),
    "tenant_id": Rule("tenant_id", text, True),
    "user_id": Rule("user_id", text, True),
    "created_by": Rule("created_by", text, True),
    "max_attempts": Rule("max_attempts", whole(1, 1000)),
    "backoff": Rule("backoff", _either(*WORDS["backoff"])),
    "backoff_delay": Rule("backoff_delay", _duration),
    "backoff_max": Rule("backoff_max", _duration),
    "backoff_factor": Rule("backoff_factor", number(1, 1000), True),
    "backoff_jitter": Rule("backoff_jitter", number(0, 1), True),
    "timeout": Rule("timeout", _milliseconds, True),
    "on_missed": Rule("on_missed", _either(*WORDS["on_missed"])),
    "catchup_window": Rule("catchup_window", _duration, True),
    "overlap": Rule("overlap", _either(*WORDS["overlap"])),
    "jitter": Rule("jitter", duration(high=Interval(days=1), rule="be between 0 and 1 day"), True),
    "enabled": Rule("enabled", flag),
    "parent_id": Rule("parent_id", _id, True),
    "depends_on": Rule("depends_on", list_of(_id, "ids"), True),
    "dependency_mode": Rule("dependency_mode", _either(*WORDS["dependency_mode"])),
    "on_dependency_dead": Rule("on_dependency_dead", _either(*WORDS["on_dependency_dead"])),
    "concurrency_key": Rule("concurrency_key", text_of(200), True),
    "alert_if_no_success_for": Rule("alert_if_no_success_for", _seconds, True),
    "alert_if_running_for": Rule("alert_if_running_for", _seconds, True),
    "expires_at": Rule("expires_at", moment, True),
}
"""The rule of each option, that of its column's domain."""


def checked(field: str, value: Any) -> Any:
    """Return what the database is given for an option of a task."""
    return RULES[field].check(field, value)
