"""``pgsched settings``: what holds for queues that say nothing else, and for the history."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, cast

import click

from pgsched.cli.options import json_option
from pgsched.cli.output import fields as lines
from pgsched.cli.output import say, say_json
from pgsched.cli.retention_options import (
    age,
    chosen,
    clear_option,
    confirm_change,
    retention_in_words,
    retention_options,
)
from pgsched.cli.session import Session
from pgsched.db.settings_commands import RETENTION, SettingsOptions, set_settings
from pgsched.domain.interval import Interval
from pgsched.domain.records import Settings

CLEARABLE = (*(name for name in RETENTION if name != "archive"), "history_retention")
NOTHING = "nothing is deleted"


@click.group()
def settings() -> None:
    """Show and change how long finished tasks and the history are kept, where a queue says nothing else."""


@settings.command()
@json_option
@click.pass_obj
def show(session: Session, as_json: bool) -> None:
    """Show the settings."""
    with session.client() as client:
        found = client.settings()
    if as_json:
        say_json(found.as_dict())
    else:
        say(lines([(field.name, _shown(getattr(found, field.name))) for field in fields(Settings)]))


@settings.command("set")
@retention_options
@click.option("--history-retention", metavar="DURATION", help="Drop days of the history that ended longer ago, as 30d.")
@clear_option(CLEARABLE)
@click.pass_obj
def set_(session: Session, /, clear: tuple[str, ...], yes: bool, allow_short: bool, **given: Any) -> None:
    """Change the settings; what is left out stays as it is."""
    options = cast(SettingsOptions, chosen(given, clear))
    if not options:
        raise click.UsageError("nothing to set: give an option, as --retention or --history-retention")
    options["allow_short"] = allow_short
    with session.client() as client:
        confirm_change(client.database.address(), options, set_settings(options), yes=yes)
        client.set_settings(**options)
        now = client.settings()
    say(retention_in_words(now) or NOTHING)


def _shown(value: object) -> object:
    return age(value) if isinstance(value, Interval) else value
