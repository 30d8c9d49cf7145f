"""Calendars: the list, a form for the days of one, and the button that deletes it."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.responses import Response

from pgsched.domain.errors import InvalidTask, VersionConflict
from pgsched.domain.scheduling.calendars import Calendar
from pgsched.web.auth.access import Actor, Operator, Viewer
from pgsched.web.dashboard.edits import SEEN, TRIES, Conflict, EditConflict, merged_or_raise, seen_of
from pgsched.web.dashboard.forms import Form, Text
from pgsched.web.dashboard.routing import page_router
from pgsched.web.dashboard.shown import done, show
from pgsched.web.services import changes

router = page_router()


@router.get("/calendars")
async def list_(actor: Viewer) -> Response:
    """Show every calendar."""
    return show(actor, "calendars.html", at="schedules", calendars=await actor.client.calendars())


@router.get("/calendars/edit")
async def edit(actor: Operator, name: Text = "") -> Response:
    """Show the days of a calendar, which may not exist yet, as a form."""
    found = await changes.find_calendar(actor.client, name)
    days = _days(found)
    return _form(actor, name, days, None, seen=seen_of({"days": days}))


@router.post("/calendars/edit")
async def save(actor: Operator, form: Form) -> Response:
    """Create a calendar or replace its days."""
    name, days = form.get("name", ""), form.get("days", "")
    for tries_left in reversed(range(TRIES)):
        try:
            found = await changes.find_calendar(actor.client, name)
            if "days" not in merged_or_raise(form, {"days": _days(found)}) and found is not None:
                return done(actor, "/calendars", "")
            versions = (changes.version_of_calendar(found),)
            _, change = await changes.set_calendar(actor, name, days.replace(",", " ").split(), versions=versions)
        except InvalidTask as error:
            return _form(actor, name, days, str(error), seen=form.get(SEEN, ""))
        except EditConflict as error:
            return _form(actor, name, days, None, seen=seen_of(error.now), conflicts=error.merged.conflicts)
        except VersionConflict:
            if not tries_left:
                raise
        else:
            return done(actor, "/calendars", "" if change.nothing else "calendar")
    raise AssertionError("unreachable")


@router.post("/calendars/delete")
async def delete(actor: Operator, form: Form) -> Response:
    """Delete a calendar that no schedule uses."""
    await changes.delete_calendar(actor, form.get("name", ""))
    return done(actor, "/calendars", "calendar_delete")


def _days(one: Calendar | None) -> str:
    return "" if one is None else "\n".join(one.days)


def _form(
    actor: Actor, name: str, days: str, problem: str | None, *, seen: str, conflicts: Sequence[Conflict] = ()
) -> Response:
    context = {"name": name, "days": days, "seen": seen, "conflicts": conflicts, "changed_by": None}
    status = 409 if conflicts else None
    return show(actor, "calendar_form.html", at="schedules", problem=problem, status=status, **context)
