"""Changes to calendars, each with its entry in the audit log."""

from __future__ import annotations

from collections.abc import Iterable

from pgsched.client.async_client import AsyncClient
from pgsched.db.queries.schedules import list_calendars
from pgsched.domain.scheduling.calendars import Calendar
from pgsched.web.auth.access import Actor
from pgsched.web.services.audit import Change, audited


async def find_calendar(client: AsyncClient, name: str) -> Calendar | None:
    """Return a calendar; None when there is none of this name. Raises InvalidTask for a name that none may have."""
    found = await client.database.run(list_calendars(name))
    return found[0] if found else None


async def set_calendar(actor: Actor, name: str, days: Iterable[str]) -> tuple[Calendar, Change]:
    """Make a calendar or replace its days; return it as it is, and what was changed. Raises InvalidTask."""
    async with audited(actor, "calendar.set", target=name) as change:
        change.before = _noted(await find_calendar(change.client, name))
        await change.client.set_calendar(name, days)
        (now,) = await change.client.database.run(list_calendars(name))
        change.after = _noted(now)
        change.nothing = change.before == change.after
    return now, change


async def delete_calendar(actor: Actor, name: str) -> None:
    """Delete a calendar. Raises CalendarNotFound, and TransitionRefused while a cron expression names it."""
    async with audited(actor, "calendar.delete", target=name) as change:
        change.before = _noted(await find_calendar(change.client, name))
        await change.client.delete_calendar(name)


def _noted(one: Calendar | None) -> dict[str, list[str]] | None:
    return None if one is None else {"days": one.days}
