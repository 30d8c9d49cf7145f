"""Errors of attempts, grouped; retry or delete for all dead tasks of a group."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.responses import Response

from pgsched.db.queries.counted import MAX_GROUPS
from pgsched.web.auth.access import Operator, Viewer
from pgsched.web.dashboard.forms import given
from pgsched.web.dashboard.routing import page_router
from pgsched.web.dashboard.shown import done, show
from pgsched.web.dashboard.types import asked_of, delta, time_choices
from pgsched.web.services.error_changes import MAX_COUNTED, change_error

VERBS = ("retry", "delete")
KEPT = "90d"
"""How long errors are kept."""

router = page_router()


@router.get("/errors")
async def errors(actor: Viewer) -> Response:
    """Show the groups of errors, the most frequent first."""
    asked = asked_of(actor, within="24h")
    fields = given(actor.request.query_params, "task_type", "queue")
    task_type = fields.get("task_type")
    look = await actor.state.counted.errors(asked.within, asked.ago, task_type, asked.queue)
    return show(
        actor,
        "errors.html",
        at="errors",
        **time_choices(actor, asked, "/errors", task_type=task_type),
        time=look.time,
        fields=fields,
        errors=look.now,
        most=MAX_GROUPS,
        delta=delta,
        before_of=lambda id: look.before.get(id, 0) if asked.ago is not None else None,
    )


@router.get("/errors/{id}")
async def error(actor: Viewer, id: str) -> Response:
    """Show one group."""
    found = await actor.client.error(id, within=KEPT)
    return show(actor, "error_group.html", at="errors", error=found, within="90 days")


@router.get("/errors/{id}/{verb}")
async def ask(actor: Operator, id: str, verb: str) -> Response:
    """Show the confirmation with the number of its dead tasks."""
    _known(verb)
    found = await actor.client.error(id, within=KEPT)
    number = await actor.client.count_dead_of_error(id, most=MAX_COUNTED)
    return show(actor, "error_confirm.html", at="errors", error=found, verb=verb, number=number, most=MAX_COUNTED)


@router.post("/errors/{id}/{verb}")
async def change(actor: Operator, id: str, verb: str) -> Response:
    """Retry or delete its dead tasks."""
    _known(verb)
    number = await change_error(actor, verb, id)
    return done(actor, "/errors", "retry_dead" if verb == "retry" else "purge_dead", number)


def _known(verb: str) -> None:
    if verb not in VERBS:
        raise HTTPException(404, "there is no such page")
