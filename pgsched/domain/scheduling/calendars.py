"""Calendars: named sets of dates that cron expressions exclude, as in ``except=@holidays``."""

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
    """A named set of dates that cron expressions can exclude."""

    name: str
    """The name that expressions use after an ``@``."""
    days: list[str]
    """Dates of every year, such as ``12-25``, or of one year, such as ``2030-04-19``."""
    schedules: int
    """Number of schedules of any status that use it; while there are any it cannot be deleted."""


def checked_name(name: str) -> str:
    """Return a valid name for a calendar. Raises InvalidTask."""
    if not isinstance(name, str) or not CALENDAR.fullmatch(name):
        rule = "must be a lower-case letter and up to 62 more letters, digits, _ or -"
        raise InvalidTask(rule, field="name", subject="name of a calendar", value=str(name))
    return name


def checked_days(name: str, days: Iterable[str | date]) -> list[str]:
    """Return the dates of a calendar in order, without duplicates. Raises InvalidTask."""
    refused = partial(InvalidTask, field="days", subject=f"days of calendar {name}")
    if isinstance(days, str):
        raise refused("must be a list", value=days)
    found = {day.isoformat() if isinstance(day, date) else day for day in days}
    for day in found:
        if not isinstance(day, str) or not is_day(day):
            raise refused("must look like 12-25 or 2030-04-19", value=str(day))
    if len(found) > MAX_DAYS:
        raise refused(f"must be at most {MAX_DAYS}", value=len(found))
    return sorted(found)
