"""What a client asks of the database about calendars. Pure, as :mod:`pgsched.db.queries`."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

from pgsched.db.query import Command, Rows, command, rows_as
from pgsched.domain.errors import CalendarNotFound
from pgsched.domain.scheduling.calendars import Calendar, checked_days, checked_name


def list_calendars(name: str | None = None) -> Command[list[Calendar]]:
    """Read every calendar, or the one of this name, with how many schedules name it."""
    params = {"name": None if name is None else checked_name(name)}
    return command("list_calendars", rows_as(Calendar), **params)


def find_days(names: Iterable[str]) -> Command[dict[str, list[str]]]:
    """Read the days of calendars; those that are not there are left out."""
    return command("find_days", lambda rows: {row["name"]: row["days"] for row in rows}, names=sorted(names))


def set_calendar(name: str, days: Iterable[str | date]) -> Command[str]:
    """Make a calendar, or replace its days; says which: ``created`` or ``replaced``."""
    params = {"name": checked_name(name), "days": checked_days(name, days)}
    return command("set_calendar", lambda rows: str(rows[0]["outcome"]), **params)


def delete_calendar(name: str) -> Command[None]:
    """Delete a calendar. Raises CalendarNotFound; the database refuses while a cron expression names it."""

    def parse(rows: Rows) -> None:
        if not rows[0]["changed"]:
            raise CalendarNotFound(f"calendar {name} does not exist")

    return command("delete_calendar", parse, name=checked_name(name))
