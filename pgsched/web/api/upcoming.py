"""Upcoming runs: every schedule's ticks and the one-time tasks."""

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
    """A period of time."""

    since: datetime
    until: datetime


class BucketShape(BaseModel):
    """A period of time, and the runs that start in it."""

    at: datetime
    ticks: int = Field(description="Runs of schedules.")
    tasks: int = Field(description="One-time tasks.")
    pile_up: bool = Field(description="Whether at least three times the average starts here, and at least 20.")
    over: list[str] = Field(description="Queues whose rate allows fewer starts in that time.")


class UpcomingScheduleShape(BaseModel):
    """The upcoming runs of one schedule."""

    id: int
    task_type: str
    task_name: str | None
    queue: str
    schedule: str = Field(description="In words.")
    state: Literal["active", "running", "disabled", "paused", "blocked", "dead", "ended"]
    next_tick: datetime | None
    runs: int = Field(description="Number of its runs in that time.")
    ticks: list[datetime] = Field(
        description="The times of its runs; empty when there are more than 96, which bands describe."
    )
    bands: list[BandShape]


class TimelineShape(BaseModel):
    """The upcoming runs from now until a time."""

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
    gap: BandShape | None = Field(description="The longest period in which nothing starts.")


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


@router.get(
    "/upcoming/timeline", summary="Show a timeline of upcoming runs", responses=answers(TimelineShape, _TIMELINE)
)
async def show_timeline(
    actor: Viewer,
    within: Annotated[str, Query(description='How far to look ahead, such as "24h": a minute to 31 days.')] = "24h",
    queue: Annotated[str | None, Query(description="Only this queue.")] = None,
    limit: Annotated[int, Query(description="Number of schedules to list, 0 to 1,000; all are counted.")] = 100,
    offset: Annotated[int, Query(description="Number of schedules to skip, 0 to 10,000.")] = 0,
) -> Response:
    """Counted per period, with every tick of the schedules that run first.

    For 1h, 24h and 7d the answer may be up to 20 seconds old. One-time tasks are those that become due later; tasks
    that wait in a paused queue are not counted.
    """
    _limit("limit", limit)
    _offset("offset", offset)
    ahead = await actor.state.upcoming.get(within)
    return reply(actor, ahead.timeline(queue=queue, offset=offset, limit=limit))
