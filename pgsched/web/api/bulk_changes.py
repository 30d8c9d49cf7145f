"""Changes to many tasks that run in the background."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from fastapi import Path
from pydantic import Field, StrictInt, StrictStr
from starlette.responses import Response

from pgsched.db.queries.bulk_changes import list_bulk_changes
from pgsched.db.queries.task_search import ACTIONS
from pgsched.domain.bulk_changes import UNDO_SECONDS, BulkChange
from pgsched.domain.pages import read_cursor, write_cursor
from pgsched.web.api import examples
from pgsched.web.api.cursors import Cursor, Limit
from pgsched.web.api.documented import answers, json_body, reply, reply_page
from pgsched.web.api.routing import api_router
from pgsched.web.api.shapes import BulkChangePage, BulkChangeShape
from pgsched.web.api.task_query import BulkFilter, filters_of
from pgsched.web.api.values import StrictModel
from pgsched.web.auth.access import Actor, Operator, Viewer
from pgsched.web.services import bulk

router = api_router("bulk changes")

ChangeId = Annotated[int, Path(description="The id of the change.", examples=[3], ge=1, le=2**63 - 1)]


class NewBulkChange(StrictModel):
    """One action on all tasks that match a filter and allow the action; their number is not limited."""

    action: StrictStr = Field(json_schema_extra={"enum": list(ACTIONS)})
    filter: BulkFilter
    delay: StrictInt = Field(
        UNDO_SECONDS, ge=0, le=3600, description="Seconds until the change starts; it can be undone until then."
    )


@router.post(
    "/bulk-changes",
    status_code=201,
    summary="Change all tasks that match a filter in the background",
    responses=answers(BulkChangeShape, examples.BULK_CHANGE, 400, status=201),
)
async def create_bulk_change(
    actor: Operator, body: Annotated[NewBulkChange, json_body(retry=("Retry dead tasks", examples.NEW_BULK_CHANGE))]
) -> Response:
    """A dashboard process makes the change in batches: each is a transaction with its entry in the audit log. When that
    process dies, another one continues, or the same one after its restart.
    """
    filters = filters_of(body.filter, actor)
    estimate = await bulk.estimate(actor.client, body.action, filters)
    expected = estimate.matched if estimate.whole else None
    return _reply(actor, await bulk.begin(actor, body.action, filters, expected=expected, delay=body.delay), status=201)


@router.get(
    "/bulk-changes",
    summary="List changes in the background, newest first",
    responses=answers(BulkChangePage, {"items": [examples.BULK_CHANGE], "next_cursor": None}),
)
async def list_changes(actor: Viewer, limit: Limit = 50, cursor: Cursor = None) -> Response:
    """Finished changes stay in the list."""
    before = read_cursor("bulk_changes", cursor, int)
    found = await actor.client.database.run(list_bulk_changes(limit=limit, before_id=before))
    following = write_cursor("bulk_changes", found[-1].id) if len(found) == limit else None
    return reply_page(actor, [_shown(actor, one) for one in found], following)


@router.get(
    "/bulk-changes/{id}",
    summary="Read the progress of a change in the background",
    responses=answers(BulkChangeShape, examples.BULK_CHANGE, 404),
)
async def get_bulk_change(actor: Viewer, id: ChangeId) -> Response:
    """Its status is waiting, running, undone, stopped, failed or done."""
    return _reply(actor, await bulk.find_change(actor.client, id))


@router.post(
    "/bulk-changes/{id}/undo",
    summary="Undo a change that has not started",
    responses=answers(BulkChangeShape, examples.BULK_CHANGE | {"status": "undone"}, 404, 409),
)
async def undo_bulk_change(actor: Operator, id: ChangeId) -> Response:
    """Nothing is changed then. Rejected once the change has started: stop it instead."""
    return _reply(actor, await bulk.end(actor, id, "undo"))


@router.post(
    "/bulk-changes/{id}/stop",
    summary="Stop a change",
    responses=answers(BulkChangeShape, examples.BULK_CHANGE | {"status": "stopped"}, 404, 409),
)
async def stop_bulk_change(actor: Operator, id: ChangeId) -> Response:
    """It stops after the current batch. Changes already made remain: `changed` counts them."""
    return _reply(actor, await bulk.end(actor, id, "stop"))


@router.post(
    "/bulk-changes/{id}/resume",
    summary="Resume a change that was stopped or has failed",
    responses=answers(BulkChangeShape, examples.BULK_CHANGE | {"status": "running"}, 404, 409),
)
async def resume_bulk_change(actor: Operator, id: ChangeId) -> Response:
    """It continues with the tasks that it has not examined yet."""
    return _reply(actor, await bulk.end(actor, id, "resume"))


def _shown(actor: Actor, change: BulkChange) -> BulkChange:
    return change if actor.sees_payloads else replace(change, described="(hidden)")


def _reply(actor: Actor, change: BulkChange, *, status: int = 200) -> Response:
    return reply(actor, _shown(actor, change), status=status)
