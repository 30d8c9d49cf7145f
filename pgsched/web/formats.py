"""How pages format values: times, spans, numbers, JSON. Pure, except for the filters' names in templates."""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import urlencode

from markupsafe import Markup

from pgsched.domain.errors import InvalidTask
from pgsched.domain.interval import Interval
from pgsched.domain.records import Task, to_json_able
from pgsched.domain.scheduling.time_zones import load_zone
from pgsched.domain.task_spec import FOLLOWS

COUNTED = 10_000
"""Counting stops here; more is shown as ``10,000+``."""
_UNITS = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))
_INSERTED = (
    "task_type", "task_name", "queue", "priority", "payload", "metadata", "tags", "tenant_id", "user_id", "created_by",
    "scheduled_for", "cron_expression", "timezone", "start_date", "end_date", "repeat_interval", "repeat_count",
    "on_missed", "catchup_window", "overlap", "jitter", "max_attempts", "backoff", "backoff_delay", "backoff_max",
    "backoff_factor", "backoff_jitter",
    "timeout", "depends_on", "dependency_mode", "on_dependency_dead", "concurrency_key",
    "alert_if_no_success_for", "alert_if_running_for", "expires_at",
)  # fmt: skip
_DEFAULTS: Mapping[str, Any] = {
    "queue": "default", "priority": 5, "payload": {}, "metadata": {}, "tags": [], "timezone": "UTC",
    "on_missed": "once", "overlap": "skip", "max_attempts": 3, "backoff": "exponential", "depends_on": [],
    "dependency_mode": "all", "on_dependency_dead": "cancel", "backoff_delay": Interval(microseconds=5_000_000),
    "backoff_max": Interval(microseconds=3_600_000_000),
}  # fmt: skip


def when(at: datetime | None) -> Markup:
    """Return a time in UTC, to the second; a script shows it in the viewer's zone and keeps UTC as the title."""
    if at is None:
        return Markup('<span class="none">–</span>')
    exact = at.astimezone(UTC)
    machine = exact.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return Markup('<time datetime="{}">{} UTC</time>').format(machine, f"{exact:%Y-%m-%d %H:%M:%S}")


def wall(text: str, timezone: str = "") -> str:
    """Return a form's time for an input of times: in the local time of ``timezone``, UTC when that is empty.

    One without an offset is already local; an invalid time becomes empty, because the input cannot hold it.
    """
    try:
        at = datetime.fromisoformat(text)
        if at.tzinfo is not None:
            at = at.astimezone(load_zone(timezone or "UTC")).replace(tzinfo=None)
    except (ValueError, OverflowError, InvalidTask):
        return ""
    return at.isoformat(timespec="seconds")


def count(number: int) -> str:
    """Return a number with thousands separators; one that was counted to the cap as ``10,000+``."""
    return f"{number:,}" if number <= COUNTED else f"{COUNTED:,}+"


def span(seconds: float | None) -> str:
    """Return a duration in its two largest units: ``1 h 30 m``; under a second in ms."""
    if seconds is None:
        return "–"
    if seconds < 1:
        return f"{max(seconds, 0) * 1000:.0f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    left, words = int(seconds), []
    for unit, size in _UNITS:
        number, left = divmod(left, size)
        if number:
            words.append(f"{number} {unit}")
    return " ".join(words[:2])


def share(value: float | None) -> str:
    """Return a fraction in per cent."""
    if value is None:
        return "–"
    return "0 %" if value == 0 else "<0.1 %" if value < 0.001 else f"{value * 100:.1f} %"


def rate(per_second: float) -> str:
    """Return a rate in a unit in which the number is at least one: ``12.5 / s``, ``3.0 / min``, ``2.0 / h``."""
    for unit, seconds in (("s", 1), ("min", 60)):
        if per_second * seconds >= 1:
            return f"{per_second * seconds:,.1f} / {unit}"
    return f"{per_second * 3600:,.1f} / h" if per_second else "0"


def duration(interval: Interval | None) -> str:
    """Return an interval in the notation of forms: ``1h30m``; empty for None and for zero."""
    return "" if interval is None or not any(interval) else interval.to_short_text()


def pretty(value: Any) -> str:
    """Return a value as indented JSON."""
    return json.dumps(value, default=to_json_able, ensure_ascii=False, indent=2)


def limits(value: Mapping[str, Any], per: Interval | None = None) -> str:
    """Return the limits of a queue in words; ``per`` is the period of its rates."""
    span_of_rates = duration(per) or str(value.get("per", "1s"))
    words = {
        "concurrency": "{} at once",
        "concurrency_per_key": "{} at once per key",
        "rate": "{} starts per " + span_of_rates,
        "rate_per_key": "{} starts per key per " + span_of_rates,
    }
    return ", ".join(text.format(value[name]) for name, text in words.items() if name in value) or "none"


def insert_text(task: Task, said: Container[str], *, key: str | None = None) -> str:
    """Return the INSERT that creates a task like this one; default values are left out.

    ``said``: the columns with other defaults, set by its handler or its queue. ``key`` is for the new task: the key of
    this one is taken.
    """
    columns: dict[str, str] = {}
    for name in _INSERTED:
        value = getattr(task, name)
        if (
            value is None
            or (value == _DEFAULTS.get(name) and name not in said)
            or (name == "scheduled_for" and (task.schedule_type != "one_time" or task.dependency_mode == FOLLOWS))
        ):
            continue
        columns[name] = _literal(value)
    if key is not None:
        columns["idempotency_key"] = _literal(key)
    names, values = ", ".join(columns), ",\n  ".join(columns.values())
    return f"insert into pgsched.tasks ({names})\nvalues (\n  {values}\n);"


def _literal(value: Any) -> str:
    if isinstance(value, bool | int):
        return str(value)
    if isinstance(value, list):
        inner = ", ".join(_literal(one) for one in value)
        return f"array[{inner}]"
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else str(to_json_able(value))
    quoted = text.replace("'", "''")
    # With standard_conforming_strings off a backslash would escape: E'' means the same in both.
    return "e'" + quoted.replace("\\", "\\\\") + "'" if "\\" in quoted else f"'{quoted}'"


class Share(NamedTuple):
    """Progress with its text."""

    done: float
    of: float
    label: str


def as_share(progress: Any) -> Share | None:
    """Return progress as a fraction: of ``{done, of}``, or of a number from 0 to 1; None for anything else."""
    if isinstance(progress, dict) and progress.keys() >= {"done", "of"}:
        done, of = progress["done"], progress["of"]
        if _is_number(done) and _is_number(of) and of > 0 and done >= 0:
            return Share(done, of, f"{done:,} of {of:,} ({min(done / of, 1):.0%})")
    if _is_number(progress) and 0 <= progress <= 1:
        return Share(progress, 1, f"{progress:.0%}")
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e15


def urlquery(fields: Mapping[str, str], *without: str) -> str:
    """Return the fields of a form as a query string, without the named ones."""
    return urlencode({name: text for name, text in fields.items() if text and name not in without})


FILTERS: Mapping[str, Callable[..., Any]] = {
    "when": when,
    "wall": wall,
    "count": count,
    "thousands": "{:,}".format,
    "span": span,
    "share": share,
    "rate": rate,
    "duration": duration,
    "pretty": pretty,
    "limits": limits,
    "as_share": as_share,
    "urlquery": urlquery,
}
