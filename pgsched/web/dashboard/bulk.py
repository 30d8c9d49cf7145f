"""Changes to many tasks: confirm, start, follow, undo, stop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response

from pgsched.db.queries.bulk_changes import list_bulk_changes
from pgsched.db.queries.task_search import ACTIONS
from pgsched.domain.bulk_changes import UNDO_SECONDS, BulkChange
from pgsched.domain.errors import InvalidTask, PgschedError, TransitionRefused
from pgsched.domain.task_filters import MAX_VALUES, TaskFilters
from pgsched.web.auth.access import Actor, Operator, Viewer
from pgsched.web.dashboard.forms import Form, Text, given, optional_number, whole_number
from pgsched.web.dashboard.routing import page_router
from pgsched.web.dashboard.shown import link, show
from pgsched.web.dashboard.task_fields import DEAD_FIELDS, FIELDS, filters_of, terms_of
from pgsched.web.rendering import page
from pgsched.web.services import bulk

PER_PAGE = 50
PAST: Final[Mapping[str, str]] = {
    "enable": "enabled",
    "disable": "disabled",
    "run": "run",
    "cancel": "cancelled",
    "retry": "retried",
    "delete": "deleted",
}
LISTS: Final[Mapping[str, tuple[str, ...]]] = {"tasks": FIELDS, "dead": DEAD_FIELDS}
"""The lists that offer changes, and the filter fields of each."""

router = page_router()


async def ask_or_begin(actor: Actor, action: str, form: dict[str, str], *, at: str) -> Response:
    """Show the confirmation of a change to all matching or the selected tasks; with ``confirmed`` start the change."""
    fields = given(form, *LISTS[at])
    filters, chosen = asked_of(actor, form, at=at)
    if action not in ACTIONS:
        raise InvalidTask(f"must be one of {', '.join(ACTIONS)}", field="action", value=action)
    estimate = await bulk.estimate(actor.client, action, filters)
    if form.get("confirmed") != "yes":
        applied = form.get("applied")
        return show(
            actor,
            "bulk.html",
            at=at,
            action=action,
            past=PAST[action],
            estimate=estimate,
            fields=fields,
            terms=[] if chosen else terms_of(fields),
            chosen=chosen,
            not_applied=not chosen and applied is not None and applied != as_applied(fields),
            back=link(actor, f"/{at}", fields),
            undo_seconds=UNDO_SECONDS,
        )
    change = await bulk.begin(actor, action, filters, expected=estimate.matched if estimate.whole else None)
    actor.state.surveys.forget()
    return RedirectResponse(link(actor, f"/{at}", fields | {"change": change.id}), status_code=303)


def asked_of(actor: Actor, form: Mapping[str, str], *, at: str) -> tuple[TaskFilters, list[int]]:
    """Return the filters of a form, and the selected tasks; when there are any, the filters are only those tasks."""
    chosen = [whole_number("ids", text) for text in form.get("ids", "").replace(",", " ").split()]
    if chosen:
        return TaskFilters(ids=chosen[: MAX_VALUES + 1]), chosen
    fields = given(form, *LISTS[at])
    filters = filters_of(actor, fields)
    if at == "dead":
        if filters.get("status") is not None:
            raise InvalidTask("must not be given here: all of these are dead", field="status")
        return TaskFilters(**{**filters, "status": ["dead"]}), []
    if not filters:
        raise InvalidTask("a change to many tasks must have a filter, or selected tasks")
    return filters, []


def as_applied(fields: Mapping[str, str]) -> str:
    """Return fields as one text, which tells a form the filter of its page."""
    return "\n".join(f"{name}={text}" for name, text in sorted(fields.items()))


@router.get("/bulk")
async def changes(actor: Viewer, before: Text = "") -> Response:
    """Show the changes to many tasks, the latest first."""
    actor.state.bulk.start()
    command = list_bulk_changes(limit=PER_PAGE + 1, before_id=optional_number("before", before))
    found = await actor.client.database.run(command)
    last = found[PER_PAGE - 1] if len(found) > PER_PAGE else None
    return show(
        actor,
        "bulk_changes.html",
        at="tasks",
        changes=found[:PER_PAGE],
        past=PAST,
        following=last and link(actor, "/bulk", {"before": last.id}),
    )


@router.get("/bulk/{id}")
async def change(actor: Viewer, id: int) -> Response:
    """Show one change: its progress, and the tasks that did not allow it."""
    return show(actor, "bulk_change.html", at="tasks", **strip_of(await bulk.find_change(actor.client, id)))


@router.get("/bulk/{id}/strip")
async def strip(actor: Viewer, id: int) -> Response:
    """Return the part of a page that shows the progress of a change."""
    told = strip_of(await bulk.find_change(actor.client, id), given(actor.request.query_params, *FIELDS))
    at = "dead" if actor.request.query_params.get("at") == "dead" else "tasks"
    return page(actor.request, "bulk_strip_alone.html", actor=actor, at=at, reveals=actor.sees_payloads, **told)


@router.post("/bulk/{id}/{verb}")
async def end(actor: Operator, id: int, verb: str, form: Form) -> Response:
    """Undo, stop or resume a change, and return to the list."""
    if verb not in bulk.VERBS:
        raise HTTPException(404, "there is no such page")
    at = "dead" if form.get("at") == "dead" else "tasks"
    problem: PgschedError | None = None
    try:
        await bulk.end(actor, id, verb)
    except TransitionRefused as error:  # It was finished, or had started: the strip shows it.
        problem = error
    fields: dict[str, Any] = given(form, *LISTS[at])
    if problem is not None:
        fields["late"] = verb
    return RedirectResponse(link(actor, f"/{at}", fields | {"change": id}), status_code=303)


def strip_of(change: BulkChange, fields: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the content of a change's strip; ``fields`` are those of the surrounding list."""
    return {"change": change, "past_word": PAST[change.action], "strip_fields": fields or {}, "late": ""}


async def shown_change(actor: Actor, fields: Mapping[str, str]) -> dict[str, Any]:
    """Return the strip of the change that a list's URL names; empty when it names none."""
    query = actor.request.query_params
    text = query.get("change", "")
    nothing: dict[str, Any] = {"change": None, "past_word": "", "strip_fields": {}, "late": ""}
    if not (text.isascii() and text.isdigit() and 0 < len(text) < 19):
        return nothing
    found = await actor.client.database.run(list_bulk_changes(id=int(text), limit=1)) if int(text) else []
    late = query.get("late", "")
    return strip_of(found[0], fields) | {"late": late if late in bulk.VERBS else ""} if found else nothing
