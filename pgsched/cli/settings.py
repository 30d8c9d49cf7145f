"""``pgsched settings``, and the options for how long finished tasks are kept, in one queue or in all of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import click

from pgsched.cli.options import Function, allow_short_option, confirm, examples, option_group, yes_option
from pgsched.cli.output import count, fields, say, say_done
from pgsched.cli.session import pass_client, shows
from pgsched.db.queries.settings import RETENTION, UNKNOWN_TYPES, SettingsOptions, set_settings
from pgsched.db.query import Command
from pgsched.domain.interval import Interval
from pgsched.domain.records import Pruned, QueueSettings, Settings
from pgsched.domain.retention_age import LEAVING, LONGEST
from pgsched.domain.validation import MAX_INTEGER
from pgsched.ops.prune import preview

if TYPE_CHECKING:
    from pgsched.client.client import Client

CLEARABLE = (*(name for name in RETENTION if name != "archive"), "history_retention")
archive_option = click.option(
    "--archive/--no-archive", default=None, help="Copy tasks to pgsched.archived_tasks before they are deleted."
)
retention_options = option_group(
    click.option(
        "--retention",
        metavar="DURATION",
        help="Delete completed and cancelled tasks that ended longer ago than this: 7d, 12h; forever: never. For a "
        "queue, 0: as soon as they are completed.",
    ),
    click.option(
        "--retention-count", metavar="N", help="Keep the latest N completed and cancelled tasks; forever: all."
    ),
    click.option(
        "--dead-retention", metavar="DURATION", help="Delete dead tasks that died longer ago than this; forever: never."
    ),
    click.option("--dead-retention-count", metavar="N", help="Keep the latest N dead tasks; forever: all."),
    archive_option,
    allow_short_option,
    yes_option,
)
"""How long finished tasks are kept."""


def clear_option(names: Sequence[str]) -> Callable[[Function], Function]:
    """``--clear``: unset these settings."""
    words = [name.replace("_", "-") for name in names]
    return click.option(
        "--clear",
        metavar="NAME",
        multiple=True,
        type=click.Choice(words),
        help=f"Unset a setting: {', '.join(words)}; may be repeated.",
    )


def chosen(given: dict[str, Any], clear: Sequence[str]) -> dict[str, Any]:
    """Return the given settings, and None for those to clear."""
    options = {name: value for name, value in given.items() if value is not None}
    for word in clear:
        name = word.replace("-", "_")
        if name in options:
            raise click.UsageError(f"Give either --{word} or --clear {word}.", click.get_current_context())
        options[name] = None
    return options


def retention_in_words(settings: QueueSettings | Settings) -> str:
    """Describe the settings: ``keeps finished tasks for 7d; archives what is deleted``; empty if none is set."""
    leaving = settings.retention == LEAVING
    kept = [
        "" if leaving else _age("finished tasks", settings.retention),
        _number("finished", settings.retention_count),
        _age("dead tasks", settings.dead_retention),
        _number("dead", settings.dead_retention_count),
    ]
    words = ", ".join(filter(None, kept))
    parts = ["deletes tasks when they are completed" if leaving else "", f"keeps {words}" if words else ""]
    if settings.archive is not None and (settings.archive or isinstance(settings, QueueSettings)):
        parts.append("archives what is deleted" if settings.archive else "archives nothing")
    if isinstance(settings, Settings) and settings.history_retention is not None:
        parts.append(f"keeps the history for {age(settings.history_retention)}")
    return "; ".join(filter(None, parts))


def age(interval: Interval) -> str:
    """Describe an age."""
    return "ever" if interval == LONGEST else interval.to_short_text()


def confirm_change(dsn: str, options: Mapping[str, Any], change: Command[None], *, yes: bool) -> None:
    """Ask before changing settings if the next run would delete something because of it."""
    if yes or not set(options) & {*RETENTION, "history_retention"}:
        return
    found = preview(dsn, change)
    if goes(found):
        confirm(f"Workers would delete {in_words(found)} immediately. Change the settings?", yes=False)


def goes(found: Pruned) -> bool:
    """Whether anything would be deleted; True also if the preview ran out of time."""
    tasks = any(one.completed or one.cancelled or one.dead for one in found.queues)
    return bool(tasks or found.history or found.history_rows or not found.complete)


def in_words(found: Pruned) -> str:
    """Describe what is deleted: ``120 completed, 3 dead tasks and 2 partitions of the history``."""
    kinds = ("completed", "cancelled", "dead")
    numbers = [(sum(getattr(queue, kind) for queue in found.queues), kind) for kind in kinds]
    named = [f"{number:,} {kind}" for number, kind in numbers if number]
    total = sum(number for number, _kind in numbers)
    parts = [f"{', '.join(named)} task{'' if total == 1 else 's'}"] if named else []
    if found.history:
        parts.append(f"{count(len(found.history), 'partition')} of the history")
    words = " and ".join(parts) or "finished tasks or old history"
    return words if found.complete or not parts else f"at least {words}"


def _age(what: str, interval: Interval | None) -> str:
    return "" if interval is None else f"{what} for {age(interval)}"


def _number(what: str, number: int | None) -> str:
    if number is None:
        return ""
    return f"all {what} tasks" if number == MAX_INTEGER else f"at most {number} {what} task{'' if number == 1 else 's'}"


@click.group()
def settings() -> None:
    """Show and change how long tasks and the history are kept.

    The settings apply to finished tasks of all queues that have no settings of their own.
    """


def _say(settings: Settings) -> None:
    values = [(field.name, getattr(settings, field.name)) for field in dataclasses.fields(settings)]
    say(fields((name, age(value) if isinstance(value, Interval) else value) for name, value in values))


@settings.command()
@shows(_say)
def show(client: Client) -> Settings:
    """Show the settings."""
    return client.settings()


@settings.command("set", epilog=examples("pgsched settings set --retention 30d --history-retention 90d"))
@retention_options
@click.option(
    "--history-retention", metavar="DURATION", help="Drop days of history that ended longer ago than this: 30d."
)
@click.option(
    "--unknown-types", type=click.Choice(UNKNOWN_TYPES), help="What to do with tasks of a type that is not registered."
)
@clear_option(CLEARABLE)
@pass_client
def set_(client: Client, /, clear: tuple[str, ...], yes: bool, allow_short: bool, **given: Any) -> None:
    """Change the given settings, and no others."""
    options = cast(SettingsOptions, chosen(given, clear))
    if not options:
        raise click.UsageError(
            "Give at least one setting, as --retention or --history-retention.", click.get_current_context()
        )
    options["allow_short"] = allow_short
    confirm_change(client.database.address(), options, set_settings(options), yes=yes)
    client.set_settings(**options)
    now = client.settings()
    said = [] if now.unknown_types == "tell" else [f"unknown types: {now.unknown_types}"]
    say_done("; ".join([retention_in_words(now) or "nothing is deleted", *said]))
