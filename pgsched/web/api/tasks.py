"""Tasks: list, create, read, edit and delete; and actions on one task or on all that match a filter."""

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
        description="What happens to an existing task with the idempotency_key: return (or keep): it stays unchanged; "
        "update: it is changed to the given values; replace: it is cancelled if it has not ended, releases the key, "
        "and a new task is created, but while it runs the request is rejected; raise: the request is rejected."
    ),
]
_EXISTED = "A task with the idempotency_key, or a similar one by unique, exists: this is that task."


@router.get(
    "/tasks",
    summary="List tasks, newest first",
    responses=answers(TaskPage, {"items": [examples.TASK], "next_cursor": "WyJ0YXNrcyIsIDE3XQ"}),
)
async def list_tasks(actor: Viewer, query: Annotated[TaskQuery, Query()]) -> Response:
    """All filters must match. Without an index for them a page scans 50,000 rows and may be short or even
    empty: continue with next_cursor until it is null.
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
    `unchanged` or `replaced`; `differs` lists the given fields whose values differ from those of an existing task;
    `warnings` says that its task_type is not registered.
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
    """One-time, or as a schedule, with the same fields as a task; answered like `POST /tasks`."""
    options = cast(TaskOptions, with_key(options_of(body, empties=False), key, on_conflict))
    unique = unique_of(body)
    made = await changes.create_group(actor, body.steps, options, on_conflict=on_conflict, unique=unique)
    return _made(actor, check_same(made, key))


@router.post(
    "/tasks/{id}/steps",
    status_code=201,
    tags=["groups"],
    summary="Add steps to a running group",
    responses=answers(AddedShape, examples.ADDED, 400, 404, 409, status=201),
)
async def add_steps(
    actor: Operator, id: TaskId, body: Annotated[NewSteps, json_body(two=("Two steps", examples.STEPS))]
) -> Response:
    """They run in the order of their own dependencies; `after` may name existing steps.

    Rejected for a group that has not started, or has ended.
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
    summary="Read a task with its last execution and its next runs",
    responses=answers(TaskStatusShape, examples.STATUS, 404),
)
async def get_task(actor: Viewer, id: TaskId, fields: ChosenFields = None) -> Response:
    """Its columns, its schedule in words, the next runs, the latest executions, and its missed ticks."""
    async with actor.client.transaction() as client:  # On one connection: waited for once.
        status = await client.status(id)
    said = status.as_dict()
    if not actor.sees_payloads:  # A version would confirm or deny each guess at the payload.
        said["version"] = None
    return reply(actor, Fields.of(TaskStatusShape, fields).pick(said), headers=etag(said["version"]))


@router.patch("/tasks/{id}", summary="Edit a task", responses=answers(TaskShape, examples.TASK, 400, 404, 409, 412))
async def update_task(
    actor: Operator,
    id: TaskId,
    body: Annotated[TaskEdit, json_body(edit=("Sooner", examples.EDIT))],
    expected: IfMatch,
) -> Response:
    """An omitted field stays unchanged, null clears it. The next tick of an edited schedule is calculated again; a
    current run is not affected.
    """
    options = cast(TaskOptions, options_of(body, empties=True))
    if "payload" in body.model_fields_set and body.payload is None:
        raise refused("payload", "have a value", Described("null"))
    task, version = await changes.update_task(actor, id, body.payload, options, versions=expected.versions)
    return reply(actor, task, headers=etag(version))


@router.delete("/tasks/{id}", status_code=204, summary="Delete a task", responses=empty_answer(404, 409, 412))
async def delete_task(actor: Operator, id: TaskId, expected: IfMatch) -> Response:
    """Its history stays. A running task is rejected: cancel it first."""
    await changes.delete_task(actor, id, versions=expected.versions)
    return Response(status_code=204)


