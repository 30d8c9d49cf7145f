"""Workers: who is there, what each serves, how busy it is."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from pgsched.web.auth.access import Viewer
from pgsched.web.dashboard.shown import show

router = APIRouter()


@router.get("/workers")
async def workers(actor: Viewer) -> Response:
    """Show every worker, and types that none of them knows."""
    survey, standby = await actor.state.surveys.get(), actor.client.database.standby
    unhandled = [one for one in survey.types if one.due and not one.handled and not standby]
    return show(actor, "workers.html", at="workers", workers=survey.workers, unhandled=unhandled, standby=standby)
