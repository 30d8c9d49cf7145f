"""What is done to tasks: to one, or to all that fit a filter."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field, StrictBool, StrictInt, StrictStr
from starlette.responses import Response

from pgsched.db.queries.task_search import ACTIONS, MAX_CHANGED
from pgsched.web.api import examples
from pgsched.web.api.documented import answers, json_body, reply
from pgsched.web.api.shapes import ChangedShape, TaskShape
from pgsched.web.api.task_query import BulkFilter, filters_of
from pgsched.web.api.tasks import TaskId
from pgsched.web.api.values import StrictModel
from pgsched.web.auth.access import Operator
from pgsched.web.services import tasks

router = APIRouter(tags=["tasks"])


@router.post("/tasks/{id}/enable", summary="Let a task run again", responses=answers(TaskShape, examples.TASK, 404))
async def enable_task(
    actor: Operator,
    id: TaskId,
    catch_up: Annotated[bool, Query(description="false: ticks that passed while it was paused are not run.")] = True,
) -> Response:
    """Ticks that passed while it was paused follow on_missed. Nothing happens to one that is not paused."""
    return reply(actor, await tasks.act_on_task(actor, "enable", id, catch_up=catch_up))


@router.post(
    "/tasks/{id}/disable", summary="Pause a task", responses=answers(TaskShape, examples.TASK | {"enabled": False}, 404)
)
async def disable_task(actor: Operator, id: TaskId) -> Response:
    """A run under way goes on. Nothing happens to one that is paused."""
    return reply(actor, await tasks.act_on_task(actor, "disable", id))


@router.post("/tasks/{id}/run", summary="Run a task now", responses=answers(TaskShape, examples.TASK, 404, 409))
async def run_task(actor: Operator, id: TaskId) -> Response:
    """A waiting one-time task is made due now; of any other a copy is, with this one as its parent_id.

    The answer is the task that runs. Refused while a one-time task runs.
    """
    return reply(actor, await tasks.act_on_task(actor, "run", id))


@router.post(
    "/tasks/{id}/cancel",
    summary="Stop a task for good",
    responses=answers(TaskShape, examples.TASK | {"status": "cancelled", "next_run_at": None}, 404, 409),
)
async def cancel_task(actor: Operator, id: TaskId) -> Response:
    """Also while it runs; of a group its steps, too. Refused when it is over."""
    return reply(actor, await tasks.act_on_task(actor, "cancel", id))


@router.post(
    "/tasks/{id}/retry",
    summary="Give a task all its attempts again",
    responses=answers(TaskShape, examples.TASK, 404, 409),
)
async def retry_task(actor: Operator, id: TaskId) -> Response:
    """For one that is dead, cancelled, or waits for its backoff; it is due now. Refused in any other status."""
    return reply(actor, await tasks.act_on_task(actor, "retry", id))


@router.post(
    "/tasks/{id}/replan", summary="Book a schedule afresh", responses=answers(TaskShape, examples.TASK, 404, 409)
)
async def replan_task(actor: Operator, id: TaskId) -> Response:
    """From now, whatever it was booked for. Refused while it runs, once it was cancelled, and for a one-time task."""
    return reply(actor, await tasks.act_on_task(actor, "replan", id))


class Bulk(StrictModel):
    """One action on all tasks that fit a filter and that it suits."""

    action: StrictStr = Field(json_schema_extra={"enum": list(ACTIONS)})
    filter: BulkFilter
    limit: StrictInt = Field(
        MAX_CHANGED,
        description="So many of the tasks that fit are looked at, the latest first.",
        json_schema_extra={"minimum": 1, "maximum": MAX_CHANGED},
    )
    dry_run: StrictBool = Field(False, description="Change nothing, tell what would be changed.")


@router.post(
    "/tasks/bulk",
    summary="Change all tasks that fit a filter",
    responses=answers(ChangedShape, examples.CHANGED, 400, 409),
)
async def change_tasks(actor: Operator, body: Annotated[Bulk, json_body(dry=("A dry run", examples.BULK))]) -> Response:
    """All of it in one transaction. What the action does not suit is left alone."""
    filters = filters_of(body.filter, actor)
    done = await tasks.change_tasks(actor, body.action, filters, limit=body.limit, dry_run=body.dry_run)
    said = {
        "action": body.action,
        "dry_run": body.dry_run,
        "matched": done.matched,
        "changed": len(done.changed),
        "ids": done.changed[: tasks.SHOWN_IDS],
        "more": done.more,
    }
    return reply(actor, said)
