"""The register of handlers."""

from __future__ import annotations

from starlette.responses import Response

from pgsched.domain.records import HandlerInfo
from pgsched.domain.worker_records import WorkerInfo
from pgsched.web.auth.access import Viewer
from pgsched.web.dashboard.routing import page_router
from pgsched.web.dashboard.shown import show

router = page_router()


@router.get("/handlers")
async def handlers(actor: Viewer) -> Response:
    """Show every type that workers have registered."""
    found, standby = await actor.client.handlers(), actor.client.database.standby
    return show(actor, "handlers.html", at="handlers", handlers=found, standby=standby)


def workers_with(one: HandlerInfo, workers: list[WorkerInfo]) -> list[WorkerInfo]:
    """Return the running workers that have a handler."""
    return [worker for worker in workers if worker.alive and one.task_type in worker.task_types]
