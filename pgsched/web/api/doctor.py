"""What is wrong, for programs."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from pgsched.web.api import examples
from pgsched.web.api.documented import answers, reply
from pgsched.web.api.shapes import DiagnosisShape
from pgsched.web.auth.access import Viewer

router = APIRouter(tags=["workers"])


@router.get("/doctor", summary="Look what is wrong", responses=answers(DiagnosisShape, examples.DIAGNOSIS))
async def get_doctor(actor: Viewer) -> Response:
    """What `pgsched doctor` finds, from a cache that is at most half a minute old. `healthy`: there is no error."""
    return reply(actor, await actor.state.diagnosis.get())
