"""Dead letters: the list, and retry or delete for all that a filter finds."""

from __future__ import annotations

from datetime import datetime

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from pgsched.domain.errors import InvalidTask
from pgsched.domain.task_filters import TaskFilters
from pgsched.web.auth.access import Actor, Operator, Viewer
from pgsched.web.dashboard.forms import Form, moment, optional_number
from pgsched.web.dashboard.shown import client_of, done, link, show
from pgsched.web.dashboard.surveys import surveys_of
from pgsched.web.services.audit import audited

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
        return await _ask(request, actor, verb, queue, task_type, form)
    target = ", ".join(f"{name} {text!r}" for name, text in (("queue", queue), ("task_type", task_type)) if text)
    older_than = form.get("older_than", "").strip() or None
    try:
        async with audited(request, actor, f"dead.{verb}", queue=queue, target=target or "all") as under_way:
            if verb == "retry":
                number = await under_way.client.retry_dead(queue=queue, task_type=task_type, all=True)
            else:
                number = await under_way.client.purge_dead(
                    queue=queue, task_type=task_type, older_than=older_than, all=True
                )
            under_way.nothing = number == 0
            under_way.after = {"number": number} | ({"older_than": older_than} if older_than else {})
    except InvalidTask as error:
        return await _ask(request, actor, verb, queue, task_type, form, problem=str(error))
    surveys_of(request).forget()
    return done(request, "/dead", f"{verb}_dead", number)


async def _ask(
    request: Request,
    actor: Actor,
    verb: str,
    queue: str | None,
    task_type: str | None,
    form: dict[str, str],
    *,
    problem: str | None = None,
) -> Response:
    """Say how many dead letters fit, and ask whether to go on."""
    wanted = TaskFilters(status=["dead"])
    if queue is not None:
        wanted["queue"] = [queue]
    if task_type is not None:
        wanted["task_type"] = [task_type]
    tried = await client_of(request).change_tasks("retry" if verb == "retry" else "delete", dry_run=True, **wanted)
    return show(
        request,
        actor,
        "dead_confirm.html",
        at="dead",
        status=422 if problem else 200,
        problem=problem,
        verb=verb,
        fields={"queue": queue, "task_type": task_type},
        typed={"older_than": form.get("older_than", "")},
        tried=tried,
    )


def _place(request: Request) -> tuple[datetime, int] | None:
    died, before = request.query_params.get("died"), optional_number("before", request.query_params.get("before"))
    return (moment("died", died), before) if died and before is not None else None
