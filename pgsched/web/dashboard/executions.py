"""Executions: the attempts of all tasks, the latest first."""

from __future__ import annotations

from datetime import datetime

from fastapi import APIRouter, Request
from starlette.responses import Response

from pgsched.db.page_commands import EXECUTION_STATUSES
from pgsched.domain.validation import one_of
from pgsched.web.auth.access import Viewer
from pgsched.web.services.execution_search import find_attempts
from pgsched.web.dashboard.forms import moment, optional_number
from pgsched.web.dashboard.shown import client_of, link, show

PER_PAGE = 50
SPANS = {"15m": 900, "1h": 3_600, "6h": 21_600, "1d": 86_400, "7d": 604_800, "30d": 2_592_000}
"""How far back one may look, by the word for it."""
_within = one_of(*SPANS)

router = APIRouter()


@router.get("/executions")
async def executions(request: Request, actor: Viewer) -> Response:
    """Show the attempts that began within a span of time."""
    names = ("queue", "task_type", "status", "within")
    asked = {name: request.query_params.get(name, "").strip() for name in names}
    asked["within"] = asked["within"] or "1h"
    found = await find_attempts(
        client_of(request).database,
        seconds=SPANS[_within("within", asked["within"])],
        queue=asked["queue"] or None,
        task_type=asked["task_type"] or None,
        status=asked["status"] or None,
        before=_place(request),
        limit=PER_PAGE,
    )
    following = None
    if found.next_before is not None:
        at, before, token = found.next_before
        key = {"at": at.isoformat(), "before": before, "token": token}
        following = link(request, "/executions", {**asked, **key})
    return show(
        request,
        actor,
        "executions.html",
        at="executions",
        fields=asked,
        executions=found.found,
        following=following,
        looked_on=following is not None and len(found.found) < PER_PAGE,
        statuses=EXECUTION_STATUSES,
        spans=list(SPANS),
    )


def _place(request: Request) -> tuple[datetime, int, int] | None:
    given = request.query_params
    before, token = optional_number("before", given.get("before")), optional_number("token", given.get("token"))
    if not given.get("at") or before is None or token is None:
        return None
    return moment("at", given["at"]), before, token
