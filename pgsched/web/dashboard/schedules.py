"""Schedules: the list, the form, the preview before saving, and past ticks."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from starlette.responses import Response

from pgsched.db.queries.overviews import ScheduleRow, list_schedules
from pgsched.domain.errors import InvalidTask, TransitionRefused
from pgsched.domain.pages import read_cursor, write_cursor
from pgsched.domain.planned_schedule import STATES
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
    unique_of,
    whole_number,
)
from pgsched.web.dashboard.payloads import insert_of, part_of, step, typed_payload
from pgsched.web.dashboard.payloads import noted as noted_faults
from pgsched.web.dashboard.routing import page_router
from pgsched.web.dashboard.shown import cut, done, link, show
from pgsched.web.dashboard.task import show_form
from pgsched.web.rendering import page
from pgsched.web.services.changes import backfill, create_task, number_to_run
from pgsched.web.services.schedules import is_stalled, preview_schedule

PER_PAGE = 50
TICKS = 5
BOUNDS = {"start": "Not before", "end": "Not after"}
MAX_TICKS = "100"
"""The initial values of the range form."""
TICKS_OF_RANGE = 1000
"""Maximum number of ticks of a range on the page."""

router = page_router()


@router.get("/schedules")
async def schedules(actor: Viewer, cursor: Text = "") -> Response:
    """Show the schedules, ordered by their next run."""
    fields = given(actor.request.query_params, "queue", "task_type", "search", "state")
    listed = await actor.client.database.run(
        list_schedules(
            queue=fields.get("queue"),
            task_type=fields.get("task_type"),
            search=fields.get("search"),
            state=fields.get("state"),
            after=read_cursor("schedules", cursor or None, datetime, int),
            limit=PER_PAGE + 1,
        )
    )
    found, last = cut(listed.rows, PER_PAGE)
    survey = await actor.state.surveys.get()
    stalled = {one.task.id for one in found if one.task.queue not in survey.paused and is_stalled(one.task, survey.now)}
    onwards = last and write_cursor("schedules", last.at, last.task.id)
    return show(
        actor,
        "schedules.html",
        at="schedules",
        fields=fields,
        schedules=[_row(one) for one in found],
        states=STATES,
        complete=listed.complete,
        stalled=stalled,
        following=onwards and link(actor, "/schedules", {**fields, "cursor": onwards}),
    )


@router.get("/schedules/new")
async def new(actor: Operator, task_type: Text = "", template: Text = "") -> Response:
    """Show an empty form; ``task_type`` adds the fields of its payload, ``template`` fills in those of that task."""
    fields = {"task_type": task_type, "payload": "{}", "mode": "fields"}
    part = await part_of(actor, task_type, fields)
    part.as_json = part.form is None
    if template:
        fields = await step(actor, part, fields | {"template": template})
    return show_form(actor, None, fields, None, part, handlers=await actor.client.handlers())


@router.post("/schedules/new")
async def create(actor: Operator, form: Form) -> Response:
    """Create a task: a one-time task, or a schedule."""
    task_type = form.get("task_type", "").strip()
    handlers = await actor.client.handlers()
    part = await part_of(actor, task_type, form)
    if form.get("look") == "yes":  # The button for browsers without scripts.
        return show_form(actor, None, form, None, part, await look(actor, form), handlers)
    try:
        if "step" in form or "template" in form:
            form = await step(actor, part, form)
            if form.get("step") == "sql":
                part.insert = await insert_of(
                    actor, task_type, await typed_payload(actor, part, form), options_of(form)
                )
            return show_form(actor, None, form, None, part, handlers=handlers)
        options = options_of(form)
        options["created_by"] = actor.name
        made = await create_task(
            actor,
            task_type,
            await typed_payload(actor, part, form),
            options,
            on_conflict=conflict_of(form),
            unique=unique_of(form),
        )
    except InvalidTask as error:
        return show_form(actor, None, form, noted_faults(part, error), part, handlers=handlers)
    except TransitionRefused as error:
        return show_form(actor, None, form, str(error), part, handlers=handlers)
    word = "create" if made.outcome == "created" else made.outcome
    return done(actor, f"/tasks/{made.task.id}", word, made.task.id)


@router.get("/schedules/preview")
async def preview(actor: Viewer) -> Response:
    """Return the next ticks for the content of a form, as a part of a page."""
    request = actor.request
    return page(request, "preview.html", preview=await look(actor, dict(request.query_params)))


def _row(row: ScheduleRow) -> dict[str, Any]:
    """Return a schedule with its state and its next run; None when there is none."""
    one = row.task
    stands = status_of(one, [], [], [], now=datetime.now(UTC))
    return {
        "task": one,
        "row": row,
        "schedule": stands.schedule,
        "next": noted(stands.next_runs[0], one.timezone) if stands.next_runs else None,
    }


async def look(actor: Actor, form: dict[str, str]) -> dict[str, Any]:
    """Return the preview of a schedule: in words and its next ticks, or its error."""
    cron, every = form.get("cron", "").strip(), form.get("every", "").strip()
    if not cron and not every:
        return {"problem": None, "words": "once", "notes": [], "ticks": [], "zone": ""}
    zone = form.get("timezone", "").strip() or "UTC"
    try:
        texts = given(form, *BOUNDS)
        bounds = {name: moment(name, texts[name], zone) if name in texts else None for name in BOUNDS}
        notes = [
            f"{BOUNDS[name]} {text}: this time occurs twice in {zone}, the first is used."
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
    """Show an empty form for a range of past ticks of a schedule."""
    return _range_form(actor, await actor.client.get(id), {"max_ticks": MAX_TICKS})


@router.post("/tasks/{id:int}/backfill")
async def run_range(actor: Operator, id: int, form: Form) -> Response:
    """Show what happens to each tick of the range; with ``confirmed`` run them."""
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
    context: dict[str, Any] = {"task": task, "fields": fields, "ticks": ticks, "shown": TICKS_OF_RANGE, "made": made}
    return show(actor, "backfill.html", at="schedules", problem=problem, **context)
