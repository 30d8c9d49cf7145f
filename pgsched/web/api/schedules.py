"""What a schedule will do, before it is a task; and what is done to single ticks of one."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query
from pydantic import Field, StrictBool, StrictInt
from starlette.responses import Response

from pgsched.domain.records import to_json_able
from pgsched.domain.validation import whole
from pgsched.web.api import examples
from pgsched.web.api.cursors import Cursor, Limit, sealed, unsealed
from pgsched.web.api.documented import answers, json_body, reply, reply_page
from pgsched.web.api.fields import ChosenFields, Fields
from pgsched.web.api.preconditions import IfMatch
from pgsched.web.api.routing import api_router
from pgsched.web.api.shapes import BackfillShape, PreviewShape, TaskPage, TaskShape
from pgsched.web.api.tasks import TaskId
from pgsched.web.api.values import Moment, StrictModel
from pgsched.web.auth.access import Operator, Viewer
from pgsched.web.services import changes, schedules

router = api_router("schedules")

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


@router.get(
    "/upcoming",
    summary="List what will run",
    responses=answers(TaskPage, {"items": [examples.TASK], "next_cursor": None}),
)
async def list_upcoming(
    actor: Viewer,
    within: Annotated[str, Query(description='How far to look ahead, as "24h" or "30m".')] = "24h",
    queue: Annotated[str | None, Query(description="Only of this queue.")] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
    fields: ChosenFields = None,
) -> Response:
    """From now on, the first one first, by next_run_at: one-time tasks and schedules, each schedule once.

    Not what is due already, waits for others or is paused.
    """
    chosen = Fields.of(TaskShape, fields)
    found = await actor.client.upcoming(within, queue=queue, limit=limit, cursor=unsealed(cursor, queue))
    return reply_page(actor, found, sealed(found.next_cursor, queue), chosen)


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
    responses=answers(TaskShape, examples.TASK, 404, 409, 412),
)
async def skip_tick(actor: Operator, id: TaskId, expected: IfMatch) -> Response:
    """Also of a paused one; again for one more. It is noted as missed. Refused while the schedule runs."""
    return reply(actor, await changes.act_on_task(actor, "skip", id, versions=expected.versions))


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
    ticks = await changes.backfill(actor, id, body.since, body.until, max_ticks=body.max_ticks, dry_run=body.dry_run)
    return reply(actor, {"dry_run": body.dry_run, "ticks": [one.as_dict() for one in ticks]})
