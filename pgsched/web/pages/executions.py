"""Executions: the attempts of all tasks, the latest first."""

from __future__ import annotations

from datetime import datetime

from fastapi import APIRouter, Request
from starlette.responses import Response

from pgsched.db import page_commands
from pgsched.db.page_commands import EXECUTION_STATUSES
from pgsched.errors import InvalidTask
from pgsched.web.access import Viewer
from pgsched.web.pages.forms import moment, optional_number
from pgsched.web.pages.shown import link, run, show

PER_PAGE = 50
SPANS = {"15m": 900, "1h": 3_600, "6h": 21_600, "1d": 86_400, "7d": 604_800, "30d": 2_592_000}
"""How far back one may look, by the word for it."""
_GROWING = 60
"""Seconds: a page is first looked for in so short a span, and in eight times as long a one while it is not full."""

router = APIRouter()


@router.get("/executions")
async def executions(request: Request, actor: Viewer) -> Response:
    """Show the attempts that began within a span of time."""
    names = ("queue", "task_type", "status", "within")
    asked = {name: request.query_params.get(name, "").strip() for name in names}
    asked["within"] = asked["within"] or "1h"
    if asked["within"] not in SPANS:
        raise InvalidTask(f"within must be one of {', '.join(SPANS)}, got {asked['within'][:100]!r}")
    longest = SPANS[asked["within"]]
    before = _place(request)
    seconds = longest if before else min(_GROWING, longest)
    while True:
        command = page_commands.latest_executions(
            seconds=seconds,
            queue=asked["queue"] or None,
            task_type=asked["task_type"] or None,
            status=asked["status"] or None,
            before=before,
            limit=PER_PAGE + 1,
        )
        found = await run(request, command)
        if len(found) > PER_PAGE or seconds >= longest:
            break
        seconds = min(seconds * 8, longest)
    following = None
    if len(found) > PER_PAGE:
        found = found[:PER_PAGE]
        last = found[-1]
        key = {"at": last.started_at.isoformat(), "before": last.task_id, "token": last.fencing_token}
        following = link(request, "/executions", {**asked, **key})
    return show(
        request,
        actor,
        "executions.html",
        at="executions",
        fields=asked,
        executions=found,
        following=following,
        statuses=EXECUTION_STATUSES,
        spans=list(SPANS),
    )


def _place(request: Request) -> tuple[datetime, int, int] | None:
    given = request.query_params
    before, token = optional_number("before", given.get("before")), optional_number("token", given.get("token"))
    if not given.get("at") or before is None or token is None:
        return None
    return moment("at", given["at"]), before, token
