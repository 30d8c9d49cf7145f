"""The filters of tasks, for lists and for changes to many tasks, as options."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final, cast

import click

from pgsched.cli.names import completes
from pgsched.cli.options import TASK_ID, option_group
from pgsched.cli.times import instant, read_past
from pgsched.domain.task_filters import SCHEDULE_TYPES, STATUSES, TaskFilters

_MOMENTS: Final = {
    "created": "created",
    "due": "next due",
    "started": "last claimed",
    "ended": "completed, cancelled or dead",
}


_WHEN: Final = {"after": "at this time or later", "before": "before this time"}
_SHORT: Final = {"after": "since", "before": "until"}


def _moments(*, is_short_created: bool) -> tuple[Callable[[Any], Any], ...]:
    """Return the options for times; ``--since`` and ``--until`` are short for those of the creation or not."""
    return tuple(
        click.option(
            f"--{name}-{when}",
            *((f"--{_SHORT[when]}",) if name == "created" and is_short_created else ()),
            metavar="TIME",
            callback=read_past,
            help=f"Only {what} {_WHEN[when]}: ISO 8601 (UTC), or 2h for two hours ago.",
        )
        for name, what in _MOMENTS.items()
        for when in ("after", "before")
    )


_which = option_group(
    click.option(
        "--where",
        "query",
        metavar="TERMS",
        help="Only tasks that match all terms, as 'type:bill payload.order = 50123 \"no luck\"'; see docs/search.md.",
    ),
    click.option("--id", "ids", type=TASK_ID, multiple=True, help="Only these tasks; may be repeated."),
    click.option(
        "--queue",
        metavar="NAME",
        multiple=True,
        shell_complete=completes("queue"),
        help="Only of this queue; may be repeated.",
    ),
    click.option(
        "--type",
        "task_type",
        metavar="TYPE",
        multiple=True,
        shell_complete=completes("type"),
        help="Only of this task type; may be repeated.",
    ),
)
_more = option_group(
    click.option(
        "--schedule-type", type=click.Choice(SCHEDULE_TYPES), multiple=True, help="Only with a schedule of this kind."
    ),
    click.option(
        "--priority", type=click.IntRange(1, 10), multiple=True, help="Only of this priority; may be repeated."
    ),
    click.option("--tag", help="Only with this tag."),
    click.option("--tenant", "tenant_id", metavar="ID", help="Only of this tenant."),
    click.option("--user", "user_id", metavar="ID", help="Only of this user."),
    click.option("--created-by", metavar="WHO", help="Only created by this person or program."),
    click.option("--key", "idempotency_key", metavar="KEY", help="Only the one with this idempotency key."),
    click.option("--concurrency-key", metavar="KEY", help="Only with this concurrency key."),
    click.option("--parent", "parent_id", type=TASK_ID, help="Only children of this task."),
    click.option("--depends-on", type=TASK_ID, help="Only tasks that wait, or waited, for this one."),
    click.option("--worker", "locked_by", metavar="ID", help="Only held by this worker."),
    click.option("--enabled/--paused", default=None, help="Only enabled tasks, or only disabled ones."),
    click.option("--name", metavar="TEXT", help="Only with this text in the name."),
    click.option("--search", metavar="TEXT", help="Only with this text in the payload."),
    click.option("--payload", metavar="JSON", help="Only with a payload that contains this JSON object."),
    click.option("--error", metavar="TEXT", help="Only with this text in the last error."),
)
filter_options = option_group(
    _which,
    click.option("--status", type=click.Choice(STATUSES), multiple=True, help="Only in this status; may be repeated."),
    _more,
    *_moments(is_short_created=True),
)
schedule_filter_options = filter_options
"""The filters of schedules: those of tasks."""
dead_filter_options = option_group(_which, _more, *_moments(is_short_created=False))
"""The filters of dead tasks, which have no status to choose."""


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
