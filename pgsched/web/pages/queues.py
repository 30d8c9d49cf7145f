"""Queues: what is in them, pause, resume, limits."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from pgsched.db.queue_commands import QueueLimits
from pgsched.web.access import Operator, Viewer
from pgsched.web.audit import audited
from pgsched.web.pages.forms import Form, optional_number
from pgsched.web.pages.overview import queue_rows
from pgsched.web.pages.shown import done, show
from pgsched.web.pages.surveys import surveys_of

_LIMITS = ("concurrency", "concurrency_per_key", "rate", "rate_per_key")

router = APIRouter()


@router.get("/queues")
async def queues(request: Request, actor: Viewer) -> Response:
    """Show every queue."""
    survey = await surveys_of(request).get()
    return show(
        request,
        actor,
        "queues.html",
        at="queues",
        queues=queue_rows(survey.queues, survey.types, survey.dead),
        limit_names=_LIMITS,
    )


@router.post("/queues/{verb}")
async def change(request: Request, actor: Operator, verb: str, form: Form) -> Response:
    """Pause or resume a queue, or set its limits; its name is a field, since it may hold any character."""
    name = form.get("queue", "")
    if verb not in ("pause", "resume", "limits"):
        raise HTTPException(404, "there is no such page")
    async with audited(request, actor, f"queue.{verb}", queue=name) as under_way:
        if verb == "pause":
            await under_way.client.pause_queue(name)
        elif verb == "resume":
            await under_way.client.resume_queue(name)
        else:
            limits = limits_of(form)
            if any(value is not None for value in limits.values()):
                await under_way.client.limit_queue(name, **limits)
            else:
                await under_way.client.unlimit_queue(name)
            under_way.after = {"limits": {key: value for key, value in limits.items() if value is not None}}
    surveys_of(request).forget()
    return done(request, "/queues", verb)


def limits_of(form: dict[str, str]) -> QueueLimits:
    """Read the limits of a form; ``per`` counts only beside a rate."""
    limits = QueueLimits(
        concurrency=optional_number("concurrency", form.get("concurrency")),
        concurrency_per_key=optional_number("concurrency_per_key", form.get("concurrency_per_key")),
        rate=optional_number("rate", form.get("rate")),
        rate_per_key=optional_number("rate_per_key", form.get("rate_per_key")),
    )
    per = form.get("per", "").strip()
    if per and (limits["rate"] is not None or limits["rate_per_key"] is not None):
        limits["per"] = per
    return limits
