"""Calendars: the list, a form for the days of one, and the button that deletes it."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from pgsched.domain.errors import InvalidTask
from pgsched.web.auth.access import Actor, Operator, Viewer
from pgsched.web.dashboard.forms import Form, Text
from pgsched.web.dashboard.shown import done, show
from pgsched.web.services import changes

router = APIRouter()


@router.get("/calendars")
async def list_(actor: Viewer) -> Response:
    """Show every calendar."""
    return show(actor, "calendars.html", at="schedules", calendars=await actor.client.calendars())


@router.get("/calendars/edit")
async def edit(actor: Operator, name: Text = "") -> Response:
    """Show the days of a calendar, which need not be there yet, as a form."""
    found = await changes.find_calendar(actor.client, name)
    return _form(actor, name, "" if found is None else "\n".join(found.days), None)


@router.post("/calendars/edit")
async def save(actor: Operator, form: Form) -> Response:
    """Make a calendar or replace its days."""
    name, days = form.get("name", ""), form.get("days", "")
    try:
        _, change = await changes.set_calendar(actor, name, days.replace(",", " ").split())
    except InvalidTask as error:
        return _form(actor, name, days, str(error))
    return done(actor, "/calendars", "" if change.nothing else "calendar")


@router.post("/calendars/delete")
async def delete(actor: Operator, form: Form) -> Response:
    """Delete a calendar that no schedule names."""
    await changes.delete_calendar(actor, form.get("name", ""))
    return done(actor, "/calendars", "calendar_delete")


def _form(actor: Actor, name: str, days: str, problem: str | None) -> Response:
    return show(actor, "calendar_form.html", at="schedules", problem=problem, name=name, days=days)
