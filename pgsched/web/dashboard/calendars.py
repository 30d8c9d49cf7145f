"""Calendars: the list, a form for the days of one, and the button that deletes it."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from pgsched.domain.errors import InvalidTask
from pgsched.web.auth.access import Actor, Operator, Viewer
from pgsched.web.dashboard.forms import Form
from pgsched.web.dashboard.shown import client_of, done, show
from pgsched.web.dashboard.surveys import surveys_of
from pgsched.web.services import calendars
from pgsched.web.services.audit import audited

router = APIRouter()


@router.get("/calendars")
async def list_(request: Request, actor: Viewer) -> Response:
    """Show every calendar."""
    found = await client_of(request).calendars()
    return show(request, actor, "calendars.html", at="schedules", calendars=found)


@router.get("/calendars/edit")
async def edit(request: Request, actor: Operator) -> Response:
    """Show the days of a calendar, which need not be there yet, as a form."""
    name = request.query_params.get("name", "").strip()
    found = await calendars.find_calendar(client_of(request), name)
    return _form(request, actor, name, "" if found is None else "\n".join(found.days), None)


@router.post("/calendars/edit")
async def save(request: Request, actor: Operator, form: Form) -> Response:
    """Make a calendar or replace its days."""
    name, days = form.get("name", ""), form.get("days", "")
    try:
        async with audited(request, actor, "calendar.set", target=name) as change:
            await calendars.set_calendar(change, name, days.replace(",", " ").split())
    except InvalidTask as error:
        return _form(request, actor, name, days, str(error))
    surveys_of(request).forget()
    return done(request, "/calendars", "" if change.nothing else "calendar")


@router.post("/calendars/delete")
async def delete(request: Request, actor: Operator, form: Form) -> Response:
    """Delete a calendar that no schedule names."""
    name = form.get("name", "")
    async with audited(request, actor, "calendar.delete", target=name) as change:
        await calendars.delete_calendar(change, name)
    return done(request, "/calendars", "calendar_delete")


def _form(request: Request, actor: Actor, name: str, days: str, problem: str | None) -> Response:
    return show(
        request,
        actor,
        "calendar_form.html",
        at="schedules",
        status=422 if problem else 200,
        name=name,
        days=days,
        problem=problem,
    )
