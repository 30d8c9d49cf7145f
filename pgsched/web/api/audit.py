"""The audit log: who changed what through the web."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from pgsched.db.audit_commands import list_entries
from pgsched.domain import records
from pgsched.web.api.cursors import read_cursor, write_cursor
from pgsched.web.api.documented import answers, reply
from pgsched.web.api.shapes import page_of, shape_of
from pgsched.web.auth.access import Operator
from pgsched.web.state import state_of

router = APIRouter(tags=["audit"])

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
}


@router.get(
    "/audit",
    summary="List changes made through the web, the latest first",
    responses=answers(AuditPage, {"items": [ENTRY], "next_cursor": None}),
)
async def list_audit(
    request: Request,
    actor: Operator,
    task_id: Annotated[int | None, Query(description="Only of this task.")] = None,
    by: Annotated[str | None, Query(alias="actor", description="Only of who called himself so.")] = None,
    action: Annotated[
        str | None, Query(description="Only of this action, as `task.cancel`, or of all of a kind, as `task`.")
    ] = None,
    queue: Annotated[str | None, Query(description="Only of this queue.")] = None,
    limit: Annotated[int, Query(description="1 to 10,000.")] = 50,
    cursor: Annotated[str | None, Query(description="The next_cursor of the page before.")] = None,
) -> Response:
    """For operators only: it names people and where they were. Without task_id a page looks at 100,000 entries and may
    be short, even empty: go on with next_cursor until it is null.
    """
    before_id = None if cursor is None else read_cursor("audit", cursor, int)[0]
    command = list_entries(task_id=task_id, actor=by, action=action, queue=queue, limit=limit, before_id=before_id)
    page = await state_of(request).client.database.run(command)
    following = None if page.next_before is None else write_cursor("audit", page.next_before)
    return reply(request, actor, {"items": [entry.as_dict() for entry in page.entries], "next_cursor": following})