@router.get(
    "/tasks/{id}/tree",
    tags=["groups"],
    summary="Read a task with its steps, dependencies and dependents",
    responses=answers(NodeShape, examples.NODE, 404),
)
async def get_tree(actor: Viewer, id: TaskId) -> Response:
    """Each task is in the tree once, at its first occurrence."""
    return reply(actor, await actor.client.tree(id))


def _action(verb: str, summary: str, *errors: int, **changed: Any) -> Callable[[Route], Route]:
    """Declare the route of an action on one task; its answer is the task, in the example with the change applied."""
    example = examples.TASK | changed
    return router.post(
        f"/tasks/{{id}}/{verb}", summary=summary, responses=answers(TaskShape, example, 404, 412, *errors)
    )


@_action("enable", "Resume a task")
async def enable_task(
    actor: Operator,
    id: TaskId,
    expected: IfMatch,
    catch_up: Annotated[bool, Query(description="false: ticks that passed while it was paused do not run.")] = True,
) -> Response:
    """Ticks that passed while it was paused follow on_missed. Has no effect on a task that is not paused."""
    return reply(actor, await changes.act_on_task(actor, "enable", id, catch_up=catch_up, versions=expected.versions))


@_action("disable", "Pause a task", enabled=False)
async def disable_task(actor: Operator, id: TaskId, expected: IfMatch) -> Response:
    """A current run continues. Has no effect on a task that is paused."""
    return reply(actor, await changes.act_on_task(actor, "disable", id, versions=expected.versions))


@_action("run", "Run a task now", 409)
async def run_task(actor: Operator, id: TaskId, expected: IfMatch) -> Response:
    """A waiting one-time task becomes due now; of any other task a copy is due now, with this one as its parent_id.

    The answer is the task that runs. Rejected while a one-time task runs.
    """
    return reply(actor, await changes.act_on_task(actor, "run", id, versions=expected.versions))


@_action("cancel", "Cancel a task", 409, status="cancelled", next_run_at=None)
async def cancel_task(actor: Operator, id: TaskId, expected: IfMatch) -> Response:
    """Works while it runs, too; cancelling a group cancels its steps. Rejected when the task has ended."""
    return reply(actor, await changes.act_on_task(actor, "cancel", id, versions=expected.versions))


@_action("retry", "Retry a task with all its attempts", 400, 409)
async def retry_task(
    actor: Operator,
    id: TaskId,
    expected: IfMatch,
    body: Annotated[Retrying | None, json_body(payload=("With another payload", examples.RETRY))] = None,
) -> Response:
    """For a task that is dead, cancelled, or waits for its backoff; it is due now. Rejected in any other status.

    The body is optional; it can replace the payload.
    """
    payload = None if body is None else body.payload
    return reply(actor, await changes.act_on_task(actor, "retry", id, payload=payload, versions=expected.versions))


@_action("replan", "Replan a schedule", 409)
async def replan_task(actor: Operator, id: TaskId, expected: IfMatch) -> Response:
    """From now on, whatever its next run was. Rejected while it runs, after a cancel, and for a one-time task."""
    return reply(actor, await changes.act_on_task(actor, "replan", id, versions=expected.versions))


@router.post(
    "/tasks/bulk",
    summary="Change all tasks that match a filter",
    responses=answers(ChangedShape, examples.CHANGED, 400, 409),
)
async def change_tasks(actor: Operator, body: Annotated[Bulk, json_body(dry=("A dry run", examples.BULK))]) -> Response:
    """1,000 tasks per transaction. Tasks that do not allow the action are left unchanged."""
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
    summary="Change the payloads of waiting tasks",
    responses=answers(EditedPayloadsShape, examples.EDITED, 400, 409),
)
async def edit_payloads(
    actor: Operator, body: Annotated[PayloadEdits, json_body(dry=("A dry run", examples.PATCH))]
) -> Response:
    """A batch of the matching tasks, in one transaction: send it again with next_cursor until that is null.

    Tasks that are pending or blocked, and schedules, are changed. A payload that would break a rule, for example that
    of a strict handler, stays unchanged and is reported.
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
