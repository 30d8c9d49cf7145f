"""What will run in the time ahead: every schedule's ticks and the one-time tasks."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final, Literal

from fastapi import Query
from pydantic import BaseModel, Field
from starlette.responses import Response

from pgsched.domain.validation import whole
from pgsched.web.api.documented import answers, reply
from pgsched.web.api.routing import api_router
from pgsched.web.auth.access import Viewer

router = api_router("schedules")

_limit = whole(0, 1_000)
_offset = whole(0, 10_000)


class BandShape(BaseModel):
    """A stretch of time."""

    since: datetime
    until: datetime


class BucketShape(BaseModel):
    """A stretch of time, and what begins in it."""

    at: datetime
    ticks: int = Field(description="Runs of schedules.")
    tasks: int = Field(description="One-time tasks.")
    pile_up: bool = Field(description="Three times the average begins here, and 20 at least.")
    over: list[str] = Field(description="Queues whose rate lets fewer start in that time.")


class UpcomingScheduleShape(BaseModel):
    """One schedule in the time ahead."""

    id: int
    task_type: str
    task_name: str | None
    queue: str
    schedule: str = Field(description="In words.")
    state: Literal["active", "running", "disabled", "paused", "blocked", "dead", "ended"]
    next_tick: datetime | None
    runs: int = Field(description="How often it runs in that time.")
    ticks: list[datetime] = Field(description="When; none where there are more than 96 and bands say it.")
    bands: list[BandShape]


class TimelineShape(BaseModel):
    """What will run from now until a time."""

    since: datetime
    until: datetime
    bucket_seconds: int
    buckets: list[BucketShape]
    runs: int
    tasks: int
    schedules: list[UpcomingScheduleShape]
    number_of_schedules: int
    schedules_complete: bool
    tasks_complete: bool
    gap: BandShape | None = Field(description="The longest stretch in which nothing begins.")


_TIMELINE: Final[dict[str, Any]] = {
    "since": "2026-02-02T06:58:30Z",
    "until": "2026-02-02T08:00:00Z",
    "bucket_seconds": 60,
    "buckets": [{"at": "2026-02-02T07:00:00Z", "ticks": 1, "tasks": 4, "pile_up": False, "over": []}],
    "runs": 1,
    "tasks": 4,
    "schedules": [
        {
            "id": 17,
            "task_type": "report",
            "task_name": None,
            "queue": "default",
            "schedule": "at 07:00 on Monday, UTC time; fixed times",
            "state": "active",
            "next_tick": "2026-02-02T07:00:00Z",
            "runs": 1,
            "ticks": ["2026-02-02T07:00:00Z"],
            "bands": [],
        }
    ],
    "number_of_schedules": 1,
    "schedules_complete": True,
    "tasks_complete": True,
    "gap": None,
}


@router.get("/upcoming/timeline", summary="Show when all will run", responses=answers(TimelineShape, _TIMELINE))
async def show_timeline(
    actor: Viewer,
    within: Annotated[str, Query(description='How far to look ahead, as "24h": a minute to 31 days.')] = "24h",
    queue: Annotated[str | None, Query(description="Only of this queue.")] = None,
    limit: Annotated[int, Query(description="So many schedules are told, 0 to 1,000; all are counted.")] = 100,
    offset: Annotated[int, Query(description="From this one on, 0 to 10,000.")] = 0,
) -> Response:
    """Counted by stretches of time, with every tick of the schedules that run first.

    What is up to 20 seconds old is given for 1h, 24h and 7d. One-time tasks are those that are due later; what waits in
    a paused queue is not counted.
    """
    _limit("limit", limit)
    _offset("offset", offset)
    ahead = await actor.state.upcoming.get(within)
    return reply(actor, ahead.timeline(queue=queue, offset=offset, limit=limit))
