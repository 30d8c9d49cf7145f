"""Tasks: listed, made, read, edited, deleted; and what is done to one, or to all that fit a filter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, cast

from fastapi import Path, Query
from starlette.responses import Response

from pgsched.domain.errors import Described
from pgsched.domain.pages import read_cursor, write_cursor
from pgsched.domain.scheduled import OnConflict
from pgsched.domain.task_spec import TaskOptions
from pgsched.domain.validation import refused
from pgsched.web.api import examples
from pgsched.web.api.bodies import NewGroup, NewSteps, NewTask, Retrying, TaskEdit, options_of, unique_of
from pgsched.web.api.cursors import sealed, unsealed
from pgsched.web.api.documented import Route, answers, empty_answer, json_body, reply, reply_page
from pgsched.web.api.fields import ChosenFields, Fields
from pgsched.web.api.idempotency import IdempotencyKey, check_same, with_key
from pgsched.web.api.preconditions import IfMatch, etag
from pgsched.web.api.routing import api_router
from pgsched.web.api.shapes import (
    AddedShape,
    ChangedShape,
    EditedPayloadsShape,
    MadeShape,
    NodeShape,
    TaskPage,
    TaskShape,
    TaskStatusShape,
)
from pgsched.web.api.task_query import Bulk, PayloadEdits, TaskQuery, filters_of
from pgsched.web.auth.access import Actor, Operator, Viewer
from pgsched.web.paths import href
from pgsched.web.services import changes
from pgsched.web.services.search import find_stretch

router = api_router("tasks")

TaskId = Annotated[int, Path(description="The id of the task.", examples=[17])]
ConflictRule = Annotated[
    OnConflict,
    Query(
        description="What becomes of the task that has the idempotency_key: return (or keep): it stays as it is; "
        "update: it is changed to what is given; replace: it is cancelled if it is not over, gives up the key, and a "
        "new one is made, but while it runs that is refused; raise: the request is refused."
    ),
]
_EXISTED = "The idempotency_key is known, or there is one like it by unique: this is that task."


@router.get(
    "/tasks",
    summary="List tasks, the latest first",
    responses=answers(TaskPage, {"items": [examples.TASK], "next_cursor": "WyJ0YXNrcyIsIDE3XQ"}),
)
async def list_tasks(actor: Viewer, query: Annotated[TaskQuery, Query()]) -> Response:
    """All filters must fit. Without an index for them a page looks at 50,000 rows and may be short, even
    empty: go on with next_cursor until it is null.
    """
    filters, chosen = filters_of(query, actor), Fields.of(TaskShape, query.fields)
    before = read_cursor("tasks", unsealed(query.cursor, filters), int)
    page = await find_stretch(actor.client, filters, limit=query.limit, before_id=before, without=chosen.left_out)
    return reply_page(actor, page.tasks, sealed(page.next_cursor, filters), chosen)


@router.post(
    "/tasks",
    status_code=201,
    summary="Schedule a task",
    responses=answers(MadeShape, examples.TASK | examples.MADE, 400, 409, status=201, also=_EXISTED),
)
async def create_task(
    actor: Operator,
    body: Annotated[
        NewTask,
        json_body(
            once=("Once, in a minute", examples.EMAIL),
            recurring=("Every Monday", examples.REPORT),
            repeating=("Ten times", examples.PING),
        ),
    ],
    key: IdempotencyKey,
    on_conflict: ConflictRule = "return",
) -> Response:
    """One-time unless there is a cron_expression (recurring) or a repeat_interval (repeating).

    `outcome`, also in the header `Pgsched-Outcome`, says whether the task was `created`, or is `existing`, `updated`,
    `unchanged` or `replaced`; `differs` which of the given fields an existing one has otherwise; `warnings` that its
    task_type is not registered.
    """
    options = cast(TaskOptions, with_key(options_of(body, empties=False), key, on_conflict))
    unique = unique_of(body)
    made = await changes.create_task(
        actor, body.task_type, body.payload, options, on_conflict=on_conflict, unique=unique
    )
    return _made(actor, check_same(made, key))


@router.post(
    "/groups",
    status_code=201,
    tags=["groups"],
    summary="Schedule a group of steps",
    responses=answers(
        MadeShape, examples.TASK | examples.MADE | {"task_type": "pgsched.group"}, 400, 409, status=201, also=_EXISTED
    ),
)
async def create_group(
    actor: Operator,
    body: Annotated[NewGroup, json_body(two=("Two steps", examples.GROUP))],
    key: IdempotencyKey,
    on_conflict: ConflictRule = "return",
) -> Response:
    """Once, or as a schedule, by the fields that a task has; answered as `POST /tasks`."""
    options = cast(TaskOptions, with_key(options_of(body, empties=False), key, on_conflict))
    unique = unique_of(body)
    made = await changes.create_group(actor, body.steps, options, on_conflict=on_conflict, unique=unique)
    return _made(actor, check_same(made, key))


@router.post(
    "/tasks/{id}/steps",
    status_code=201,
    tags=["groups"],
    summary="Add steps to a group whose steps run",
    responses=answers(AddedShape, examples.ADDED, 400, 404, 409, status=201),
)
async def add_steps(
    actor: Operator, id: TaskId, body: Annotated[NewSteps, json_body(two=("Two steps", examples.STEPS))]
) -> Response:
    """They run in the order that they have among themselves; `after` may name steps that are there.

    Refused for a group that has not begun, or is over.
    """
    return reply(actor, {"ids": await changes.add_steps(actor, id, body.steps)}, status=201)


def _made(actor: Actor, made: changes.Made) -> Response:
    where = href(actor.request, f"/api/v1/tasks/{made.task.id}")
    told = {"Location": where, "Pgsched-Outcome": made.outcome}
    said = {"outcome": made.outcome, "differs": list(made.differs), "warnings": list(made.warnings)}
    is_new = made.outcome in ("created", "replaced")
    return reply(actor, made.task.as_dict() | said, status=201 if is_new else 200, headers=told)


@router.get(
    "/tasks/{id}",
    summary="Read a task, what it did last and what it will do",
    responses=answers(TaskStatusShape, examples.STATUS, 404),
)
async def get_task(actor: Viewer, id: TaskId, fields: ChosenFields = None) -> Response:
    """Its columns, its schedule in words, the next runs, the last executions, and the ticks that it missed."""
    async with actor.client.transaction() as client:  # of one connection: waited for once
        status = await client.status(id)
    said = status.as_dict()
    if not actor.sees_payloads:  # a version would say of each guess at the payload whether it is right
        said["version"] = None
    return reply(actor, Fields.of(TaskStatusShape, fields).pick(said), headers=etag(said["version"]))


@router.patch("/tasks/{id}", summary="Edit a task", responses=answers(TaskShape, examples.TASK, 400, 404, 409, 412))
async def update_task(
    actor: Operator,
    id: TaskId,
    body: Annotated[TaskEdit, json_body(edit=("Sooner", examples.EDIT))],
    expected: IfMatch,
) -> Response:
    """What is left out stays, null empties. An edited schedule is planned afresh; a run under way is not disturbed."""
    options = cast(TaskOptions, options_of(body, empties=True))
    if "payload" in body.model_fields_set and body.payload is None:
        raise refused("payload", "have a value", Described("null"))
    task, version = await changes.update_task(actor, id, body.payload, options, versions=expected.versions)
    return reply(actor, task, headers=etag(version))


@router.delete("/tasks/{id}", status_code=204, summary="Delete a task", responses=empty_answer(404, 409, 412))
async def delete_task(actor: Operator, id: TaskId, expected: IfMatch) -> Response:
    """Its history stays. One that runs is refused: cancel it first."""
    await changes.delete_task(actor, id, versions=expected.versions)
    return Response(status_code=204)


@router.get(
    "/tasks/{id}/tree",
    tags=["groups"],
    summary="Read a task with its steps, what it waits for and what waits for it",
    responses=answers(NodeShape, examples.NODE, 404),
)
async def get_tree(actor: Viewer, id: TaskId) -> Response:
    """Each task is in the tree once, where it was met first."""
    return reply(actor, await actor.client.tree(id))


def _action(verb: str, summary: str, *errors: int, **changed: Any) -> Callable[[Route], Route]:
    """Declare the route that does this to one task; its answer is the task, in the example with what was changed."""
    example = examples.TASK | changed
    return router.post(
        f"/tasks/{{id}}/{verb}", summary=summary, responses=answers(TaskShape, example, 404, 412, *errors)
    )


@_action("enable", "Let a task run again")
async def enable_task(
    actor: Operator,
    id: TaskId,
    expected: IfMatch,
    catch_up: Annotated[bool, Query(description="false: ticks that passed while it was paused are not run.")] = True,
) -> Response:
    """Ticks that passed while it was paused follow on_missed. Nothing happens to one that is not paused."""
    return reply(actor, await changes.act_on_task(actor, "enable", id, catch_up=catch_up, versions=expected.versions))


@_action("disable", "Pause a task", enabled=False)
async def disable_task(actor: Operator, id: TaskId, expected: IfMatch) -> Response:
    """A run under way goes on. Nothing happens to one that is paused."""
    return reply(actor, await changes.act_on_task(actor, "disable", id, versions=expected.versions))


@_action("run", "Run a task now", 409)
async def run_task(actor: Operator, id: TaskId, expected: IfMatch) -> Response:
    """A waiting one-time task is made due now; of any other a copy is, with this one as its parent_id.

    The answer is the task that runs. Refused while a one-time task runs.
    """
    return reply(actor, await changes.act_on_task(actor, "run", id, versions=expected.versions))


@_action("cancel", "Stop a task for good", 409, status="cancelled", next_run_at=None)
async def cancel_task(actor: Operator, id: TaskId, expected: IfMatch) -> Response:
    """Also while it runs; of a group its steps, too. Refused when it is over."""
    return reply(actor, await changes.act_on_task(actor, "cancel", id, versions=expected.versions))


@_action("retry", "Give a task all its attempts again", 400, 409)
async def retry_task(
    actor: Operator,
    id: TaskId,
    expected: IfMatch,
    body: Annotated[Retrying | None, json_body(payload=("With another payload", examples.RETRY))] = None,
) -> Response:
    """For one that is dead, cancelled, or waits for its backoff; it is due now. Refused in any other status.

    A body is not needed; with one it has another payload from now on.
    """
    payload = None if body is None else body.payload
    return reply(actor, await changes.act_on_task(actor, "retry", id, payload=payload, versions=expected.versions))


@_action("replan", "Book a schedule afresh", 409)
async def replan_task(actor: Operator, id: TaskId, expected: IfMatch) -> Response:
    """From now, whatever it was booked for. Refused while it runs, once it was cancelled, and for a one-time task."""
    return reply(actor, await changes.act_on_task(actor, "replan", id, versions=expected.versions))


@router.post(
    "/tasks/bulk",
    summary="Change all tasks that fit a filter",
    responses=answers(ChangedShape, examples.CHANGED, 400, 409),
)
async def change_tasks(actor: Operator, body: Annotated[Bulk, json_body(dry=("A dry run", examples.BULK))]) -> Response:
    """1,000 tasks in a transaction. What the action does not suit is left alone."""
    filters = filters_of(body.filter, actor)
    before = read_cursor("bulk", unsealed(body.cursor, filters), int)
    done = await changes.change_tasks(
        actor, body.action, filters, limit=body.limit, dry_run=body.dry_run, before_id=before
    )
    said = {
        "action": body.action,
        "dry_run": body.dry_run,
        "matched": done.matched,
        "changed": len(done.changed),
        "ids": done.changed[: changes.SHOWN_IDS],
        "more": done.more,
        "next_cursor": sealed(write_cursor("bulk", done.next_before), filters),
    }
    return reply(actor, said)


@router.post(
    "/tasks/payloads",
    summary="Change the payloads of tasks that wait",
    responses=answers(EditedPayloadsShape, examples.EDITED, 400, 409),
)
async def edit_payloads(
    actor: Operator, body: Annotated[PayloadEdits, json_body(dry=("A dry run", examples.PATCH))]
) -> Response:
    """A batch of those that fit the filter, in one transaction: ask again with next_cursor until it is null.

    Those that are pending or blocked, and schedules, are changed. A payload that would break a rule, as that of a
    strict handler, stays as it is, and is told of.
    """
    filters = filters_of(body.filter, actor)
    before = read_cursor("payloads", unsealed(body.cursor, filters), int)
    done = await changes.edit_payloads(
        actor, body.patch, filters, limit=body.limit, before_id=before, dry_run=body.dry_run
    )
    said = {
        "dry_run": body.dry_run,
        "matched": done.matched,
        "edited": done.edited,
        "ids": list(done.ids[: changes.SHOWN_IDS]),
        "refused": done.refused,
        "refusals": [one._asdict() for one in done.refusals],
        "next_cursor": sealed(write_cursor("payloads", done.next_before), filters),
    }
    return reply(actor, said)
