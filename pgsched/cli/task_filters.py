"""The filters of lists of tasks and of changes to many, as options."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final, cast

import click

from pgsched.cli.options import TASK_ID, instant, option_group, read_moment
from pgsched.domain.task_filters import SCHEDULE_TYPES, STATUSES, TaskFilters

_MOMENTS: Final = {
    "created": "made",
    "due": "next due",
    "started": "last claimed",
    "ended": "completed, cancelled or dead",
}


def _moments() -> tuple[Callable[[Any], Any], ...]:
    return tuple(
        click.option(
            f"--{name}-{when}",
            metavar="TIME",
            callback=read_moment,
            help=f"Only {what} {'at this time or later' if when == 'after' else 'before this time'} (ISO 8601, UTC).",
        )
        for name, what in _MOMENTS.items()
        for when in ("after", "before")
    )


_which = option_group(
    click.option(
        "--where",
        "query",
        metavar="TERMS",
        help="Only what fits all terms, as 'type:bill payload.order = 50123 \"no luck\"'; see docs/search.md.",
    ),
    click.option("--id", "ids", type=TASK_ID, multiple=True, help="Only these tasks; may be repeated."),
    click.option("--queue", metavar="NAME", multiple=True, help="Only of this queue; may be repeated."),
    click.option("--type", "task_type", metavar="TYPE", multiple=True, help="Only of this task type; may be repeated."),
)
_more = option_group(
    click.option(
        "--schedule-type", type=click.Choice(SCHEDULE_TYPES), multiple=True, help="Only with such a schedule."
    ),
    click.option(
        "--priority", type=click.IntRange(1, 10), multiple=True, help="Only of this priority; may be repeated."
    ),
    click.option("--tag", help="Only with this tag."),
    click.option("--tenant", "tenant_id", metavar="ID", help="Only of this tenant."),
    click.option("--user", "user_id", metavar="ID", help="Only of this user."),
    click.option("--created-by", metavar="WHO", help="Only made by this person or program."),
    click.option("--key", "idempotency_key", metavar="KEY", help="Only the one with this idempotency key."),
    click.option("--concurrency-key", metavar="KEY", help="Only with this concurrency key."),
    click.option("--parent", "parent_id", type=TASK_ID, help="Only children of this task."),
    click.option("--depends-on", type=TASK_ID, help="Only what waits, or waited, for this task."),
    click.option("--worker", "locked_by", metavar="ID", help="Only held by this worker."),
    click.option("--enabled/--paused", default=None, help="Only enabled tasks, or only disabled ones."),
    click.option("--name", metavar="TEXT", help="Only with this text in the name."),
    click.option("--search", metavar="TEXT", help="Only with this text in the payload."),
    click.option("--payload", metavar="JSON", help="Only with a payload that contains this JSON object."),
    click.option("--error", metavar="TEXT", help="Only with this text in the last error."),
    *_moments(),
)
filter_options = option_group(
    _which,
    click.option("--status", type=click.Choice(STATUSES), multiple=True, help="Only in this status; may be repeated."),
    _more,
)
dead_filter_options = option_group(_which, _more)
"""Those of the dead letters."""


def filters_of(given: Mapping[str, Any]) -> TaskFilters:
    """Return the filters that were given; a time without an offset is in UTC."""
    filters: dict[str, Any] = {}
    for name, value in given.items():
        if isinstance(value, tuple):
            value = list(value) or None
        elif isinstance(value, datetime):
            value = instant(value, None)
        if value is not None:
            filters[name] = value
    return cast(TaskFilters, filters)


def in_words(filters: TaskFilters) -> str:
    """Describe filters in the order of the options: ``queue mail, status dead``."""
    return ", ".join(f"{name.replace('_', ' ')} {_shown(value)}" for name, value in filters.items())


def _shown(value: object) -> str:
    return " or ".join(map(str, value)) if isinstance(value, list) else str(value)
