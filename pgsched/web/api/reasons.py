"""Why a task or a queue waits."""

from __future__ import annotations

from starlette.responses import Response

from pgsched.web.api import examples
from pgsched.web.api.documented import answers, reply
from pgsched.web.api.queues import QueueName
from pgsched.web.api.routing import api_router
from pgsched.web.api.shapes import WhyQueueShape, WhyShape
from pgsched.web.api.tasks import TaskId
from pgsched.web.auth.access import Viewer

router = api_router("reasons")


@router.get("/tasks/{id}/why", summary="Explain why a task waits", responses=answers(WhyShape, examples.WHY, 404))
async def get_why(actor: Viewer, id: TaskId) -> Response:
    """`is_ready`: nothing blocks it, and the next claim of a worker takes it. Each reason has a `kind` for programs, a
    `text` for people, and the `command` of pgsched that would resolve it.
    """
    return reply(actor, await actor.client.why(id))


@router.get(
    "/queues/{name:text}/why",
    summary="Explain why the tasks of a queue wait",
    responses=answers(WhyQueueShape, examples.WHY_QUEUE),
)
async def get_why_of_queue(actor: Viewer, name: QueueName) -> Response:
    """With the number of due tasks, and a forecast of when they are drained, based on the last quarter of an hour."""
    return reply(actor, await actor.client.why_queue(name))
