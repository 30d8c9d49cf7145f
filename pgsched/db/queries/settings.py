"""Commands about the settings: how long finished tasks are kept. Pure, as :mod:`pgsched.db.queries.tasks`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from typing import Any, TypedDict

from pgsched.db.query import Command, command, nothing, row_as
from pgsched.domain.errors import InvalidTask
from pgsched.domain.interval import Interval
from pgsched.domain.records import Settings
from pgsched.domain.retention_age import Age, age_setting, archives, count_of, history_age, is_short
from pgsched.domain.validation import flag, one_of, refused

RETENTION = ("retention", "retention_count", "dead_retention", "dead_retention_count", "archive")
"""The settings that a queue may override."""


class SettingsOptions(TypedDict, total=False):
    """Settings for queues that do not override them; what is left out is not changed."""

    retention: Age | None
    """Completed and cancelled tasks older than this are deleted, at least an hour; None for no limit."""
    retention_count: int | str | None
    """Number of completed and cancelled tasks that each queue keeps; None for all."""
    dead_retention: Age | None
    """Like ``retention``, for dead tasks."""
    dead_retention_count: int | str | None
    """Like ``retention_count``, for dead tasks."""
    archive: bool
    """Whether deleted tasks are copied to ``pgsched.archived_tasks``."""
    history_retention: Age | None
    """Days of the history that ended longer ago are dropped, at least a day; None for no limit."""
    unknown_types: str
    """What happens to a task whose type is not registered: ``accept``, ``tell`` (the default) or ``refuse``."""
    allow_short: bool
    """Allows ``retention`` and ``dead_retention`` to be shorter than an hour."""


UNKNOWN_TYPES = ("accept", "tell", "refuse")
"""What happens to a task whose type is not registered."""
_unknown_types = one_of(*UNKNOWN_TYPES)


def get_settings() -> Command[Settings]:
    """Read the settings."""
    return command("get_settings", row_as(Settings))


def lock_settings() -> Command[None]:
    """Keep others from changing the settings until the transaction ends."""
    return command("lock_settings", nothing)


def set_settings(options: SettingsOptions) -> Command[None]:
    """Change settings."""
    known_options("settings", options, {*RETENTION, "history_retention", "allow_short", "unknown_types"})
    if "archive" in options and options["archive"] is None:
        raise refused("archive", "be true or false", None)
    history = history_age("history_retention", options.get("history_retention"))
    params = {
        **retention_of(options, age_setting),
        "unknown_types": _unknown_types("unknown_types", options["unknown_types"])
        if "unknown_types" in options
        else None,
        "history_retention": None if history is None else history.to_text(),
        "given": list(options),
    }
    return command("set_settings", nothing, **params)


def retention_of(options: Mapping[str, Any], retention: Callable[..., Interval | None]) -> dict[str, Any]:
    """Return the parameters of retention settings. Raises InvalidTask, naming option, rule and value.

    ``retention`` parses the option of that name.
    """
    allow_short = flag("allow_short", options.get("allow_short", False))
    ages = {
        "retention": retention("retention", options.get("retention"), allow_short=allow_short),
        "dead_retention": age_setting("dead_retention", options.get("dead_retention"), allow_short=allow_short),
    }
    return {
        **{name: None if age is None else age.to_text() for name, age in ages.items()},
        **{name: count_of(name, options.get(name)) for name in ("retention_count", "dead_retention_count")},
        "archive": archives("archive", options.get("archive")),
        "allow_short": allow_short and any(is_short(age) for age in ages.values()),
    }


def known_options(of: str, options: Mapping[str, Any], known: Set[str]) -> None:
    """Raise InvalidTask for an unknown option, and when there is nothing to change."""
    if unknown := set(options) - known:
        raise InvalidTask(f"{min(unknown)!r} is no setting", place=f"{of}: ")
    if not set(options) - {"allow_short"}:
        raise InvalidTask("nothing to change", place=f"{of}: ")
