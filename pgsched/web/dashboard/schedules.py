"""Schedules: the list, the form, what a schedule will do before it is saved, and ticks that are past."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from pgsched.db.queries import dashboard
from pgsched.domain.errors import InvalidTask, TransitionRefused
from pgsched.domain.records import Task
from pgsched.domain.scheduled import BackfillTick
from pgsched.domain.scheduling.preview import noted
from pgsched.domain.task_status import status_of
from pgsched.web.auth.access import Actor, Operator, Viewer
from pgsched.web.dashboard.forms import (
    Form,
    Text,
    comes_twice,
    conflict_of,
    given,
    moment,
    optional_number,
    options_of,
    payload_of,
    unique_of,
    whole_number,
)
from pgsched.web.dashboard.shown import cut, done, link, show
from pgsched.web.dashboard.task import show_form
from pgsched.web.rendering import page
from pgsched.web.services.changes import backfill, create_task, number_to_run
from pgsched.web.services.schedules import is_stalled, preview_schedule

PER_PAGE = 50
TICKS = 5
BOUNDS = {"start": "Not before", "end": "Not after"}
MAX_TICKS = "100"
"""What the form of a range begins with."""
TICKS_OF_RANGE = 1000
"""So many ticks of a range are on the page."""

router = APIRouter()


@router.get("/schedules")
async def schedules(actor: Viewer, before: Text = "") -> Response:
    """Show the schedules, the latest first."""
    fields = given(actor.request.query_params, "queue", "search")
    command = dashboard.list_schedules(
        queue=fields.get("queue"),
        search=fields.get("search"),
        before_id=optional_number("before", before),
        limit=PER_PAGE + 1,
    )
    found, last = cut(await actor.client.database.run(command), PER_PAGE)
    survey = await actor.state.surveys.get()
    return show(
        actor,
        "schedules.html",
        at="schedules",
        fields=fields,
        schedules=[_row(one) for one in found],
        stalled={one.id for one in found if one.queue not in survey.paused and is_stalled(one, survey.now)},
        following=last and link(actor, "/schedules", {**fields, "before": last.id}),
    )


@router.get("/schedules/new")
async def new(actor: Operator, task_type: Text = "") -> Response:
    """Show an empty form; with ``task_type`` the payload has the keys that its handler requires."""
    handlers = await actor.client.handlers()
    fields = {"task_type": task_type, "payload": "{}"}
    for handler in handlers:
        if handler.task_type == task_type and handler.payload_schema is not None:
            required = dict.fromkeys(handler.payload_schema.get("required", ()))
            fields["payload"] = json.dumps(required, indent=2, ensure_ascii=False)
    return show_form(actor, None, fields, None, handlers=handlers)


@router.post("/schedules/new")
async def create(actor: Operator, form: Form) -> Response:
    """Create a task: one that runs once, or a schedule."""
    if form.get("look") == "yes":  # the button for those without scripts
        return show_form(actor, None, form, None, await look(actor, form), await actor.client.handlers())
    try:
        options = options_of(form)
        options["created_by"] = actor.name
        made = await create_task(
            actor,
            form.get("task_type", "").strip(),
            payload_of(form),
            options,
            on_conflict=conflict_of(form),
            unique=unique_of(form),
        )
    except (InvalidTask, TransitionRefused) as error:
        return show_form(actor, None, form, str(error), handlers=await actor.client.handlers())
    word = "create" if made.outcome == "created" else made.outcome
    return done(actor, f"/tasks/{made.task.id}", word, made.task.id)


@router.get("/schedules/preview")
async def preview(actor: Viewer) -> Response:
    """Return the next ticks of what a form holds, as a part of a page."""
    request = actor.request
    return page(request, "preview.html", preview=await look(actor, dict(request.query_params)))


def _row(one: Task) -> dict[str, Any]:
    """A task with how it stands and its next run; None when there is none."""
    stands = status_of(one, [], [], [], now=datetime.now(UTC))
    return {
        "task": one,
        "schedule": stands.schedule,
        "next": noted(stands.next_runs[0], one.timezone) if stands.next_runs else None,
    }


async def look(actor: Actor, form: dict[str, str]) -> dict[str, Any]:
    """Return what a schedule will do: in words, its next ticks, or what is wrong with it."""
    cron, every = form.get("cron", "").strip(), form.get("every", "").strip()
    if not cron and not every:
        return {"problem": None, "words": "once", "notes": [], "ticks": [], "zone": ""}
    zone = form.get("timezone", "").strip() or "UTC"
    try:
        texts = given(form, *BOUNDS)
        bounds = {name: moment(name, texts[name], zone) if name in texts else None for name in BOUNDS}
        notes = [
            f"{BOUNDS[name]} {text}: this time comes twice in {zone}, the first is meant."
            for name, text in texts.items()
            if comes_twice(text, zone)
        ]
        times = optional_number("times", form.get("times"))
        found = await preview_schedule(
            actor.client, cron or None, n=TICKS, every=every or None, timezone=zone, times=times, **bounds
        )
        return {"problem": None, "words": found.words, "notes": notes, "ticks": found.ticks, "zone": zone}
    except InvalidTask as error:
        return {"problem": str(error), "words": "", "notes": [], "ticks": [], "zone": zone}


@router.get("/tasks/{id:int}/backfill")
async def ask_range(actor: Operator, id: int) -> Response:
    """Show an empty form for the ticks of a schedule in a range that is past."""
    return _range_form(actor, await actor.client.get(id), {"max_ticks": MAX_TICKS})


@router.post("/tasks/{id:int}/backfill")
async def run_range(actor: Operator, id: int, form: Form) -> Response:
    """Show what becomes of each tick of the range; with ``confirmed`` run them."""
    task = await actor.client.get(id)
    confirmed = form.get("confirmed") == "yes"
    try:
        since, until = (moment(name, form.get(name, "").strip(), task.timezone) for name in ("from", "to"))
        most = whole_number("max_ticks", form.get("max_ticks", "").strip() or MAX_TICKS)
        ticks = await backfill(actor, id, since, until, max_ticks=most, dry_run=not confirmed)
    except InvalidTask as error:
        return _range_form(actor, task, form, problem=str(error))
    if not confirmed:
        return _range_form(actor, task, form, ticks=ticks)
    return done(actor, f"/tasks/{id}", "backfill", number_to_run(ticks))


def _range_form(
    actor: Actor,
    task: Task,
    fields: dict[str, str],
    *,
    ticks: Sequence[BackfillTick] | None = None,
    problem: str | None = None,
) -> Response:
    made = number_to_run(ticks or ())
    context = {"task": task, "fields": fields, "ticks": ticks, "shown": TICKS_OF_RANGE, "made": made}
    return show(actor, "backfill.html", at="schedules", problem=problem, **context)
