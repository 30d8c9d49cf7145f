"""What a schedule will do, before it is a task."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from pgsched.domain.records import to_json_able
from pgsched.domain.validation import whole
from pgsched.web.api import examples
from pgsched.web.api.documented import answers, reply
from pgsched.web.api.shapes import PreviewShape
from pgsched.web.api.values import Moment
from pgsched.web.auth.access import Viewer
from pgsched.web.services import schedules

router = APIRouter(tags=["schedules"])

MAX_TICKS = 1000
_ticks = whole(1, MAX_TICKS)


@router.get("/schedules/preview", summary="Preview a schedule", responses=answers(PreviewShape, examples.PREVIEW))
async def preview_schedule(
    actor: Viewer,
    cron: Annotated[str | None, Query(description="A cron expression.", examples=["0 8 * * 1"])] = None,
    every: Annotated[str | None, Query(description='An interval, as "15m"; seconds without a unit.')] = None,
    timezone: Annotated[str, Query(description="An IANA zone.", examples=["Europe/Berlin"])] = "UTC",
    after: Annotated[Moment | None, Query(description="The ticks are those after it; now when left out.")] = None,
    start: Annotated[Moment | None, Query(description="No tick before.")] = None,
    end: Annotated[Moment | None, Query(description="No tick after.")] = None,
    times: Annotated[int | None, Query(description="So many ticks; with every.")] = None,
    n: Annotated[int, Query(description="So many ticks are told, 1 to 1,000.")] = 5,
) -> Response:
    """In words, and its next ticks: in UTC, on the wall clock of the zone, and what a change of the clocks does."""
    _ticks("n", n)
    found = await schedules.preview_schedule(
        actor.client, cron, every=every, timezone=timezone, start=start, end=end, times=times, after=after, n=n
    )
    ticks = [{"at": to_json_able(tick.at), "local": tick.local.isoformat(), "note": tick.note} for tick in found.ticks]
    return reply(actor, {"schedule": found.words, "ticks": ticks})
