"""Calendars as the REST API and the dashboard change them, each change noted."""

from __future__ import annotations

from collections.abc import Iterable

from pgsched.client.async_client import AsyncClient
from pgsched.db.calendar_commands import list_calendars
from pgsched.domain.scheduling.calendars import Calendar
from pgsched.web.services.audit import Change


async def find_calendar(client: AsyncClient, name: str) -> Calendar | None:
    """Return a calendar; None when there is none of this name. Raises InvalidTask for a name that none may have."""
    found = await client.database.run(list_calendars(name))
    return found[0] if found else None


async def set_calendar(change: Change, name: str, days: Iterable[str]) -> tuple[str, Calendar]:
    """Make a calendar or replace its days; return which, and the calendar as it is. Raises InvalidTask."""
    change.before = _noted(await find_calendar(change.client, name))
    outcome = await change.client.set_calendar(name, days)
    (now,) = await change.client.database.run(list_calendars(name))
    change.after = _noted(now)
    change.nothing = change.before == change.after
    return outcome, now


async def delete_calendar(change: Change, name: str) -> None:
    """Delete a calendar. Raises CalendarNotFound, and TransitionRefused while a cron expression names it."""
    change.before = _noted(await find_calendar(change.client, name))
    await change.client.delete_calendar(name)


def _noted(one: Calendar | None) -> dict[str, list[str]] | None:
    return None if one is None else {"days": one.days}
