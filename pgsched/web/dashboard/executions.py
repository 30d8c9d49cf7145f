"""Executions: the attempts of all tasks, the latest first."""

from __future__ import annotations

from starlette.responses import Response

from pgsched.db.queries.dashboard import EXECUTION_STATUSES
from pgsched.domain.validation import one_of
from pgsched.web.auth.access import Viewer
from pgsched.web.dashboard.forms import Text, given, moment, optional_number
from pgsched.web.dashboard.routing import page_router
from pgsched.web.dashboard.shown import link, show
from pgsched.web.services.search import Place, find_attempts

PER_PAGE = 50
SPANS = {"15m": 900, "1h": 3_600, "6h": 21_600, "1d": 86_400, "7d": 604_800, "30d": 2_592_000}
"""The periods to choose from, by label."""
_within = one_of(*SPANS)

router = page_router()


@router.get("/executions")
async def executions(actor: Viewer, at: Text = "", before: Text = "", token: Text = "") -> Response:
    """Show the attempts that started within a period."""
    fields = {"within": "1h"} | given(actor.request.query_params, "queue", "task_type", "status", "within")
    found = await find_attempts(
        actor.client.database,
        seconds=SPANS[_within("within", fields["within"])],
        queue=fields.get("queue"),
        task_type=fields.get("task_type"),
        status=fields.get("status"),
        before=_place(at, before, token),
        limit=PER_PAGE,
    )
    following = None
    if found.next_before is not None:
        place = dict(zip(("at", "before", "token"), found.next_before, strict=True))
        following = link(actor, "/executions", {**fields, **place})
    return show(
        actor,
        "executions.html",
        at="executions",
        fields=fields,
        executions=found.found,
        following=following,
        looked_on=following is not None and len(found.found) < PER_PAGE,
        statuses=EXECUTION_STATUSES,
        spans=list(SPANS),
    )


def _place(at: str, before: str, token: str) -> Place | None:
    task_id, fence = optional_number("before", before), optional_number("token", token)
    return None if not at or task_id is None or fence is None else (moment("at", at), task_id, fence)
