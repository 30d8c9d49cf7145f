"""Tasks: listed, made, read, edited and deleted."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Path, Query, Request
from starlette.responses import Response

from pgsched.db.task_commands import check_inserted
from pgsched.domain.errors import Described
from pgsched.domain.records import Task
from pgsched.domain.scheduled import OnConflict
from pgsched.domain.validation import refused
from pgsched.web.auth.access import Operator, Viewer
from pgsched.web.api import examples
from pgsched.web.api.bodies import NewGroup, NewTask, TaskEdit, options_of
from pgsched.web.api.cursors import read_cursor, write_cursor
from pgsched.web.api.documented import answers, empty_answer, reply
from pgsched.web.api.shapes import NodeShape, TaskPage, TaskShape, TaskStatusShape
from pgsched.web.api.task_query import TaskQuery, filters_of
from pgsched.web.services.audit import Change, audited, differences
from pgsched.web.services.task_search import find_stretch
from pgsched.web.paths import href
from pgsched.web.state import state_of

router = APIRouter(tags=["tasks"])

TaskId = Annotated[int, Path(description="The id of the task.", examples=[17])]
_EXISTED = "The idempotency_key is known: this is the task that has it."


@router.get(
    "/tasks",
    summary="List tasks, the latest first",
    responses=answers(TaskPage, {"items": [examples.TASK], "next_cursor": "WyJ0YXNrcyIsIDE3XQ"}),
)
async def list_tasks(request: Request, actor: Viewer, query: Annotated[TaskQuery, Query()]) -> Response:
    """All filters must fit. Without an index for them a page looks at 50,000 rows and may be short, even
    empty: go on with next_cursor until it is null.
    """
    filters = filters_of(query, request, actor)
    before = None if query.cursor is None else read_cursor("tasks", query.cursor, int)[0]
    page = await find_stretch(state_of(request).client, filters, limit=query.limit, before_id=before)
    following = None if page.next_before is None else write_cursor("tasks", page.next_before)
    return reply(request, actor, {"items": [task.as_dict() for task in page.tasks], "next_cursor": following})


@router.post(
    "/tasks",
    status_code=201,
    summary="Schedule a task",
    responses=answers(TaskShape, examples.TASK, 400, 409, status=201, also=_EXISTED),
)
async def create_task(
    request: Request,
    actor: Operator,
    body: Annotated[
        NewTask,
        Body(
            openapi_examples={
                "once": {"summary": "Once, in a minute", "value": examples.EMAIL},
                "recurring": {"summary": "Every Monday", "value": examples.REPORT},
                "repeating": {"summary": "Ten times", "value": examples.PING},
            }
        ),
    ],
    on_conflict: Annotated[
        OnConflict,
        Query(description="The task that has the idempotency_key stays as it is, or is changed to what is given."),
    ] = "keep",
) -> Response:
    """One-time unless there is a cron_expression (recurring) or a repeat_interval (repeating).

    The header `Pgsched-Outcome` says whether the task was `created`, `updated` or `unchanged`.
    """
    options = options_of(body, empties=False)
    async with audited(request, actor, "task.create") as change:
        was = None
        if on_conflict == "update" and body.idempotency_key is not None:
            was = next(iter((await change.client.find_tasks(idempotency_key=body.idempotency_key)).tasks), None)
        scheduled = await change.client.schedule(body.task_type, body.payload, on_conflict=on_conflict, **options)
        change.task_id = scheduled
        return await _created(request, actor, change, scheduled.outcome, was)


@router.post(
    "/groups",
    status_code=201,
    tags=["groups"],
    summary="Schedule a group of steps",
    responses=answers(TaskShape, examples.TASK | {"task_type": "pgsched.group"}, 400, status=201, also=_EXISTED),
)
async def create_group(
    request: Request,
    actor: Operator,
    body: Annotated[NewGroup, Body(openapi_examples={"two": {"summary": "Two steps", "value": examples.GROUP}})],
) -> Response:
    """Once, or as a schedule, by the fields that a task has."""
    options = options_of(body, empties=False)
    async with audited(request, actor, "group.create") as change:
        change.task_id = await change.client.schedule_group({"steps": body.steps}, **options)
        return await _created(request, actor, change)


async def _created(
    request: Request, actor: Operator, change: Change, outcome: str | None = None, was: Task | None = None
) -> Response:
    """The task that was made, or that had the key before (``was``); without an ``outcome`` nothing was changed then."""
    client, task_id = change.client, change.task_id or 0
    if outcome is None:
        outcome = "created" if await client.database.run(check_inserted(task_id)) else "unchanged"
    change.nothing = outcome == "unchanged"
    task = await client.get(task_id)
    if outcome == "updated":
        change.action = "task.update"
        change.before, change.after = differences(was, task)
    told = {"Location": href(request, f"/api/v1/tasks/{task_id}"), "Pgsched-Outcome": outcome}
    return reply(request, actor, task.as_dict(), status=201 if outcome == "created" else 200, headers=told)


@router.get(
    "/tasks/{id}",
    summary="Read a task, what it did last and what it will do",
    responses=answers(TaskStatusShape, examples.STATUS, 404),
)
async def get_task(request: Request, actor: Viewer, id: TaskId) -> Response:
    """Its columns, its schedule in words, the next runs, the last executions, and the ticks that it missed."""
    async with state_of(request).client.transaction() as client:  # of one connection: waited for once
        status = await client.status(id)
    return reply(request, actor, status.as_dict())


@router.patch("/tasks/{id}", summary="Edit a task", responses=answers(TaskShape, examples.TASK, 400, 404, 409))
async def update_task(
    request: Request,
    actor: Operator,
    id: TaskId,
    body: Annotated[TaskEdit, Body(openapi_examples={"edit": {"summary": "Sooner", "value": examples.EDIT}})],
) -> Response:
    """What is left out stays, null empties. An edited schedule is planned afresh; a run under way is not disturbed."""
    options = options_of(body, empties=True)
    if "payload" in body.model_fields_set and body.payload is None:
        raise refused("payload", "have a value", Described("null"))
    async with audited(request, actor, "task.update", task_id=id) as change:
        await change.client.update(id, body.payload, **options)
        task = await change.client.get(id)
    return reply(request, actor, task.as_dict())


@router.delete("/tasks/{id}", status_code=204, summary="Delete a task", responses=empty_answer(404, 409))
async def delete_task(request: Request, actor: Operator, id: TaskId) -> Response:
    """Its history stays. One that runs is refused: cancel it first."""
    async with audited(request, actor, "task.delete", task_id=id) as change:
        await change.client.delete(id)
    return Response(status_code=204)


@router.get(
    "/tasks/{id}/tree",
    tags=["groups"],
    summary="Read a task with its steps, what it waits for and what waits for it",
    responses=answers(NodeShape, examples.NODE, 404),
)
async def get_tree(request: Request, actor: Viewer, id: TaskId) -> Response:
    """Each task is in the tree once, where it was met first."""
    return reply(request, actor, (await state_of(request).client.tree(id)).as_dict())
