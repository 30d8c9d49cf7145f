"""Dead letters: the list, and retry or delete for all matches of a filter."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.responses import Response

from pgsched.domain.errors import InvalidTask
from pgsched.domain.records import Task
from pgsched.domain.task_filters import SCHEDULE_TYPES
from pgsched.web.auth.access import Actor, Operator, Viewer
from pgsched.web.dashboard.bulk import as_applied, ask_or_begin, shown_change
from pgsched.web.dashboard.forms import Form, Text, given, moment, optional_number
from pgsched.web.dashboard.routing import page_router
from pgsched.web.dashboard.shown import cut, link, show
from pgsched.web.dashboard.task_fields import DEAD_FIELDS, Chip, chips_of, filters_of

PER_PAGE = 50

router = page_router()


@router.get("/dead")
async def dead(actor: Viewer, died: Text = "", before: Text = "") -> Response:
    """Show the tasks that died last."""
    return await _show_list(actor, given(actor.request.query_params, *DEAD_FIELDS), died, before)


async def _show_list(
    actor: Actor, fields: dict[str, str], died: str = "", before: str = "", *, problem: str | None = None
) -> Response:
    """Show the dead letters that match the fields; with a problem, the fields as they were typed."""
    found: list[Task] = []
    chips: list[Chip] = []
    try:
        chips = chips_of(actor, "/dead", fields)
        last_id = optional_number("before", before)
        place = (moment("died", died), last_id) if died and last_id is not None else None
        found = list(await actor.client.dead(limit=PER_PAGE + 1, before=place, **filters_of(actor, fields)))
    except InvalidTask as error:
        problem = str(error)
    page, last = cut(found, PER_PAGE)
    counts = (await actor.state.surveys.get()).dead
    return show(
        actor,
        "dead.html",
        at="dead",
        problem=problem,
        fields=fields,
        tasks=page,
        following=last and link(actor, "/dead", {**fields, "died": last.died_at, "before": last.id}),
        total=sum(counts.values()),
        schedule_types=SCHEDULE_TYPES,
        chips=chips,
        applied=as_applied(fields),
        **await shown_change(actor, fields),
    )


@router.post("/dead/{verb}")
async def change(actor: Operator, verb: str, form: Form) -> Response:
    """Show the confirmation of a change to the matching dead letters; with ``confirmed`` start the change."""
    if verb not in ("retry", "purge"):
        raise HTTPException(404, "there is no such page")
    try:
        return await ask_or_begin(actor, "retry" if verb == "retry" else "delete", form, at="dead")
    except InvalidTask as error:
        return await _show_list(actor, given(form, *DEAD_FIELDS), problem=str(error))
