"""Executions of tasks: their attempts, the log lines of handlers, missed ticks."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Annotated

from fastapi import Query
from starlette.responses import Response

from pgsched.client.async_client import AsyncClient
from pgsched.db.queries.dashboard import EXECUTION_STATUSES
from pgsched.db.queries.tasks import LEVELS
from pgsched.db.query import MAX_LIMIT
from pgsched.domain.pages import read_cursor, write_cursor
from pgsched.domain.validation import interval_of, refused, whole
from pgsched.web.api import examples
from pgsched.web.api.cursors import Cursor, Limit, sealed, unsealed
from pgsched.web.api.documented import Record, answers, reply, reply_page
from pgsched.web.api.fields import ChosenFields, Fields
from pgsched.web.api.routing import api_router
from pgsched.web.api.shapes import ExecutionPage, ExecutionShape, LogEntryShape, MissedTicksShape, list_of
from pgsched.web.api.tasks import TaskId
from pgsched.web.auth.access import Actor, Viewer
from pgsched.web.services.search import find_attempts

router = api_router("executions")

LONGEST = 366 * 86_400
"""How far back attempts of all tasks are listed, in seconds."""

LogEntries = list_of(LogEntryShape, "LogEntries", "Lines in order.")
AllMissedTicks = list_of(MissedTicksShape, "AllMissedTicks", "Ranges of missed ticks, the latest first.")


@router.get(
    "/executions",
    summary="List the attempts of all tasks, newest first",
    responses=answers(ExecutionPage, {"items": [examples.EXECUTION], "next_cursor": None}),
)
async def list_all_executions(
    actor: Viewer,
    queue: str | None = None,
    task_type: str | None = None,
    status: Annotated[str | None, Query(description=f"One of {', '.join(EXECUTION_STATUSES)}.")] = None,
    within: Annotated[
        str, Query(description='Attempts that started within this period until now: "15m", or seconds; up to "366d".')
    ] = "1h",
    limit: Limit = 50,
    cursor: Cursor = None,
    fields: ChosenFields = None,
) -> Response:
    """All filters must match. When matches are rare, a page may be short or even empty: continue with next_cursor until
    it is null.
    """
    seconds = math.ceil(interval_of("within", within).seconds)
    if not 1 <= seconds <= LONGEST:
        raise refused("within", f"be between 1 second and {LONGEST // 86_400} days", within)
    chosen, filters = Fields.of(ExecutionShape, fields), {"queue": queue, "task_type": task_type, "status": status}
    found = await find_attempts(
        actor.client.database,
        seconds=seconds,
        queue=queue,
        task_type=task_type,
        status=status,
        before=read_cursor("attempts", unsealed(cursor, filters), datetime, int, int),
        limit=whole(1, MAX_LIMIT)("limit", limit),
    )
    following = None if found.next_before is None else write_cursor("attempts", *found.next_before)
    return reply_page(actor, found.found, sealed(following, filters), chosen)


@router.get(
    "/tasks/{id}/executions",
    summary="List the attempts of a task, newest first",
    responses=answers(ExecutionPage, {"items": [examples.EXECUTION], "next_cursor": None}, 404),
)
async def list_executions(
    actor: Viewer, id: TaskId, limit: Limit = 50, cursor: Cursor = None, fields: ChosenFields = None
) -> Response:
    """They outlive the task: the answer is 404 only when neither the task nor its history exists."""
    async with actor.client.transaction() as client:
        found = await client.executions(id, limit=limit, cursor=unsealed(cursor, id))
        if not found and cursor is None:
            await client.get(id)
    return reply_page(actor, found, sealed(found.next_cursor, id), Fields.of(ExecutionShape, fields))


@router.get(
    "/tasks/{id}/logs",
    summary="List the last log lines of a task's handler",
    responses=answers(LogEntries, [examples.LOG_ENTRY], 404),
)
async def list_logs(
    actor: Viewer,
    id: TaskId,
    limit: Limit = 200,
    level: Annotated[str | None, Query(description=f"This level and above: one of {', '.join(LEVELS)}.")] = None,
    cursor: Cursor = None,
) -> Response:
    """In the order in which they were logged. When older lines may exist, the header `X-Next-Cursor` holds the cursor
    for them.
    """
    async with actor.client.transaction() as client:
        found = await client.logs(id, limit=limit, level=level, cursor=cursor)
        if not found:
            await client.get(id)
    return reply(actor, found, headers={"X-Next-Cursor": found.next_cursor} if found.next_cursor else None)


@router.get(
    "/tasks/{id}/missed-ticks",
    summary="List missed ticks of a schedule, with the reasons",
    responses=answers(AllMissedTicks, [examples.MISSED], 404),
)
async def list_missed_ticks(actor: Viewer, id: TaskId, limit: Limit = 50) -> Response:
    """The latest first; consecutive ticks share one row."""
    return await of_task(actor, id, lambda client: client.missed_ticks(id, limit=limit))


async def of_task(actor: Actor, id: int, read: Callable[[AsyncClient], Awaitable[Sequence[Record]]]) -> Response:
    """Return what exists of a task. Raises TaskNotFound when nothing does and the task does not exist."""
    async with actor.client.transaction() as client:
        found = await read(client)
        if not found:
            await client.get(id)
    return reply(actor, found)
