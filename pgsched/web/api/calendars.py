"""Calendars: named sets of days on which cron expressions do not run."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path
from pydantic import Field, StrictStr
from starlette.responses import Response

from pgsched.domain.errors import CalendarNotFound
from pgsched.domain.scheduling.calendars import MAX_DAYS
from pgsched.web.api import examples
from pgsched.web.api.documented import answers, empty_answer, json_body, reply
from pgsched.web.api.preconditions import IfMatch, etag
from pgsched.web.api.routing import api_router
from pgsched.web.api.shapes import CalendarShape, list_of
from pgsched.web.api.values import StrictModel
from pgsched.web.auth.access import Operator, Viewer
from pgsched.web.services import changes

router = api_router("calendars")

CalendarName = Annotated[str, Path(description="The name of the calendar.", examples=["holidays"])]

Calendars = list_of(CalendarShape, "Calendars", "Calendars by name.")


class CalendarDays(StrictModel):
    """The days of a calendar; they replace its previous days."""

    days: list[StrictStr] = Field(
        description="Such as `12-25`, for every year, and `2030-04-19`.", json_schema_extra={"maxItems": MAX_DAYS}
    )


@router.get("/calendars", summary="List calendars", responses=answers(Calendars, [examples.CALENDAR]))
async def list_calendars(actor: Viewer) -> Response:
    """Each with its days and the number of schedules that use it."""
    return reply(actor, await actor.client.calendars())


@router.get("/calendars/{name}", summary="Read a calendar", responses=answers(CalendarShape, examples.CALENDAR, 404))
async def get_calendar(actor: Viewer, name: CalendarName) -> Response:
    """Its days, and the number of schedules that use it."""
    found = await changes.find_calendar(actor.client, name)
    if found is None:
        raise CalendarNotFound(f"calendar {name} does not exist")
    return reply(actor, found, headers=etag(changes.version_of_calendar(found)))


@router.put(
    "/calendars/{name}",
    status_code=201,
    summary="Create a calendar or replace its days",
    responses=answers(
        CalendarShape, examples.CALENDAR, 400, 412, status=201, also="The calendar existed: its days are replaced."
    ),
)
async def set_calendar(
    actor: Operator,
    name: CalendarName,
    body: Annotated[CalendarDays, json_body(holidays=("Holidays", {"days": examples.CALENDAR["days"]}))],
    expected: IfMatch,
) -> Response:
    """The next ticks of schedules that use it are calculated again."""
    now, change = await changes.set_calendar(actor, name, body.days, versions=expected.versions, exists=expected.exists)
    headers = etag(changes.version_of_calendar(now))
    return reply(actor, now, status=201 if change.before is None else 200, headers=headers)


@router.delete("/calendars/{name}", status_code=204, summary="Delete a calendar", responses=empty_answer(404, 409, 412))
async def delete_calendar(actor: Operator, name: CalendarName, expected: IfMatch) -> Response:
    """Rejected while the cron expression of a task uses it, whatever the task's status."""
    await changes.delete_calendar(actor, name, versions=expected.versions)
    return Response(status_code=204)
