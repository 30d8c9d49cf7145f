"""Dead letters: the list, and retry or delete for all that a filter finds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.responses import Response

from pgsched.domain.errors import InvalidTask
from pgsched.domain.records import Task
from pgsched.domain.task_filters import SCHEDULE_TYPES, TaskFilters
from pgsched.web.auth.access import Actor, Operator, Viewer
from pgsched.web.dashboard.forms import Form, Text, given, moment, optional_number
from pgsched.web.dashboard.shown import cut, done, link, show
from pgsched.web.dashboard.tasks import FIELDS as TASK_FIELDS
from pgsched.web.dashboard.tasks import filters_of
from pgsched.web.services.changes import change_dead, change_tasks

PER_PAGE = 50
FIELDS = tuple(name for name in TASK_FIELDS if name != "status")
"""The filters that the page has a field for: those of the list of tasks."""
IN_BATCHES = {"queue", "task_type"}
"""Filters for which all dead letters are changed in batches, and by their age."""

router = APIRouter()


@router.get("/dead")
async def dead(actor: Viewer, died: Text = "", before: Text = "") -> Response:
    """Show the tasks that died last."""
    fields, problem = given(actor.request.query_params, *FIELDS), None
    found: list[Task] = []
    try:
        last_id = optional_number("before", before)
        place = (moment("died", died), last_id) if died and last_id is not None else None
        found = list(await actor.client.dead(limit=PER_PAGE + 1, before=place, **filters_of(actor, fields)))
    except InvalidTask as error:
        problem = str(error)
    page, last = cut(found, PER_PAGE)
    counts = (await actor.state.surveys.get()).dead
    return show(
        actor,
        "dead.html",
        at="dead",
        problem=problem,
        fields=fields,
        tasks=page,
        following=last and link(actor, "/dead", {**fields, "died": last.died_at, "before": last.id}),
        total=sum(counts.values()),
        schedule_types=SCHEDULE_TYPES,
    )


@router.post("/dead/{verb}")
async def change(actor: Operator, verb: str, form: Form) -> Response:
    """Retry or delete the dead letters that fit; without ``confirmed`` ask first."""
    if verb not in ("retry", "purge"):
        raise HTTPException(404, "there is no such page")
    fields = given(form, *FIELDS)
    if form.get("confirmed") != "yes":
        return await _ask(actor, verb, fields, form)
    try:
        if fields.keys() <= IN_BATCHES:
            age = given(form, "older_than") if verb == "purge" else {}
            number = await change_dead(actor, verb, **fields, **age, all=True)
        else:
            number = await _change(actor, verb, _dead_of(actor, fields))
    except InvalidTask as error:
        return await _ask(actor, verb, fields, form, problem=str(error))
    return done(actor, "/dead", f"{verb}_dead", number)


async def _change(actor: Actor, verb: str, filters: TaskFilters) -> int:
    number, before = 0, None
    while True:
        changed = await change_tasks(actor, _action(verb), filters, before_id=before)
        number, before = number + len(changed.changed), changed.next_before
        if before is None:
            return number


async def _ask(
    actor: Actor, verb: str, fields: dict[str, str], form: dict[str, str], *, problem: str | None = None
) -> Response:
    """Say how many dead letters fit, and ask whether to go on."""
    tried = await actor.client.change_tasks(_action(verb), dry_run=True, **_dead_of(actor, fields))
    shown = {"queue": "any", "task_type": "any"} | fields
    by_age = fields.keys() <= IN_BATCHES
    context: dict[str, Any] = {
        "verb": verb,
        "fields": fields,
        "shown": shown,
        "typed": form,
        "tried": tried,
        "by_age": by_age,
    }
    return show(actor, "dead_confirm.html", at="dead", problem=problem, **context)


def _action(verb: str) -> str:
    return "retry" if verb == "retry" else "delete"


def _dead_of(actor: Actor, fields: Mapping[str, str]) -> TaskFilters:
    return TaskFilters(**{**filters_of(actor, fields), "status": ["dead"]})
