"""The list of tasks: filters, pages by key, and changes to all that a filter finds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, cast

from fastapi import APIRouter
from starlette.responses import RedirectResponse, Response

from pgsched.db.queries.task_search import ACTIONS, MAX_CHANGED, Page
from pgsched.domain.errors import InvalidTask, TaskNotFound
from pgsched.domain.task_filters import (
    MAX_VALUES,
    MOMENTS,
    NUMBERS,
    SCHEDULE_TYPES,
    SECRETS,
    SEVERAL,
    STATUSES,
    TaskFilters,
)
from pgsched.web.auth.access import Actor, Operator, Viewer
from pgsched.web.dashboard.forms import Form, given, moment, optional_number, whole_number, yes_or_no
from pgsched.web.dashboard.shown import done, link, show
from pgsched.web.paths import href
from pgsched.web.services.changes import change_tasks
from pgsched.web.services.search import find_page

PER_PAGE = 50
MAX_ID = 2**63 - 1
FIELDS = tuple(name for name in TaskFilters.__annotations__ if name not in ("ids", "payload"))
"""The filters that the page has a field for."""
_READ_AS: Mapping[str, Callable[[str, str], Any]] = {
    **dict.fromkeys(NUMBERS, whole_number),
    **dict.fromkeys(MOMENTS, moment),
    "enabled": yes_or_no,
}

router = APIRouter()


@router.get("/tasks")
async def tasks(actor: Viewer) -> Response:
    """Show the tasks that fit, the latest first."""
    query = actor.request.query_params
    quick = query.get("q", "").strip()
    if quick.isascii() and quick.isdigit() and len(quick) < 20:
        return RedirectResponse(href(actor.request, f"/tasks/{quick}"), status_code=303)
    if quick:
        with suppress(TaskNotFound, InvalidTask):  # it is no key
            id = await actor.client.task_id(quick)
            return RedirectResponse(href(actor.request, f"/tasks/{id}"), status_code=303)
        field = "search" if actor.sees_payloads else "name"
        return RedirectResponse(link(actor, "/tasks", {field: quick}), status_code=303)
    problem, new, before = None, None, None
    fields = given(query, *FIELDS)
    found = Page([], None)
    try:
        before = optional_number("before", query.get("before"))
        since = optional_number("since", query.get("since"))
        filters = filters_of(actor, fields)
        if before is None and since is not None:
            new = await _count_new(actor, filters, since)
            before = min(since, MAX_ID - 1) + 1
        found = await find_page(actor.client, filters, limit=PER_PAGE, before_id=before)
    except InvalidTask as error:
        problem = str(error)
    last = found.next_before
    return show(
        actor,
        "tasks.html",
        at="tasks",
        problem=problem,
        fields=fields,
        tasks=found.tasks,
        following=last and link(actor, "/tasks", {**fields, "before": last}),
        looked_on=last is not None and len(found.tasks) < PER_PAGE,
        paged="before" in query,
        anchor=f"since={found.tasks[0].id}" if before is None and found.tasks else None,
        new=new,
        statuses=STATUSES,
        counts=(await actor.state.surveys.get()).statuses,
        schedule_types=SCHEDULE_TYPES,
        actions=ACTIONS,
    )


@router.post("/tasks/bulk")
async def bulk(actor: Operator, form: Form) -> Response:
    """Show what a change to many tasks would do; with ``confirmed`` do it."""
    action, fields = form.get("action", ""), given(form, *FIELDS)
    filters = filters_of(actor, fields)
    chosen = [whole_number("ids", text) for text in form.get("ids", "").replace(",", " ").split()]
    if chosen:
        filters = TaskFilters(ids=chosen[: MAX_VALUES + 1])
    elif not filters:
        raise InvalidTask("a change to many tasks must have a filter, or tasks that were selected")
    confirmed = form.get("confirmed") == "yes"
    tried = await change_tasks(actor, action, filters, dry_run=not confirmed)
    if confirmed:
        return done(actor, "/tasks", "bulk", len(tried.changed))
    context: dict[str, Any] = {
        "action": action,
        "tried": tried,
        "fields": fields,
        "chosen": chosen,
        "most": MAX_CHANGED,
    }
    return show(actor, "bulk.html", at="tasks", **context)


async def _count_new(actor: Actor, filters: TaskFilters, since: int) -> str:
    """Return how many tasks fit that came after one: those who look at a list see it as of that one."""
    latest = (await find_page(actor.client, filters, limit=PER_PAGE, before_id=None)).tasks
    number = sum(task.id > since for task in latest)
    return f"{number}+" if number == PER_PAGE else str(number)


def filters_of(actor: Actor, fields: Mapping[str, str]) -> TaskFilters:
    """Read a filter. Raises InvalidTask, naming field, rule and value."""
    filters: dict[str, Any] = {}
    for name, text in fields.items():
        if name in SECRETS and not actor.sees_payloads:
            raise InvalidTask("is not for viewers: payloads and errors are hidden from them", field=name)
        read = _READ_AS.get(name)
        value = read(name, text) if read is not None else text
        filters[name] = [value] if name in SEVERAL else value
    return cast(TaskFilters, filters)
