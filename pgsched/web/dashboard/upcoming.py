"""Upcoming runs: a timeline of the next hours, with every schedule's ticks and the one-time tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from markupsafe import Markup
from starlette.responses import Response

from pgsched.domain.errors import InvalidTask
from pgsched.domain.planned_schedule import STATES
from pgsched.domain.scheduling.timeline import Timeline, UpcomingSchedule
from pgsched.web.auth.access import Viewer
from pgsched.web.dashboard.forms import Text, given, optional_number
from pgsched.web.dashboard.routing import page_router
from pgsched.web.dashboard.shown import link, show
from pgsched.web.services.upcoming import SPANS, Ahead
from pgsched.web.svg import tracks

PER_PAGE: Final = 50
MAX_PAGE: Final = 1_000
NAMES: Final = {"1h": "hour", "24h": "24 hours", "7d": "7 days"}

router = page_router()


class Drawn(NamedTuple):
    """A page of a timeline with its pictures."""

    timeline: Timeline
    axis: Markup
    density: Markup
    rows: Sequence[tuple[UpcomingSchedule, Markup]]


def _draw(ahead: Ahead, fields: dict[str, str], number: int) -> Drawn:
    timeline = ahead.timeline(**fields, offset=(number - 1) * PER_PAGE, limit=PER_PAGE)
    return Drawn(
        timeline,
        tracks.axis(timeline.buckets[0].at, timeline.until),
        tracks.density(timeline),
        [(one, tracks.row(timeline, one)) for one in timeline.schedules],
    )


@router.get("/upcoming")
async def upcoming(actor: Viewer, within: Text = "24h", page: Text = "") -> Response:
    """Show the upcoming runs, the next schedule on top."""
    fields = given(actor.request.query_params, "queue", "search", "state")
    if within not in SPANS:
        raise InvalidTask(f"must be one of {', '.join(SPANS)}", field="within")
    number = min(max(optional_number("page", page) or 1, 1), MAX_PAGE)
    ahead = await actor.state.upcoming.get(within)
    drawn = ahead.kept((number, *sorted(fields.items())), lambda: _draw(ahead, fields, number))
    timeline = drawn.timeline
    shown = number * PER_PAGE
    query = {**fields, "within": within}
    return show(
        actor,
        "upcoming.html",
        at="upcoming",
        fields=fields,
        within=within,
        spans=[(name, NAMES[name], link(actor, "/upcoming", {**fields, "within": name})) for name in SPANS],
        states=STATES,
        timeline=timeline,
        busiest=max(timeline.buckets, key=lambda one: one.runs),
        marked=[one for one in timeline.buckets if one.pile_up or one.over],
        axis=drawn.axis,
        density=drawn.density,
        rows=drawn.rows,
        said=tracks.said,
        following=shown < timeline.number_of_schedules and link(actor, "/upcoming", {**query, "page": number + 1}),
        before=number > 1 and link(actor, "/upcoming", {**query, "page": number - 1}),
    )
