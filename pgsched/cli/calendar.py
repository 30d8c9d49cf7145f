"""``pgsched calendar``: named sets of days that cron expressions can exclude."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from pgsched.cli.options import confirm, examples, name_argument, yes_option
from pgsched.cli.output import count, say_done
from pgsched.cli.session import lists, pass_client

if TYPE_CHECKING:
    from pgsched.client.client import Client
    from pgsched.domain.scheduling.calendars import Calendar


@click.group()
def calendar() -> None:
    """Manage calendars: sets of days that cron expressions exclude.

    An expression names them as except=@holidays.
    """


@calendar.command("list")
@lists({"CALENDAR": "name", "SCHEDULES": "schedules", "DAYS": lambda one: " ".join(one.days)}, empty="no calendars")
def list_(client: Client) -> list[Calendar]:
    """List the calendars, their days and the number of schedules that use each."""
    return client.calendars()


@calendar.command("set", epilog=examples("pgsched calendar set holidays 12-25 12-26 2030-04-19"))
@name_argument
@click.argument("days", metavar="DAY...", nargs=-1, required=True)
@pass_client
def set_(client: Client, name: str, days: tuple[str, ...]) -> None:
    """Create a calendar or replace its days: 12-25 is a day of every year, 2030-04-19 of one.

    Schedules that use it are replanned.
    """
    outcome = client.set_calendar(name, days)
    say_done(f"calendar {name}: {outcome}, {count(len(set(days)), 'day')}")


@calendar.command()
@name_argument
@yes_option
@pass_client
def delete(client: Client, name: str, yes: bool) -> None:
    """Delete a calendar that no cron expression uses."""
    confirm(f"Delete the calendar {name}?", yes=yes)
    client.delete_calendar(name)
    say_done(f"calendar {name}: deleted")
