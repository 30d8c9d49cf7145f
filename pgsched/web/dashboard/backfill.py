"""The ticks of a schedule in a range that is past: first shown, then run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from pgsched.domain.errors import InvalidTask
from pgsched.domain.records import Task
from pgsched.domain.scheduled import BackfillTick
from pgsched.web.auth.access import Actor, Operator
from pgsched.web.dashboard.forms import Form, moment, whole_number
from pgsched.web.dashboard.shown import done, show
from pgsched.web.services.schedules import backfill, number_to_run

MAX_TICKS = "100"
SHOWN = 1000
"""So many ticks are on the page."""

router = APIRouter()


@router.get("/tasks/{id:int}/backfill")
async def ask(actor: Operator, id: int) -> Response:
    """Show an empty form."""
    return _form(actor, await actor.client.get(id), {"max_ticks": MAX_TICKS})


@router.post("/tasks/{id:int}/backfill")
async def run_range(actor: Operator, id: int, form: Form) -> Response:
    """Show what becomes of each tick; with ``confirmed`` run them."""
    task = await actor.client.get(id)
    confirmed = form.get("confirmed") == "yes"
    try:
        since, until = (moment(name, form.get(name, "").strip(), task.timezone) for name in ("from", "to"))
        most = whole_number("max_ticks", form.get("max_ticks", "").strip() or MAX_TICKS)
        ticks = await backfill(actor, id, since, until, max_ticks=most, dry_run=not confirmed)
    except InvalidTask as error:
        return _form(actor, task, form, problem=str(error))
    if not confirmed:
        return _form(actor, task, form, ticks=ticks)
    return done(actor, f"/tasks/{id}", "backfill", number_to_run(ticks))


def _form(
    actor: Actor,
    task: Task,
    fields: dict[str, str],
    *,
    ticks: Sequence[BackfillTick] | None = None,
    problem: str | None = None,
) -> Response:
    made = number_to_run(ticks or ())
    context: dict[str, Any] = {"task": task, "fields": fields, "ticks": ticks, "shown": SHOWN, "made": made}
    return show(actor, "backfill.html", at="schedules", problem=problem, **context)
