"""Workers, the numbers of all of it, and what is wrong."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from pgsched.web.api import examples
from pgsched.web.api.documented import answers, reply
from pgsched.web.api.shapes import DiagnosisShape, HandlerShape, StatsShape, StatusCountShape, WorkerShape, list_of
from pgsched.web.auth.access import Viewer

router = APIRouter(tags=["workers"])

Handlers = list_of(HandlerShape, "Handlers", "Registered types by their names.")
Counts = list_of(StatusCountShape, "Counts", "Statuses and how many tasks are in each.")
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
    "/stats",
    summary="Read counts by status, queues, workers and what nobody handles",
    responses=answers(StatsShape, examples.STATS),
)
async def get_stats(actor: Viewer) -> Response:
    """From a cache that is at most two seconds old."""
    return reply(actor, await actor.state.stats.get())


@router.get(
    "/counts",
    summary="Count the tasks by status",
    responses=answers(Counts, [examples.COUNT]),
)
async def count_tasks(
    actor: Viewer, queue: Annotated[str | None, Query(description="Only of this queue.")] = None
) -> Response:
    """In a time that does not depend on how many there are: many are estimated, and `exact` is false."""
    return reply(actor, await actor.client.count_tasks(queue))


@router.get("/doctor", summary="Look what is wrong", responses=answers(DiagnosisShape, examples.DIAGNOSIS))
async def get_doctor(actor: Viewer) -> Response:
    """What `pgsched doctor` finds, from a cache that is at most half a minute old. `healthy`: there is no error."""
    return reply(actor, await actor.state.diagnosis.get())
