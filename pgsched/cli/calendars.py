"""``pgsched calendar``: days that cron expressions leave out by name."""

from __future__ import annotations

import click

from pgsched.cli.options import confirm, json_option, yes_option
from pgsched.cli.output import count, say, say_rows
from pgsched.cli.session import Session


@click.group()
def calendar() -> None:
    """List, set and delete calendars: days that cron expressions leave out, as except=@holidays."""


@calendar.command("list")
@json_option
@click.pass_obj
def list_(session: Session, as_json: bool) -> None:
    """List the calendars, and how many schedules name each."""
    with session.client() as client:
        found = client.calendars()
    say_rows(
        found,
        ("CALENDAR", "SCHEDULES", "DAYS"),
        [(one.name, one.schedules, " ".join(one.days)) for one in found],
        as_json=as_json,
        empty="no calendars",
    )


@calendar.command("set")
@click.argument("name")
@click.argument("days", metavar="DAY...", nargs=-1, required=True)
@click.pass_obj
def set_(session: Session, name: str, days: tuple[str, ...]) -> None:
    """Make a calendar or replace its days: 12-25 is of every year, 2030-04-19 of one.

    Schedules that name it are planned afresh.
    """
    with session.client() as client:
        outcome = client.set_calendar(name, days)
    say(f"calendar {name}: {outcome}, {count(len(set(days)), 'day')}")


@calendar.command()
@click.argument("name")
@yes_option
@click.pass_obj
def delete(session: Session, name: str, yes: bool) -> None:
    """Delete a calendar that no cron expression names."""
    confirm(f"Delete the calendar {name}?", yes=yes)
    with session.client() as client:
        client.delete_calendar(name)
    say(f"calendar {name}: deleted")
