"""The dead letters: listed, retried, deleted."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query
from pydantic import Field, StrictBool, StrictStr
from starlette.responses import Response

from pgsched.web.api import examples
from pgsched.web.api.cursors import sealed, unsealed
from pgsched.web.api.documented import answers, json_body, reply, reply_page
from pgsched.web.api.fields import Fields
from pgsched.web.api.routing import api_router
from pgsched.web.api.shapes import NumberShape, TaskPage, TaskShape
from pgsched.web.api.task_query import DeadQuery, filters_of
from pgsched.web.api.values import Age, StrictModel
from pgsched.web.auth.access import Operator, Viewer
from pgsched.web.services.changes import change_dead

router = api_router("dead letters")


class DeadFilter(StrictModel):
    """The dead tasks to change."""

    queue: StrictStr | None = None
    task_type: StrictStr | None = None
    all: StrictBool = Field(False, description="Required when no filter is given: true selects all of them.")


class DeadPurge(DeadFilter):
    """The dead tasks to delete."""

    older_than: Age | None = Field(None, description="Only tasks that have been dead for at least this long.")


@router.get(
    "/dead",
    summary="List dead letters, newest first",
    responses=answers(TaskPage, {"items": [examples.DEAD], "next_cursor": None}),
)
async def list_dead(actor: Viewer, query: Annotated[DeadQuery, Query()]) -> Response:
    """Tasks that failed permanently, ordered by their time of death. All filters must match."""
    filters, fields = filters_of(query, actor), Fields.of(TaskShape, query.fields)
    found = await actor.client.dead(limit=query.limit, cursor=unsealed(query.cursor, filters), **filters)
    return reply_page(actor, found, sealed(found.next_cursor, filters), fields)


@router.post(
    "/dead/retry",
    summary="Retry all matching dead tasks",
    responses=answers(NumberShape, {"number": 2}, 400),
)
async def retry_dead(
    actor: Operator, body: Annotated[DeadFilter, json_body(mail=("Of one queue", examples.DEAD_RETRY))]
) -> Response:
    """They are due now. For one task: `POST /tasks/{id}/retry`; for other filters or a dry run: `POST /tasks/bulk`."""
    return reply(actor, {"number": await change_dead(actor, "retry", **dict(body))})


@router.post("/dead/purge", summary="Delete dead tasks", responses=answers(NumberShape, {"number": 2}, 400))
async def purge_dead(
    actor: Operator, body: Annotated[DeadPurge, json_body(old=("Old ones", examples.DEAD_PURGE))]
) -> Response:
    """Their history stays."""
    return reply(actor, {"number": await change_dead(actor, "purge", **dict(body))})
