"""Durable tasks: their recorded steps, the events that are sent to them, and restarts."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Path, Query
from pydantic import Field, StrictStr
from starlette.responses import Response

from pgsched.web.api import examples
from pgsched.web.api.cursors import Limit
from pgsched.web.api.documented import answers, json_body, reply
from pgsched.web.api.executions import of_task
from pgsched.web.api.routing import api_router
from pgsched.web.api.shapes import DurableEventShape, DurableStepShape, SentShape, TaskShape, list_of
from pgsched.web.api.tasks import TaskId
from pgsched.web.api.values import StrictModel
from pgsched.web.auth.access import Operator, Viewer
from pgsched.web.services import durable

router = api_router("durable tasks")

DurableSteps = list_of(DurableStepShape, "DurableSteps", "Steps in the order in which they started.")
DurableEvents = list_of(DurableEventShape, "DurableEvents", "Events in the order in which they were sent.")


class Emitting(StrictModel):
    """The content of an event."""

    payload: Any = Field(default=None, description="What the wait returns: any JSON value; the default is null.")
    event_key: StrictStr | None = Field(
        default=None,
        description="A second event with the same name and key is not stored: the answer is the first one.",
    )


class Restarting(StrictModel):
    """The step from which a task continues."""

    from_step: StrictStr | None = Field(
        default=None, description="The first step that runs again; all do when omitted."
    )
    from_key: StrictStr = Field(default="", description="The key of that step, if it has one.")


@router.get(
    "/tasks/{id}/steps",
    summary="List the records of a durable task",
    responses=answers(DurableSteps, [examples.DURABLE_STEP], 404),
)
async def list_steps(
    actor: Viewer,
    id: TaskId,
    all_runs: Annotated[
        bool, Query(description="true: of every run that is kept, the latest first; otherwise only of the latest run.")
    ] = False,
    limit: Limit = 1_000,
) -> Response:
    """Steps, sleeps, waits and children, in the order in which they started. They outlive the task."""
    return await of_task(actor, id, lambda client: client.durable_steps(id, all_runs=all_runs, limit=limit))


@router.get(
    "/tasks/{id}/events",
    summary="List the events that were sent to a durable task",
    responses=answers(DurableEvents, [examples.DURABLE_EVENT], 404),
)
async def list_events(actor: Viewer, id: TaskId, limit: Limit = 100) -> Response:
    """The latest events, in the order in which they were sent; `consumed_at` is when a wait consumed the event."""
    return await of_task(actor, id, lambda client: client.durable_events(id, limit=limit))


@router.post(
    "/tasks/{id}/events/{name:text}",
    status_code=201,
    summary="Send an event to a durable task",
    responses=answers(SentShape, examples.SENT, 400, 404, 409, status=201),
)
async def emit(
    actor: Operator,
    id: TaskId,
    name: Annotated[
        str, Path(description="The event that the task waits for, or will wait for.", examples=["approved"])
    ],
    body: Annotated[Emitting | None, json_body(payload=("With a payload and a key", examples.EMIT))] = None,
) -> Response:
    """The event is stored until a wait consumes it, even when the task does not wait yet. The body is optional.

    Rejected for a task that is completed or cancelled.
    """
    said = body or Emitting()
    sent = await durable.emit(actor, id, name, said.payload, said.event_key)
    return reply(actor, {"id": sent.id}, status=201)


@router.post(
    "/tasks/{id}/restart",
    summary="Restart a durable task from its beginning or from a step",
    responses=answers(TaskShape, examples.TASK, 400, 404, 409),
)
async def restart(
    actor: Operator,
    id: TaskId,
    body: Annotated[Restarting | None, json_body(step=("From a step on", examples.RESTART))] = None,
) -> Response:
    """What was recorded before the step is kept, what was recorded later is deleted; without a body all is.

    Children that the task still waits for are cancelled, as by a cancel. Rejected while the task runs, when it is
    completed, and when it has recorded nothing.
    """
    said = body or Restarting()
    return reply(actor, await durable.restart(actor, id, said.from_step, said.from_key))
