"""Workers, and the numbers of all of it."""

from __future__ import annotations

from fastapi import APIRouter, Request
from pydantic import RootModel
from starlette.responses import Response

from pgsched.web.api import examples
from pgsched.web.api.documented import answers, reply
from pgsched.web.api.shapes import StatsShape, WorkerShape
from pgsched.web.auth.access import Viewer
from pgsched.web.state import state_of

router = APIRouter(tags=["workers"])


class Workers(RootModel[list[WorkerShape]]):  # type: ignore[valid-type]
    """Worker processes by when they started."""


@router.get("/workers", summary="List worker processes", responses=answers(Workers, [examples.WORKER]))
async def list_workers(request: Request, actor: Viewer) -> Response:
    """Every process that registered and has not been forgotten; `alive`: heard of within three leases."""
    return reply(request, actor, [worker.as_dict() for worker in await state_of(request).client.workers()])


@router.get(
    "/stats", summary="Read queues, workers and what nobody handles", responses=answers(StatsShape, examples.STATS)
)
async def get_stats(request: Request, actor: Viewer) -> Response:
    """From a cache that is at most two seconds old."""
    return reply(request, actor, (await state_of(request).stats.get()).as_dict())
