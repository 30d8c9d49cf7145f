"""The doctor: what is wrong, what to do about it, and what was looked at."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from pgsched.ops.doctor.catalogue import CHECKS
from pgsched.web.auth.access import Viewer
from pgsched.web.dashboard.shown import show
from pgsched.web.state import state_of

router = APIRouter()


@router.get("/doctor")
async def doctor(request: Request, actor: Viewer) -> Response:
    """Show every finding, and every check."""
    diagnosis = await state_of(request).diagnosis.get()
    states = {one.check: one.state for one in diagnosis.checks}
    return show(
        request,
        actor,
        "doctor.html",
        at="doctor",
        findings=diagnosis.findings,
        checks=[{"check": check, "state": states[check.name]} for check in CHECKS],
    )
