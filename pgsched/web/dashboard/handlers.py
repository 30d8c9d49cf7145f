"""The register of handlers: the list, and all that is known of one type."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.responses import Response

from pgsched.db.queries.workers import handlers as list_handlers
from pgsched.domain.records import HandlerInfo, WorkerInfo
from pgsched.web.auth.access import Viewer
from pgsched.web.dashboard.shown import show

router = APIRouter()


@router.get("/handlers")
async def handlers(actor: Viewer) -> Response:
    """Show every type that workers have registered."""
    found, standby = await actor.client.handlers(), actor.client.database.standby
    return show(actor, "handlers.html", at="handlers", handlers=found, standby=standby)


@router.get("/handlers/type")
async def handler(actor: Viewer, name: str) -> Response:
    """Show what is registered of one type, and the workers that have its handler."""
    found = await actor.client.database.run(list_handlers(name))
    if not found:
        raise HTTPException(404, "no handler of this type is registered")
    survey, standby = await actor.state.surveys.get(), actor.client.database.standby
    workers = workers_with(found[0], survey.workers)
    return show(actor, "handler.html", at="handlers", handler=found[0], workers=workers, standby=standby)


def workers_with(one: HandlerInfo, workers: list[WorkerInfo]) -> list[WorkerInfo]:
    """Return the living workers that have a handler."""
    return [worker for worker in workers if worker.alive and one.task_type in worker.task_types]
