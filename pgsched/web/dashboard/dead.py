"""Dead letters: the list, and retry or delete for all that a filter finds."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.responses import Response

from pgsched.domain.errors import InvalidTask
from pgsched.web.auth.access import Actor, Operator, Viewer
from pgsched.web.dashboard.forms import Form, Text, given, moment, optional_number
from pgsched.web.dashboard.shown import cut, done, link, show
from pgsched.web.services.changes import change_dead

PER_PAGE = 50

router = APIRouter()


@router.get("/dead")
async def dead(actor: Viewer, died: Text = "", before: Text = "") -> Response:
    """Show the tasks that died last."""
    fields, last_id = given(actor.request.query_params, "queue", "task_type"), optional_number("before", before)
    found = await actor.client.dead(
        queue=fields.get("queue"),
        task_type=fields.get("task_type"),
        limit=PER_PAGE + 1,
        before=(moment("died", died), last_id) if died and last_id is not None else None,
    )
    page, last = cut(list(found), PER_PAGE)
    counts = (await actor.state.surveys.get()).dead
    return show(
        actor,
        "dead.html",
        at="dead",
        fields=fields,
        tasks=page,
        following=last and link(actor, "/dead", {**fields, "died": last.died_at, "before": last.id}),
        total=sum(counts.values()),
    )


@router.post("/dead/{verb}")
async def change(actor: Operator, verb: str, form: Form) -> Response:
    """Retry or delete the dead letters that fit; without ``confirmed`` ask first."""
    if verb not in ("retry", "purge"):
        raise HTTPException(404, "there is no such page")
    fields = given(form, "queue", "task_type")
    if form.get("confirmed") != "yes":
        return await _ask(actor, verb, fields, form)
    try:
        age = given(form, "older_than") if verb == "purge" else {}
        number = await change_dead(actor, verb, **fields, **age, all=True)
    except InvalidTask as error:
        return await _ask(actor, verb, fields, form, problem=str(error))
    return done(actor, "/dead", f"{verb}_dead", number)


async def _ask(
    actor: Actor, verb: str, fields: dict[str, str], form: dict[str, str], *, problem: str | None = None
) -> Response:
    """Say how many dead letters fit, and ask whether to go on."""
    wanted: Any = {name: [text] for name, text in fields.items()}
    action = "retry" if verb == "retry" else "delete"
    tried = await actor.client.change_tasks(action, dry_run=True, status=["dead"], **wanted)
    context = {"verb": verb, "fields": fields, "typed": form, "tried": tried}
    return show(actor, "dead_confirm.html", at="dead", problem=problem, **context)
