"""The dead letters: listed, tried again, thrown away."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Body, Query, Request
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictStr
from starlette.responses import Response

from pgsched.web.api import examples
from pgsched.web.api.cursors import read_cursor, write_cursor
from pgsched.web.api.documented import answers, reply
from pgsched.web.api.shapes import NumberShape, TaskPage
from pgsched.web.api.values import ALL, Age
from pgsched.web.auth.access import Operator, Viewer
from pgsched.web.services.audit import audited
from pgsched.web.state import state_of

router = APIRouter(tags=["dead letters"])


class DeadFilter(BaseModel):
    """Which dead tasks."""

    model_config = ConfigDict(extra="forbid")

    queue: StrictStr | None = None
    task_type: StrictStr | None = None
    all: StrictBool = Field(False, description=ALL)


class DeadPurge(DeadFilter):
    """Which dead tasks to delete."""

    older_than: Age | None = Field(None, description="Only those that have been dead for so long.")


@router.get(
    "/dead",
    summary="List the dead letters, the latest first",
    responses=answers(TaskPage, {"items": [examples.DEAD], "next_cursor": None}),
)
async def list_dead(
    request: Request,
    actor: Viewer,
    queue: str | None = None,
    task_type: str | None = None,
    limit: Annotated[int, Query(description="1 to 10,000.")] = 50,
    cursor: Annotated[str | None, Query(description="The next_cursor of the page before.")] = None,
) -> Response:
    """Tasks that failed for good, by when they died."""
    place = None if cursor is None else read_cursor("dead", cursor, datetime, int)
    before = None if place is None else (place[0], place[1])
    found = await state_of(request).client.dead(queue=queue, task_type=task_type, limit=limit, before=before)
    last = found[-1] if len(found) == limit else None
    following = None if last is None else write_cursor("dead", last.died_at, last.id)
    return reply(request, actor, {"items": [task.as_dict() for task in found], "next_cursor": following})


@router.post(
    "/dead/retry",
    summary="Give all dead tasks that fit all their attempts again",
    responses=answers(NumberShape, {"number": 2}, 400),
)
async def retry_dead(
    request: Request,
    actor: Operator,
    body: Annotated[
        DeadFilter, Body(openapi_examples={"mail": {"summary": "Of one queue", "value": examples.DEAD_RETRY}})
    ],
) -> Response:
    """They are due now. For one task: `POST /tasks/{id}/retry`; for other filters or a dry run: `POST /tasks/bulk`."""
    async with audited(request, actor, "dead.retry", queue=body.queue, target="dead") as change:
        number = await change.client.retry_dead(**dict(body))
        change.nothing = number == 0
        change.before, change.after = body.model_dump(exclude_defaults=True), {"number": number}
    return reply(request, actor, {"number": number})


@router.post(
    "/dead/purge",
    summary="Delete dead tasks",
    responses=answers(NumberShape, {"number": 2}, 400),
)
async def purge_dead(
    request: Request,
    actor: Operator,
    body: Annotated[DeadPurge, Body(openapi_examples={"old": {"summary": "Old ones", "value": examples.DEAD_PURGE}})],
) -> Response:
    """Their history stays."""
    async with audited(request, actor, "dead.purge", queue=body.queue, target="dead") as change:
        number = await change.client.purge_dead(**dict(body))
        change.nothing = number == 0
        change.before, change.after = body.model_dump(exclude_defaults=True), {"number": number}
    return reply(request, actor, {"number": number})
