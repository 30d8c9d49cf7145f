"""``pgsched calendar``: days that cron expressions leave out by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from pgsched.cli.options import confirm, name_argument, yes_option
from pgsched.cli.output import count, say
from pgsched.cli.session import lists, pass_client

if TYPE_CHECKING:
    from pgsched.client.client import Client
    from pgsched.domain.scheduling.calendars import Calendar


@click.group()
def calendar() -> None:
    """List, set and delete calendars: days that cron expressions leave out, as except=@holidays."""


@calendar.command("list")
@lists({"CALENDAR": "name", "SCHEDULES": "schedules", "DAYS": lambda one: " ".join(one.days)}, empty="no calendars")
def list_(client: Client) -> list[Calendar]:
    """List the calendars, and how many schedules use each."""
    return client.calendars()


@calendar.command("set")
@name_argument
@click.argument("days", metavar="DAY...", nargs=-1, required=True)
@pass_client
def set_(client: Client, name: str, days: tuple[str, ...]) -> None:
    """Create a calendar or replace its days: 12-25 applies to every year, 2030-04-19 to one.

    Schedules that use it are replanned.
    """
    outcome = client.set_calendar(name, days)
    say(f"calendar {name}: {outcome}, {count(len(set(days)), 'day')}")


@calendar.command()
@name_argument
@yes_option
@pass_client
def delete(client: Client, name: str, yes: bool) -> None:
    """Delete a calendar that no cron expression uses."""
    confirm(f"Delete the calendar {name}?", yes=yes)
    client.delete_calendar(name)
    say(f"calendar {name}: deleted")
