"""Calendars: days that many cron expressions leave out by name, as ``except=@holidays``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from functools import partial

from pgsched.domain.errors import InvalidTask
from pgsched.domain.records import Record
from pgsched.domain.scheduling.cron_options import CALENDAR, is_day

MAX_DAYS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Calendar(Record):
    """Days that cron expressions leave out by a name."""

    name: str
    """What expressions call it, after an ``@``."""
    days: list[str]
    """As ``12-25``, of every year, and ``2030-04-19``."""
    schedules: int
    """So many schedules name it, in whatever status; while there are any it cannot be deleted."""


def checked_name(name: str) -> str:
    """Return a name that a calendar may have. Raises InvalidTask."""
    if not isinstance(name, str) or not CALENDAR.fullmatch(name):
        rule = "must be a lower-case letter and up to 62 more letters, digits, _ or -"
        raise InvalidTask(rule, field="name", subject="name of a calendar", value=str(name))
    return name


def checked_days(name: str, days: Iterable[str | date]) -> list[str]:
    """Return the days of a calendar in order, each once. Raises InvalidTask, naming calendar, day and rule."""
    refused = partial(InvalidTask, field="days", subject=f"days of calendar {name}")
    if isinstance(days, str):
        raise refused("must be a list", value=days)
    found = {day.isoformat() if isinstance(day, date) else day for day in days}
    for day in found:
        if not isinstance(day, str) or not is_day(day):
            raise refused("must be as 12-25 or 2030-04-19", value=str(day))
    if len(found) > MAX_DAYS:
        raise refused(f"must be at most {MAX_DAYS}", value=len(found))
    return sorted(found)
