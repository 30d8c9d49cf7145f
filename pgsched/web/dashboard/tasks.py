"""The list of tasks: filters, pages by key, and changes to all that a filter finds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, cast

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from pgsched.db.task_commands import ACTIONS, MAX_CHANGED, Page
from pgsched.domain.errors import InvalidTask
from pgsched.domain.task_filters import MAX_VALUES, SCHEDULE_TYPES, SECRETS, STATUSES, TaskFilters
from pgsched.web.auth.access import Actor, Operator, Viewer, shows_payloads
from pgsched.web.services.audit import audited
from pgsched.web.services.task_search import find_page
from pgsched.web.dashboard.forms import Form, moment, optional_number, whole_number, yes_or_no
from pgsched.web.dashboard.shown import client_of, done, link, show
from pgsched.web.dashboard.surveys import surveys_of
from pgsched.web.paths import href

PER_PAGE = 50
_LISTS = ("queue", "task_type", "status", "schedule_type")
_TEXTS = (
    "tag", "tenant_id", "user_id", "created_by", "idempotency_key", "concurrency_key", "locked_by", "name", "search",
    "error",
)  # fmt: skip
_TIMES = (
    "created_after", "created_before", "due_after", "due_before", "started_after", "started_before", "ended_after",
    "ended_before",
)  # fmt: skip
FIELDS = (*_LISTS, *_TEXTS, *_TIMES, "priority", "enabled", "parent_id", "depends_on")

router = APIRouter()


class Asked(NamedTuple):
    """A filter as it was asked for: its fields as text, and what they mean."""

    fields: dict[str, str]
    filters: TaskFilters


@router.get("/tasks")
async def tasks(request: Request, actor: Viewer) -> Response:
    """Show the tasks that fit, the latest first."""
    quick = request.query_params.get("q", "").strip()
    if quick.isascii() and quick.isdigit() and len(quick) < 20:
        return RedirectResponse(href(request, f"/tasks/{quick}"), status_code=303)
    if quick:
        field = "search" if shows_payloads(request, actor) else "name"
        return RedirectResponse(link(request, "/tasks", {field: quick}), status_code=303)
    problem = None
    asked = Asked(_fields(request.query_params), {})
    found = Page([], None)
    try:
        asked = asked_for(request, actor, request.query_params)
        before = optional_number("before", request.query_params.get("before"))
        found = await find_page(client_of(request), asked.filters, limit=PER_PAGE, before_id=before)
    except InvalidTask as error:
        problem = str(error)
    following = None
    if found.next_before is not None:
        following = link(request, "/tasks", {**asked.fields, "before": found.next_before})
    return show(
        request,
        actor,
        "tasks.html",
        at="tasks",
        status=422 if problem else 200,
        problem=problem,
        fields=asked.fields,
        filtered=bool(asked.fields),
        tasks=found.tasks,
        following=following,
        looked_on=found.next_before is not None and len(found.tasks) < PER_PAGE,
        paged="before" in request.query_params,
        statuses=STATUSES,
        schedule_types=SCHEDULE_TYPES,
        actions=ACTIONS,
    )


@router.post("/tasks/bulk")
async def bulk(request: Request, actor: Operator, form: Form) -> Response:
    """Show what a change to many tasks would do; with ``confirmed`` do it."""
    action = form.get("action", "")
    asked = asked_for(request, actor, form)
    filters = asked.filters
    chosen = [whole_number("ids", text) for text in form.get("ids", "").replace(",", " ").split()]
    if chosen:
        filters = TaskFilters(ids=chosen[: MAX_VALUES + 1])
    elif not filters:
        raise InvalidTask("a change to many tasks must have a filter, or tasks that were selected")
    if form.get("confirmed") == "yes":
        async with audited(request, actor, f"tasks.{action}", target=described(asked, chosen)) as change:
            changed = await change.client.change_tasks(action, **filters)
            change.nothing = not changed.changed
            change.after = {"matched": changed.matched, "changed": len(changed.changed), "ids": changed.changed[:1000]}
        surveys_of(request).forget()
        return done(request, "/tasks", "bulk", len(changed.changed))
    tried = await client_of(request).change_tasks(action, dry_run=True, **filters)
    return show(
        request,
        actor,
        "bulk.html",
        at="tasks",
        action=action,
        tried=tried,
        fields=asked.fields,
        chosen=chosen,
        most=MAX_CHANGED,
    )


def asked_for(request: Request, actor: Actor, given: Mapping[str, str]) -> Asked:
    """Read a filter. Raises InvalidTask, naming field, rule and value."""
    fields = _fields(given)
    filters: dict[str, Any] = {}
    for name, text in fields.items():
        if name in SECRETS and not shows_payloads(request, actor):
            raise InvalidTask("is not for viewers: payloads and errors are hidden from them", field=name)
        if name in _LISTS:
            filters[name] = [text]
        elif name == "priority":
            filters[name] = [whole_number(name, text)]
        elif name in ("parent_id", "depends_on"):
            filters[name] = whole_number(name, text)
        elif name in _TIMES:
            filters[name] = moment(name, text)
        elif name == "enabled":
            filters[name] = yes_or_no(name, text)
        else:
            filters[name] = text
    return Asked(fields, cast(TaskFilters, filters))


def described(asked: Asked, chosen: list[int]) -> str:
    """What a change was aimed at, for the audit log; without what was searched for in payloads."""
    if chosen:
        return f"{len(chosen)} selected tasks"
    shown = [f"{name} {text!r}" for name, text in asked.fields.items() if name not in SECRETS]
    hidden = [f"{name} (a text)" for name in asked.fields if name in SECRETS]
    return ", ".join(shown + hidden)


def _fields(given: Mapping[str, str]) -> dict[str, str]:
    return {name: given[name].strip() for name in FIELDS if given.get(name, "").strip()}
