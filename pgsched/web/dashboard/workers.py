"""Workers: who is there, what each serves, how busy it is."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from pgsched.web.auth.access import Viewer
from pgsched.web.dashboard.shown import show
from pgsched.web.dashboard.surveys import surveys_of
from pgsched.web.state import state_of

router = APIRouter()


@router.get("/workers")
async def workers(request: Request, actor: Viewer) -> Response:
    """Show every worker, and types that none of them knows."""
    survey = await surveys_of(request).get()
    standby = state_of(request).client.database.standby
    return show(
        request,
        actor,
        "workers.html",
        at="workers",
        workers=survey.workers,
        unhandled=[one for one in survey.types if one.due and not one.handled and not standby],
        standby=standby,
    )
