"""Workers, the numbers of all of it, and what is wrong."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from pgsched.web.api import examples
from pgsched.web.api.documented import answers, reply
from pgsched.web.api.shapes import DiagnosisShape, HandlerShape, StatsShape, WorkerShape, list_of
from pgsched.web.auth.access import Viewer

router = APIRouter(tags=["workers"])

Handlers = list_of(HandlerShape, "Handlers", "Registered types by their names.")
Workers = list_of(WorkerShape, "Workers", "Worker processes by when they started.")


@router.get("/workers", summary="List worker processes", responses=answers(Workers, [examples.WORKER]))
async def list_workers(actor: Viewer) -> Response:
    """Every process that registered and has not been forgotten; `alive`: heard of within three leases."""
    return reply(actor, await actor.client.workers())


@router.get("/handlers", summary="List the register of handlers", responses=answers(Handlers, [examples.HANDLER]))
async def list_handlers(actor: Viewer) -> Response:
    """Every type that workers have registered a handler for, with its defaults and the schema of its payload."""
    return reply(actor, await actor.client.handlers())


@router.get(
    "/stats", summary="Read queues, workers and what nobody handles", responses=answers(StatsShape, examples.STATS)
)
async def get_stats(actor: Viewer) -> Response:
    """From a cache that is at most two seconds old."""
    return reply(actor, await actor.state.stats.get())


@router.get("/doctor", summary="Look what is wrong", responses=answers(DiagnosisShape, examples.DIAGNOSIS))
async def get_doctor(actor: Viewer) -> Response:
    """What `pgsched doctor` finds, from a cache that is at most half a minute old. `healthy`: there is no error."""
    return reply(actor, await actor.state.diagnosis.get())
