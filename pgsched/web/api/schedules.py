"""Previews of schedules, and operations on single ticks."""

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
    every: Annotated[str | None, Query(description='An interval, such as "15m"; without a unit: seconds.')] = None,
    timezone: Annotated[str, Query(description="An IANA time zone.", examples=["Europe/Berlin"])] = "UTC",
    after: Annotated[Moment | None, Query(description="The first ticks after this time; the default is now.")] = None,
    start: Annotated[Moment | None, Query(description="No tick before this time.")] = None,
    end: Annotated[Moment | None, Query(description="No tick after this time.")] = None,
    times: Annotated[int | None, Query(description="The number of ticks; with every.")] = None,
    n: Annotated[int, Query(description="The number of ticks to return, 1 to 1,000.")] = 5,
) -> Response:
    """In words, and its next ticks: in UTC, in the local time of the zone, and the effect of clock changes."""
    _ticks("n", n)
    found = await schedules.preview_schedule(
        actor.client, cron, every=every, timezone=timezone, start=start, end=end, times=times, after=after, n=n
    )
    ticks = [{"at": to_json_able(tick.at), "local": tick.local.isoformat(), "note": tick.note} for tick in found.ticks]
    return reply(actor, {"schedule": found.words, "ticks": ticks})


@router.get(
    "/upcoming",
    summary="List upcoming runs",
    responses=answers(TaskPage, {"items": [examples.TASK], "next_cursor": None}),
)
async def list_upcoming(
    actor: Viewer,
    within: Annotated[str, Query(description='How far to look ahead, such as "24h" or "30m".')] = "24h",
    queue: Annotated[str | None, Query(description="Only this queue.")] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
    fields: ChosenFields = None,
) -> Response:
    """Ordered by next_run_at, the next one first: one-time tasks and schedules, each schedule once.

    Tasks that are already due, blocked or paused are not included.
    """
    chosen = Fields.of(TaskShape, fields)
    found = await actor.client.upcoming(within, queue=queue, limit=limit, cursor=unsealed(cursor, queue))
    return reply_page(actor, found, sealed(found.next_cursor, queue), chosen)


class Backfill(StrictModel):
    """A range of past ticks."""

    since: Moment = Field(alias="from", description="The first tick at or after this time.")
    until: Moment = Field(alias="to", description="The last tick at or before this time; not in the future.")
    max_ticks: StrictInt = Field(
        100, description="More ticks in the range are rejected.", json_schema_extra={"minimum": 1, "maximum": 100_000}
    )
    dry_run: StrictBool = Field(False, description="Change nothing, only report what would run.")


@router.post(
    "/tasks/{id}/skip",
    summary="Skip the next tick of a schedule",
    responses=answers(TaskShape, examples.TASK, 404, 409, 412),
)
async def skip_tick(actor: Operator, id: TaskId, expected: IfMatch) -> Response:
    """Works for a paused schedule too; each call skips one more. The tick is recorded as missed. Rejected while the
    schedule runs.
    """
    return reply(actor, await changes.act_on_task(actor, "skip", id, versions=expected.versions))


@router.post(
    "/tasks/{id}/backfill",
    summary="Run past ticks of a schedule",
    responses=answers(BackfillShape, examples.BACKFILL, 400, 404, 409),
)
async def backfill_task(
    actor: Operator, id: TaskId, body: Annotated[Backfill, json_body(dry=("A dry run", examples.RANGE))]
) -> Response:
    """Each tick runs once, as a task of its own, due now; where ticks must not overlap, one after the other.

    Ticks that ran, and those that the schedule itself will still run, are left out.
    """
    ticks = await changes.backfill(actor, id, body.since, body.until, max_ticks=body.max_ticks, dry_run=body.dry_run)
    return reply(actor, {"dry_run": body.dry_run, "ticks": [one.as_dict() for one in ticks]})
