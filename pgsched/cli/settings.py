"""``pgsched settings``: retention defaults for queues without their own, and for the history."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, cast

import click

from pgsched.cli.options import json_option
from pgsched.cli.output import fields, say, say_record
from pgsched.cli.retention_options import (
    age,
    chosen,
    clear_option,
    confirm_change,
    retention_in_words,
    retention_options,
)
from pgsched.cli.session import pass_client
from pgsched.db.queries.settings import RETENTION, SettingsOptions, set_settings
from pgsched.domain.interval import Interval
from pgsched.domain.records import Settings

if TYPE_CHECKING:
    from pgsched.client.client import Client

CLEARABLE = (*(name for name in RETENTION if name != "archive"), "history_retention")


@click.group()
def settings() -> None:
    """Show and change how long finished tasks and the history are kept, unless a queue overrides it."""


@settings.command()
@json_option
@pass_client
def show(client: Client, as_json: bool) -> None:
    """Show the settings."""
    say_record(client.settings(), _say, as_json=as_json)


@settings.command("set")
@retention_options
@click.option("--history-retention", metavar="DURATION", help="Drop days of history that ended longer ago: 30d.")
@clear_option(CLEARABLE)
@pass_client
def set_(client: Client, /, clear: tuple[str, ...], yes: bool, allow_short: bool, **given: Any) -> None:
    """Change the given settings, and no others."""
    options = cast(SettingsOptions, chosen(given, clear))
    if not options:
        raise click.UsageError("nothing to set: give an option, as --retention or --history-retention")
    options["allow_short"] = allow_short
    confirm_change(client.database.address(), options, set_settings(options), yes=yes)
    client.set_settings(**options)
    say(retention_in_words(client.settings()) or "nothing is deleted")


def _say(settings: Settings) -> None:
    values = [(field.name, getattr(settings, field.name)) for field in dataclasses.fields(settings)]
    say(fields((name, age(value) if isinstance(value, Interval) else value) for name, value in values))
