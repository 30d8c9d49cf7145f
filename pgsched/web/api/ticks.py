"""What is done to single ticks of schedules."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import Field, StrictBool, StrictInt
from starlette.responses import Response

from pgsched.web.api import examples
from pgsched.web.api.documented import answers, json_body, reply
from pgsched.web.api.shapes import BackfillShape, TaskShape
from pgsched.web.api.tasks import TaskId
from pgsched.web.api.values import Moment, StrictModel
from pgsched.web.auth.access import Operator
from pgsched.web.services.schedules import backfill
from pgsched.web.services.tasks import act_on_task

router = APIRouter(tags=["schedules"])


class Backfill(StrictModel):
    """A range of ticks that passed."""

    since: Moment = Field(alias="from", description="The first tick at or after.")
    until: Moment = Field(alias="to", description="The last tick at or before; not in the future.")
    max_ticks: StrictInt = Field(
        100, description="More ticks in the range are refused.", json_schema_extra={"minimum": 1, "maximum": 100_000}
    )
    dry_run: StrictBool = Field(False, description="Change nothing, tell what would be run.")


@router.post(
    "/tasks/{id}/skip",
    summary="Skip the next tick of a schedule",
    responses=answers(TaskShape, examples.TASK, 404, 409),
)
async def skip_tick(actor: Operator, id: TaskId) -> Response:
    """Also of a paused one; again for one more. It is noted as missed. Refused while the schedule runs."""
    return reply(actor, await act_on_task(actor, "skip", id))


@router.post(
    "/tasks/{id}/backfill",
    summary="Run ticks of a schedule that passed",
    responses=answers(BackfillShape, examples.BACKFILL, 400, 404, 409),
)
async def backfill_task(
    actor: Operator, id: TaskId, body: Annotated[Backfill, json_body(dry=("A dry run", examples.RANGE))]
) -> Response:
    """Each once, as a task of its own, due now; where ticks must not overlap, one after the other.

    Those that ran, and those that the schedule is still to run by itself, are left alone.
    """
    ticks = await backfill(actor, id, body.since, body.until, max_ticks=body.max_ticks, dry_run=body.dry_run)
    return reply(actor, {"dry_run": body.dry_run, "ticks": [one.as_dict() for one in ticks]})
