"""Schedules: the list, the form, and what a schedule will do before it is saved."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from pgsched.db import page_commands
from pgsched.domain.errors import InvalidTask
from pgsched.domain.records import Task
from pgsched.domain.scheduling.preview import Previewed, explain, noted, schedule_of, ticks_of
from pgsched.domain.task_status import status_of
from pgsched.web.auth.access import Actor, Operator, Viewer
from pgsched.web.dashboard.forms import Form, moment, optional_number, options_of, payload_of
from pgsched.web.dashboard.shown import client_of, done, link, run, show
from pgsched.web.dashboard.surveys import surveys_of
from pgsched.web.rendering import page
from pgsched.web.services.audit import audited

PER_PAGE = 50
TICKS = 5

router = APIRouter()


@router.get("/schedules")
async def schedules(request: Request, actor: Viewer) -> Response:
    """Show the schedules, the latest first."""
    asked = {name: request.query_params.get(name, "").strip() for name in ("queue", "search")}
    command = page_commands.list_schedules(
        queue=asked["queue"] or None,
        search=asked["search"] or None,
        before_id=optional_number("before", request.query_params.get("before")),
        limit=PER_PAGE + 1,
    )
    found = await run(request, command)
    following = None
    if len(found) > PER_PAGE:
        found = found[:PER_PAGE]
        following = link(request, "/schedules", {**asked, "before": found[-1].id})
    stalled = {one.id for one in (await surveys_of(request).get()).stalled}
    return show(
        request,
        actor,
        "schedules.html",
        at="schedules",
        fields=asked,
        schedules=[_row(one) for one in found],
        stalled=stalled,
        following=following,
    )


@router.get("/schedules/new")
async def new(request: Request, actor: Operator) -> Response:
    """Show an empty form."""
    return _form(request, actor, {"timezone": "UTC", "payload": "{}"}, None)


@router.post("/schedules/new")
async def create(request: Request, actor: Operator, form: Form) -> Response:
    """Create a task: one that runs once, or a schedule."""
    if form.get("look") == "yes":  # the button for those without scripts
        return _form(request, actor, form, None, await look(request, form))
    try:
        async with audited(request, actor, "task.create") as change:
            options = options_of(form)
            options["created_by"] = actor.name
            change.task_id = await change.client.schedule(
                form.get("task_type", "").strip(), payload_of(form), **options
            )
    except InvalidTask as error:
        return _form(request, actor, form, str(error))
    surveys_of(request).forget()
    return done(request, f"/tasks/{change.task_id}", "create", change.task_id)


@router.get("/schedules/preview")
async def preview(request: Request, _actor: Viewer) -> Response:
    """Return the next ticks of what a form holds, as a part of a page."""
    return page(request, "preview.html", preview=await look(request, dict(request.query_params)))


def _row(one: Task) -> dict[str, Any]:
    """A task with how it stands and its next run; None when there is none."""
    stands = status_of(one, [], [], [], now=datetime.now(UTC))
    return {
        "task": one,
        "schedule": stands.schedule,
        "next": noted(stands.next_runs[0], one.timezone) if stands.next_runs else None,
    }


async def look(request: Request, form: dict[str, str]) -> dict[str, Any]:
    """Return what a schedule will do: in words, its next ticks, or what is wrong with it."""
    cron, every = form.get("cron", "").strip(), form.get("every", "").strip()
    if not cron and not every:
        return {"problem": None, "words": "once", "ticks": [], "zone": ""}
    zone = form.get("timezone", "").strip() or "UTC"
    try:
        bounds = {name: moment(name, form[name]) if form.get(name, "").strip() else None for name in ("start", "end")}
        schedule = schedule_of(
            cron or None,
            every=every or None,
            timezone=zone,
            start=bounds["start"],
            end=bounds["end"],
            times=optional_number("times", form.get("times")),
            calendars=await client_of(request).calendar_days(cron or None),
        )
        ticks: list[Previewed] = ticks_of(schedule, after=datetime.now(UTC), n=TICKS)
        return {"problem": None, "words": explain(schedule), "ticks": ticks, "zone": zone}
    except InvalidTask as error:
        return {"problem": str(error), "words": "", "ticks": [], "zone": zone}


def _form(
    request: Request, actor: Actor, fields: dict[str, str], problem: str | None, preview: dict[str, Any] | None = None
) -> Response:
    nothing: Task | None = None
    return show(
        request,
        actor,
        "task_form.html",
        at="schedules",
        status=422 if problem else 200,
        task=nothing,
        fields=fields,
        problem=problem,
        schedule="new",
        preview=preview,
    )
