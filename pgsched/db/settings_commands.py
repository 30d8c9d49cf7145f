"""What a client asks of the database about its settings: how long what is finished is kept. Pure, as
:mod:`pgsched.db.commands`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypedDict

from pgsched.db.commands import Command, Rows
from pgsched.db.sql_files import load_statement
from pgsched.domain.errors import InvalidTask
from pgsched.domain.interval import Interval
from pgsched.domain.records import Settings, read
from pgsched.domain.retention_age import LONGEST, Age, age_of, is_short, long_enough
from pgsched.domain.validation import MAX_INTEGER, flag

FOREVER: Final = "forever"
"""Says that all are kept, where another setting says otherwise."""
LONGEST_RETENTION = LONGEST
"""What the word is in the table."""
RETENTION = ("retention", "retention_count", "dead_retention", "dead_retention_count", "archive")
"""What a queue may say itself."""


class SettingsOptions(TypedDict, total=False):
    """Settings for queues that say nothing else; what is left out stays as it is."""

    retention: Age | None
    """Completed and cancelled tasks older than this are deleted, an hour at least; None: none."""
    retention_count: int | str | None
    """Of completed and cancelled tasks each queue keeps so many; None: all."""
    dead_retention: Age | None
    """As ``retention``, of dead tasks."""
    dead_retention_count: int | str | None
    """As ``retention_count``, of dead tasks."""
    archive: bool
    """What is deleted is copied to ``pgsched.archived_tasks``."""
    history_retention: Age | None
    """Days of the history that ended longer ago are dropped, a day at least; None: none."""
    allow_short: bool
    """``retention`` and ``dead_retention`` may be shorter than an hour."""


def get_settings() -> Command[Settings]:
    """Read the settings."""
    return Command(load_statement("get_settings"), {}, lambda rows: read(Settings, rows[0]))


def set_settings(options: SettingsOptions) -> Command[None]:
    """Change settings."""
    unknown = set(options) - {*RETENTION, "history_retention", "allow_short"}
    if unknown:
        raise InvalidTask(f"settings: {min(unknown)!r} is no setting")
    if not set(options) - {"allow_short"}:
        raise InvalidTask("settings: nothing to change")
    if "archive" in options and options["archive"] is None:
        raise InvalidTask("archive must be true or false, got None")
    history = options.get("history_retention")
    params = {
        **retention_of(options),
        "history_retention": None if history is None else _history_age(history),
        "given": list(options),
    }
    return Command(load_statement("set_settings"), params, _nothing)


def retention_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters for what is kept of finished tasks. Raises InvalidTask, naming option, rule and value."""
    archive = options.get("archive")
    if not isinstance(archive, bool | None):
        raise InvalidTask(f"archive must be true or false, got {str(archive)[:100]}")
    allow_short = flag("allow_short", options.get("allow_short", False))
    ages = {name: _kept(name, options.get(name), allow_short=allow_short) for name in ("retention", "dead_retention")}
    return {
        **{name: None if age is None else age.to_text() for name, age in ages.items()},
        "retention_count": number_of("retention_count", options.get("retention_count")),
        "dead_retention_count": number_of("dead_retention_count", options.get("dead_retention_count")),
        "archive": archive,
        "allow_short": any(is_short(age) for age in ages.values()),
    }


def _kept(option: str, value: Age | None, *, allow_short: bool) -> Interval | None:
    """How long tasks are kept; the word for ever is the longest there is."""
    if value is None:
        return None
    if isinstance(value, str) and value.strip().lower() == FOREVER:
        return LONGEST_RETENTION
    return long_enough(option, age_of(option, value), allow_short=allow_short)


def _history_age(value: Age) -> str:
    if isinstance(value, str) and value.strip().lower() == FOREVER:
        return LONGEST_RETENTION.to_text()
    age = age_of("history_retention", value)
    if age.seconds < Interval(days=1).seconds:
        raise InvalidTask(f"history_retention must be at least a day, got {str(value)[:100]}")
    return age.to_text()


def number_of(option: str, value: int | str | None) -> int | None:
    """Return how many are kept; for the word for ever the highest number. Raises InvalidTask."""
    if isinstance(value, str) and value.strip().lower() == FOREVER:
        return MAX_INTEGER
    if isinstance(value, str) and value.strip().isascii() and value.strip().isdigit():
        value = int(value) if len(value) <= 20 else MAX_INTEGER + 1
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_INTEGER):
        raise InvalidTask(
            f"{option} must be a whole number between 0 and {MAX_INTEGER}, or {FOREVER}, got {str(value)[:100]}"
        )
    return value


def _nothing(_rows: Rows) -> None:
    return None
