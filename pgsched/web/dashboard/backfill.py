"""The ticks of a schedule in a range that is past: first shown, then run."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import APIRouter, Request
from starlette.responses import Response

from pgsched.domain.errors import InvalidTask
from pgsched.domain.records import Task, to_json_able
from pgsched.domain.scheduled import BackfillTick
from pgsched.web.auth.access import Actor, Operator
from pgsched.web.dashboard.forms import Form, moment, whole_number
from pgsched.web.dashboard.shown import client_of, done, show
from pgsched.web.dashboard.surveys import surveys_of
from pgsched.web.services.audit import audited

MAX_TICKS = "100"
SHOWN = 1000
"""So many ticks are on the page."""

router = APIRouter()


@router.get("/tasks/{id:int}/backfill")
async def ask(request: Request, actor: Operator, id: int) -> Response:
    """Show an empty form."""
    return _form(request, actor, await client_of(request).get(id), {"max_ticks": MAX_TICKS})


@router.post("/tasks/{id:int}/backfill")
async def backfill(request: Request, actor: Operator, id: int, form: Form) -> Response:
    """Show what becomes of each tick; with ``confirmed`` run them."""
    task = await client_of(request).get(id)
    confirmed = form.get("confirmed") == "yes"
    try:
        since, until = (moment(name, form.get(name, "").strip(), task.timezone) for name in ("from", "to"))
        most = whole_number("max_ticks", form.get("max_ticks", "").strip() or MAX_TICKS)
        async with audited(request, actor, "task.backfill", task_id=id) as change:
            ticks = await change.client.backfill(id, since, until, max_ticks=most, dry_run=not confirmed)
            made = _made(ticks)
            change.nothing = not confirmed or not made
            told = {"from": to_json_able(since), "to": to_json_able(until), "max_ticks": most, "made": made}
            change.before, change.after = {}, told
    except InvalidTask as error:
        return _form(request, actor, task, form, problem=str(error))
    if not confirmed:
        return _form(request, actor, task, form, ticks=ticks)
    surveys_of(request).forget()
    return done(request, f"/tasks/{id}", "backfill", made)


def _made(ticks: Sequence[BackfillTick]) -> int:
    return sum(one.outcome == "run" for one in ticks)


def _form(
    request: Request,
    actor: Actor,
    task: Task,
    fields: dict[str, str],
    *,
    ticks: Sequence[BackfillTick] | None = None,
    problem: str | None = None,
) -> Response:
    return show(
        request,
        actor,
        "backfill.html",
        at="schedules",
        status=422 if problem else 200,
        task=task,
        fields=fields,
        ticks=ticks,
        shown=SHOWN,
        made=_made(ticks or ()),
        problem=problem,
    )
