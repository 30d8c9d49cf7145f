"""Workers: who is there, what each serves, how busy it is; and the doctor: what is wrong, what to do about it."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from pgsched.ops.doctor.catalogue import CHECKS
from pgsched.web.auth.access import Viewer
from pgsched.web.dashboard.shown import show

router = APIRouter()


@router.get("/workers")
async def workers(actor: Viewer) -> Response:
    """Show every worker, and types that none of them knows."""
    survey, standby = await actor.state.surveys.get(), actor.client.database.standby
    unhandled = [one for one in survey.types if one.due and not one.handled and not standby]
    return show(actor, "workers.html", at="workers", workers=survey.workers, unhandled=unhandled, standby=standby)


@router.get("/doctor")
async def doctor(actor: Viewer) -> Response:
    """Show every finding, and every check."""
    diagnosis = await actor.state.diagnosis.get()
    states = {one.check: one.state for one in diagnosis.checks}
    return show(
        actor,
        "doctor.html",
        at="doctor",
        findings=diagnosis.findings,
        checks=[{"check": check, "state": states[check.name]} for check in CHECKS],
    )
