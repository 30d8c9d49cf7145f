"""What tasks did: their attempts, the lines that handlers logged, the ticks that were missed."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import RootModel
from starlette.responses import Response

from pgsched.web.access import Viewer
from pgsched.web.api import examples
from pgsched.web.api.cursors import read_cursor, write_cursor
from pgsched.web.api.documented import answers, reply
from pgsched.web.api.shapes import ExecutionPage, LogEntryShape, MissedTicksShape
from pgsched.web.api.tasks import TaskId
from pgsched.web.state import state_of

router = APIRouter(tags=["executions"])

Limit = Annotated[int, Query(description="1 to 10,000.")]
Cursor = Annotated[str | None, Query(description="The next_cursor of the page before.")]


class LogEntries(RootModel[list[LogEntryShape]]):  # type: ignore[valid-type]
    """Lines in their order."""


class AllMissedTicks(RootModel[list[MissedTicksShape]]):  # type: ignore[valid-type]
    """Rows of missed ticks, the latest first."""


@router.get(
    "/tasks/{id}/executions",
    summary="List the attempts at a task, the latest first",
    responses=answers(ExecutionPage, {"items": [examples.EXECUTION], "next_cursor": None}, 404),
)
async def list_executions(
    request: Request, actor: Viewer, id: TaskId, limit: Limit = 50, cursor: Cursor = None
) -> Response:
    """They outlive the task: 404 is for one that is neither there nor in the history."""
    client = state_of(request).client
    before = None if cursor is None else tuple(read_cursor("executions", cursor, int, datetime))
    found = await client.executions(id, limit=limit, before=before)
    if not found and cursor is None:
        await client.get(id)
    last = found[-1] if len(found) == limit else None
    following = None if last is None else write_cursor("executions", last.fencing_token, last.started_at)
    return reply(request, actor, {"items": [one.as_dict() for one in found], "next_cursor": following})


@router.get(
    "/tasks/{id}/logs",
    summary="List the last lines that a task's handler logged",
    responses=answers(LogEntries, [examples.LOG_ENTRY], 404),
)
async def list_logs(request: Request, actor: Viewer, id: TaskId, limit: Limit = 200) -> Response:
    """In the order in which they were logged."""
    client = state_of(request).client
    found = await client.logs(id, limit=limit)
    if not found:
        await client.get(id)
    return reply(request, actor, [one.as_dict() for one in found])


@router.get(
    "/tasks/{id}/missed-ticks",
    summary="List the ticks of a schedule that were not run, and why",
    responses=answers(AllMissedTicks, [examples.MISSED], 404),
)
async def list_missed_ticks(request: Request, actor: Viewer, id: TaskId, limit: Limit = 50) -> Response:
    """The latest first; one row for ticks in a row."""
    client = state_of(request).client
    found = await client.missed_ticks(id, limit=limit)
    if not found:
        await client.get(id)
    return reply(request, actor, [one.as_dict() for one in found])
