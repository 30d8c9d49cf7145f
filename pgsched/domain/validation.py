"""The rules for single options of a task: those of the table's domains, said before anything is sent."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from pgsched.domain.errors import InvalidTask
from pgsched.domain.interval import Interval
from pgsched.domain.json_text import encode_json, foreign_key
from pgsched.domain.scheduling.cron import parse_cron
from pgsched.domain.scheduling.time_zones import load_zone

Duration = float | timedelta | Interval | str
"""Seconds, a timedelta, an Interval, or text as ``"15m"``."""

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_MILLISECOND = Interval(microseconds=1_000)
_DAY = Interval(days=1)
_MILLENNIUM = Interval(months=12_000)
_LONGEST_SHOWN = 100
MAX_INTEGER = 2**31 - 1
MAX_BIGINT = 2**63 - 1

Check = Callable[[str, Any], Any]
"""Takes an option's name and value, returns the SQL function's argument or raises InvalidTask."""


def shown(value: object) -> str:
    """A value as errors quote it, cut when it is long."""
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "…"


def refused(option: str, rule: str, value: object) -> InvalidTask:
    """The error that names option, rule and value."""
    return InvalidTask(f"{option} must {rule}, got {shown(value)}")


def _text(option: str, value: object) -> str:
    if not isinstance(value, str):
        raise refused(option, "be text", value)
    if "\0" in value:
        raise refused(option, "not contain the character \\0", value)
    try:
        value.encode()
    except UnicodeEncodeError:
        raise refused(option, "be Unicode text without half surrogate pairs", value) from None
    return value


def text_of(longest: int, *, control_characters: bool = True) -> Check:
    """Text of 1 to ``longest`` characters."""

    def check(option: str, value: object) -> str:
        text = _text(option, value)
        if not 1 <= len(text) <= longest:
            raise InvalidTask(f"{option} must have 1 to {longest} characters, got {len(text)}")
        if not control_characters and _CONTROL.search(text):
            raise refused(option, "not contain control characters", text)
        return text

    return check


def _one_of(*words: str) -> Check:
    rule = f"be {', '.join(words[:-1])} or {words[-1]}"

    def check(option: str, value: object) -> str:
        if value not in words:
            raise refused(option, rule, value)
        return str(value)

    return check


def whole(low: int, high: int) -> Check:
    """A whole number from ``low`` to ``high``."""
    rule = f"be at least {low}" if high >= MAX_INTEGER else f"be between {low} and {high}"

    def check(option: str, value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise refused(option, "be a whole number", value)
        if value > high >= MAX_INTEGER:
            raise refused(option, f"be at most {high}", value)
        if not low <= value <= high:
            raise refused(option, rule, value)
        return int(value)

    return check


def flag(option: str, value: object) -> bool:
    """True or False."""
    if not isinstance(value, bool):
        raise refused(option, "be True or False", value)
    return value


def _moment(option: str, value: object) -> str:
    if not isinstance(value, datetime):
        raise refused(option, "be a datetime", value)
    if value.utcoffset() is None:
        raise refused(option, "have a time zone", value)
    try:
        return value.astimezone(UTC).isoformat()
    except OverflowError:
        raise refused(option, "be between the years 1 and 9999 in UTC", value) from None


def _json_object(option: str, value: object) -> str:
    if not isinstance(value, dict | Mapping):  # the quick test first
        raise InvalidTask(f"{option} must be a dictionary, got a {type(value).__name__}")
    text = encode_json(value if isinstance(value, dict) else dict(value), option)
    if (path := foreign_key(value)) is not None:
        raise InvalidTask(f"{option} must have keys that are strings, got {shown(option + path)}")
    return text


def _tags(option: str, value: object) -> list[str]:
    if isinstance(value, str | bytes) or not isinstance(value, Sequence):
        raise refused(option, "be a list of texts", value)
    if len(value) > 100:
        raise InvalidTask(f"{option} must be at most 100, got {len(value)}")
    return [_text(f"each of {option}", tag) for tag in value]


def _ids(option: str, value: object) -> list[int]:
    if isinstance(value, str | bytes) or not isinstance(value, Sequence):
        raise refused(option, "be a list of ids", value)
    return [_id(f"each of {option}", one) for one in value]


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
            raise refused(option, "be a number of seconds within PostgreSQL's range", value)
        interval = Interval(microseconds=round(value * 1_000_000))
    else:
        raise refused(option, 'be seconds, a timedelta, an Interval or text as "15m"', value)
    if min(interval) < 0:
        raise refused(option, "not be negative", value)
    return interval


def _duration(low: Interval | None = None, high: Interval = _MILLENNIUM, rule: str = "") -> Check:
    def check(option: str, value: Duration) -> str:
        interval = interval_of(option, value)
        if low is not None and interval.seconds < low.seconds:
            raise refused(option, rule, value)
        if interval.seconds > high.seconds:
            raise refused(option, "be at most 1000 years" if high == _MILLENNIUM else rule, value)
        return interval.to_text()

    return check


def _number(low: float, high: float) -> Check:
    def check(option: str, value: object) -> float:
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise refused(option, "be a number", value)
        if not low <= value <= high:
            raise refused(option, f"be between {low} and {high}", value)
        return float(value)

    return check


_id = whole(1, MAX_BIGINT)
_any_duration = _duration()
_a_second = _duration(low=Interval(microseconds=1_000_000), rule="be at least 1 second")
_some_duration = _duration(low=_MILLISECOND, rule="be at least 1 millisecond")

RULES: Final[dict[str, tuple[str, Check]]] = {
    "task_type": ("task_type", text_of(200, control_characters=False)),
    "payload": ("payload", _json_object),
    "at": ("run_at", _moment),
    "delay": ("delay", _any_duration),
    "cron": ("cron_expression", _cron),
    "timezone": ("timezone", _timezone),
    "every": ("repeat_interval", _some_duration),
    "times": ("repeat_count", whole(1, MAX_INTEGER)),
    "start": ("start_date", _moment),
    "end": ("end_date", _moment),
    "queue": ("queue", text_of(100, control_characters=False)),
    "priority": ("priority", whole(1, 10)),
    "idempotency_key": ("idempotency_key", text_of(500)),
    "name": ("task_name", _text),
    "tags": ("tags", _tags),
    "metadata": ("metadata", _json_object),
    "tenant_id": ("tenant_id", _text),
    "user_id": ("user_id", _text),
    "created_by": ("created_by", _text),
    "max_attempts": ("max_attempts", whole(1, 1000)),
    "backoff": ("backoff", _one_of("exponential", "linear", "fixed")),
    "backoff_delay": ("backoff_delay", _any_duration),
    "backoff_max": ("backoff_max", _any_duration),
    "backoff_factor": ("backoff_factor", _number(1, 1000)),
    "backoff_jitter": ("backoff_jitter", _number(0, 1)),
    "timeout": ("timeout", _some_duration),
    "on_missed": ("on_missed", _one_of("once", "skip", "all")),
    "catchup_window": ("catchup_window", _any_duration),
    "overlap": ("overlap", _one_of("skip", "allow")),
    "jitter": ("jitter", _duration(high=_DAY, rule="be between 0 and 1 day")),
    "enabled": ("enabled", flag),
    "parent_id": ("parent_id", _id),
    "depends_on": ("depends_on", _ids),
    "dependency_mode": ("dependency_mode", _one_of("all", "any")),
    "on_dependency_dead": ("on_dependency_dead", _one_of("cancel", "run", "wait")),
    "concurrency_key": ("concurrency_key", text_of(200)),
    "alert_if_no_success_for": ("alert_if_no_success_for", _a_second),
    "alert_if_running_for": ("alert_if_running_for", _a_second),
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
        "backoff_factor",
        "backoff_jitter",
        "timeout",
        "catchup_window",
        "jitter",
        "parent_id",
        "depends_on",
        "concurrency_key",
        "alert_if_no_success_for",
        "alert_if_running_for",
    }
)
"""Options that a task may have none of."""
