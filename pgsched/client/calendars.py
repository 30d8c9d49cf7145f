# Generated from async_calendars.py by `make sync`: change that file instead.
"""What clients do with calendars, and previews that know their days."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime
from typing import Unpack

from pgsched.db.database import Database
from pgsched.db.queries import schedules as schedule_commands
from pgsched.domain.scheduling.calendars import Calendar
from pgsched.domain.scheduling.preview import PreviewOptions, calendars_of, preview


class CalendarClient:
    """The part of :class:`pgsched.Client`."""

    _database: Database

    def calendars(self) -> list[Calendar]:
        """Return every calendar: its days, and how many schedules name it."""
        return self._database.run(schedule_commands.list_calendars())

    def set_calendar(self, name: str, days: Iterable[str | date]) -> str:
        """Make a calendar or replace its days, and return which: ``created`` or ``replaced``.

        Days are of every year, as ``"12-25"``, or of one, as ``"2030-04-19"`` or a date. The schedules that name it are
        planned afresh. Raises InvalidTask.
        """
        return self._database.run(schedule_commands.set_calendar(name, days))

    def delete_calendar(self, name: str) -> None:
        """Delete a calendar. Raises CalendarNotFound, and TransitionRefused while a cron expression names it."""
        self._database.run(schedule_commands.delete_calendar(name))

    def calendar_days(self, cron: str | None) -> dict[str, list[str]]:
        """Return the days of each calendar that a cron expression names; without any the database is not asked."""
        names = calendars_of(cron)
        return self._database.run(schedule_commands.find_days(names)) if names else {}

    def preview(self, cron: str | None = None, **options: Unpack[PreviewOptions]) -> list[datetime]:
        """Return the next ticks of a schedule as :func:`pgsched.preview` does, around the days of its calendars."""
        return preview(cron, calendars=self.calendar_days(cron), **options)
