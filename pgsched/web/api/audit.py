"""The audit log: who changed what through the dashboard and the REST API."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query
from starlette.responses import Response

from pgsched.db.queries.audit import list_entries
from pgsched.domain import records
from pgsched.domain.pages import read_cursor, write_cursor
from pgsched.web.api.cursors import Cursor, Limit, sealed, unsealed
from pgsched.web.api.documented import answers, reply_page
from pgsched.web.api.routing import api_router
from pgsched.web.api.shapes import page_of, shape_of
from pgsched.web.auth.access import Operator

router = api_router("audit")

AuditPage = page_of(shape_of(records.AuditEntry, "AuditEntry"), "AuditPage")
ENTRY = {
    "id": 12,
    "at": "2030-01-01T08:00:00Z",
    "actor": "Ann",
    "role": "operator",
    "remote": "10.0.0.9",
    "action": "task.cancel",
    "task_id": 7,
    "queue": None,
    "target": None,
    "before": {"status": "pending"},
    "after": {"status": "cancelled"},
    "task_ids": None,
}


@router.get(
    "/audit",
    summary="List the audit log, newest first",
    responses=answers(AuditPage, {"items": [ENTRY], "next_cursor": None}),
)
async def list_audit(
    actor: Operator,
    task_id: Annotated[int | None, Query(description="Only changes of this task.")] = None,
    by: Annotated[str | None, Query(alias="actor", description="Only changes by this actor.")] = None,
    action: Annotated[
        str | None,
        Query(description="Only this action, such as `task.cancel`, or all actions of a kind, such as `task`."),
    ] = None,
    queue: Annotated[str | None, Query(description="Only changes of this queue.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """For operators only, because entries contain the names and addresses of people. Without task_id a page scans
    100,000 entries and may be short or even empty: continue with next_cursor until it is null.
    """
    filters = {"task_id": task_id, "actor": by, "action": action, "queue": queue}
    before_id = read_cursor("audit", unsealed(cursor, filters), int)
    command = list_entries(task_id=task_id, actor=by, action=action, queue=queue, limit=limit, before_id=before_id)
    page = await actor.client.database.run(command)
    return reply_page(actor, page.entries, sealed(write_cursor("audit", page.next_before), filters))
