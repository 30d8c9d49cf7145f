"""Dead letters: the list, and retry or delete for all that a filter finds."""

from __future__ import annotations

from datetime import datetime

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from pgsched.web.access import Operator, Viewer
from pgsched.web.audit import audited
from pgsched.web.pages.forms import Form, moment, optional_number
from pgsched.web.pages.shown import client_of, done, link, show
from pgsched.web.pages.surveys import surveys_of

PER_PAGE = 50

router = APIRouter()


@router.get("/dead")
async def dead(request: Request, actor: Viewer) -> Response:
    """Show the tasks that died last."""
    asked = {name: request.query_params.get(name, "").strip() for name in ("queue", "task_type")}
    found = await client_of(request).dead(
        queue=asked["queue"] or None,
        task_type=asked["task_type"] or None,
        limit=PER_PAGE + 1,
        before=_place(request),
    )
    following = None
    if len(found) > PER_PAGE:
        found = found[:PER_PAGE]
        died_at = found[-1].died_at
        key = {"died": died_at.isoformat() if died_at else None, "before": found[-1].id}
        following = link(request, "/dead", {**asked, **key})
    counts = (await surveys_of(request).get()).dead
    return show(
        request,
        actor,
        "dead.html",
        at="dead",
        fields=asked,
        tasks=found,
        following=following,
        total=sum(counts.values()),
    )


@router.post("/dead/{verb}")
async def change(request: Request, actor: Operator, verb: str, form: Form) -> Response:
    """Retry or delete the dead letters that fit; without ``confirmed`` ask first."""
    if verb not in ("retry", "purge"):
        raise HTTPException(404, "there is no such page")
    queue, task_type = form.get("queue", "").strip() or None, form.get("task_type", "").strip() or None
    if form.get("confirmed") != "yes":
        return show(
            request, actor, "dead_confirm.html", at="dead", verb=verb, fields={"queue": queue, "task_type": task_type}
        )
    target = ", ".join(f"{name} {text!r}" for name, text in (("queue", queue), ("task_type", task_type)) if text)
    async with audited(request, actor, f"dead.{verb}", queue=queue, target=target or "all") as under_way:
        if verb == "retry":
            number = await under_way.client.retry_dead(queue=queue, task_type=task_type)
        else:
            number = await under_way.client.purge_dead(queue=queue, task_type=task_type)
        under_way.after = {"number": number}
    surveys_of(request).forget()
    return done(request, "/dead", f"{verb}_dead", number)


def _place(request: Request) -> tuple[datetime, int] | None:
    died, before = request.query_params.get("died"), optional_number("before", request.query_params.get("before"))
    return (moment("died", died), before) if died and before is not None else None
