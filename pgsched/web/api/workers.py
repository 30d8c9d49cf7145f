"""Workers, and the numbers of all of it."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import RootModel
from starlette.responses import Response

from pgsched.web.api import examples
from pgsched.web.api.documented import answers, reply
from pgsched.web.api.shapes import StatsShape, WorkerShape
from pgsched.web.auth.access import Viewer

router = APIRouter(tags=["workers"])


class Workers(RootModel[list[WorkerShape]]):  # type: ignore[valid-type]
    """Worker processes by when they started."""


@router.get("/workers", summary="List worker processes", responses=answers(Workers, [examples.WORKER]))
async def list_workers(actor: Viewer) -> Response:
    """Every process that registered and has not been forgotten; `alive`: heard of within three leases."""
    return reply(actor, await actor.client.workers())


@router.get(
    "/stats", summary="Read queues, workers and what nobody handles", responses=answers(StatsShape, examples.STATS)
)
async def get_stats(actor: Viewer) -> Response:
    """From a cache that is at most two seconds old."""
    return reply(actor, await actor.state.stats.get())
