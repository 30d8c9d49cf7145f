"""Workers, the overall counts, and the findings of the doctor."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Path, Query
from starlette.responses import Response

from pgsched.web.api import examples
from pgsched.web.api.documented import answers, reply
from pgsched.web.api.routing import api_router
from pgsched.web.api.shapes import (
    DiagnosisShape,
    HandlerShape,
    RunningTaskShape,
    StatsShape,
    StatusCountShape,
    WorkerShape,
    list_of,
)
from pgsched.web.auth.access import Operator, Viewer
from pgsched.web.services.workers import ask_worker

router = api_router("workers")

Handlers = list_of(HandlerShape, "Handlers", "Registered types by name.")
Counts = list_of(StatusCountShape, "Counts", "Number of tasks in each status.")
Workers = list_of(WorkerShape, "Workers", "Worker processes by start time.")


@router.get("/workers", summary="List worker processes", responses=answers(Workers, [examples.WORKER]))
async def list_workers(actor: Viewer) -> Response:
    """Every registered process; `alive`: its last heartbeat is at most three leases old."""
    return reply(actor, await actor.client.workers())


Running = list_of(RunningTaskShape, "Running", "Running tasks, the longest first.")
WorkerId = Annotated[UUID, Path(description="The id of the worker.", examples=[examples.WORKER["id"]])]


@router.get(
    "/workers/{id}/tasks", summary="List the running tasks of a worker", responses=answers(Running, [examples.RUNNING])
)
async def list_worker_tasks(actor: Viewer, id: WorkerId) -> Response:
    """Up to 200 tasks, the longest first; those that take a few milliseconds may be missing."""
    return reply(actor, await actor.client.running_tasks(id))


@router.post(
    "/workers/{id}/pause", summary="Pause a worker", responses=answers(WorkerShape, examples.PAUSED_WORKER, 404, 409)
)
async def pause_worker(actor: Operator, id: WorkerId) -> Response:
    """It claims nothing more and finishes its tasks. `state` says when it has paused: after about two seconds."""
    return reply(actor, await ask_worker(actor, "pause", id))


@router.post(
    "/workers/{id}/drain", summary="Drain a worker", responses=answers(WorkerShape, examples.DRAINED_WORKER, 404, 409)
)
async def drain_worker(actor: Operator, id: WorkerId) -> Response:
    """It claims nothing more, finishes its tasks, and exits with code 0."""
    return reply(actor, await ask_worker(actor, "drain", id))


@router.post(
    "/workers/{id}/resume", summary="Resume a worker", responses=answers(WorkerShape, examples.WORKER, 404, 409)
)
async def resume_worker(actor: Operator, id: WorkerId) -> Response:
    """A worker that is paused, or that drains and has not exited, claims again."""
    return reply(actor, await ask_worker(actor, "resume", id))


@router.get("/handlers", summary="List the register of handlers", responses=answers(Handlers, [examples.HANDLER]))
async def list_handlers(actor: Viewer) -> Response:
    """Every type that workers have registered a handler for, with its defaults and the schema of its payload."""
    return reply(actor, await actor.client.handlers())


@router.get(
    "/stats",
    summary="Read counts by status, queues, workers and unhandled types",
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
    actor: Viewer, queue: Annotated[str | None, Query(description="Only this queue.")] = None
) -> Response:
    """In constant time, whatever their number: large numbers are estimated, and `exact` is false."""
    return reply(actor, await actor.client.count_tasks(queue))


@router.get(
    "/doctor", summary="Diagnose the queue and its database", responses=answers(DiagnosisShape, examples.DIAGNOSIS)
)
async def get_doctor(actor: Viewer) -> Response:
    """The findings of `pgsched doctor`, from a cache that is at most 30 seconds old. `healthy`: there is no error."""
    return reply(actor, await actor.state.diagnosis.get())
