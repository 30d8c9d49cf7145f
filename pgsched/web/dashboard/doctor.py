"""The doctor: what is wrong, what to do about it, and what was looked at."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from pgsched.ops.doctor.catalogue import CHECKS
from pgsched.web.auth.access import Viewer
from pgsched.web.dashboard.shown import show

router = APIRouter()


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
