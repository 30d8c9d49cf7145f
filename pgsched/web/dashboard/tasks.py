"""The list of tasks: searches, keyset pages, suggestions, and its export as a file."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import JSONResponse, RedirectResponse, Response

from pgsched.db.queries.task_search import ACTIONS, Page
from pgsched.domain.errors import InvalidTask
from pgsched.domain.records import Task
from pgsched.domain.search_query import parse_query, quoted
from pgsched.domain.task_filters import SCHEDULE_TYPES, STATUSES, TaskFilters
from pgsched.web.auth.access import Actor, Operator, Viewer
from pgsched.web.dashboard.bulk import as_applied, ask_or_begin, shown_change
from pgsched.web.dashboard.forms import Form, given, optional_number
from pgsched.web.dashboard.routing import page_router
from pgsched.web.dashboard.shown import link, show
from pgsched.web.dashboard.task_fields import FIELDS, Chip, chips_of, filters_of
from pgsched.web.paths import href
from pgsched.web.services.search import find_offers, find_page, made_at

PER_PAGE = 50
MAX_SUGGESTIONS = 300
MAX_ID = 2**63 - 1

router = page_router()


@router.get("/tasks")
async def tasks(actor: Viewer) -> Response:
    """Show the matching tasks, the latest first."""
    query = actor.request.query_params
    fields = given(query, *FIELDS)
    if query.get("jump") and (found := await _named(actor, fields)) is not None:
        return RedirectResponse(href(actor.request, f"/tasks/{found}"), status_code=303)
    actor.state.bulk.start()
    return await _show_list(actor, fields, query)


@router.post("/tasks/bulk")
async def change_tasks(actor: Operator, form: Form) -> Response:
    """Show the confirmation of a change with its number of tasks; with ``confirmed`` start the change."""
    try:
        return await ask_or_begin(actor, form.get("action", ""), form, at="tasks")
    except InvalidTask as error:
        return await _show_list(actor, given(form, *FIELDS), {}, problem=str(error))


async def _show_list(
    actor: Actor, fields: dict[str, str], query: Mapping[str, str], *, problem: str | None = None
) -> Response:
    """Show the tasks that match the fields; with a problem, the fields as they were typed."""
    chips: list[Chip] = []
    offers: list[tuple[str, Task]] = []
    page, searched_to = Page([], None), None
    before: int | None = None
    new: str | None = None
    try:
        if problem is None:
            filters = filters_of(actor, fields)
            chips = chips_of(actor, "/tasks", fields)
            before = optional_number("before", query.get("before"))
            since = optional_number("since", query.get("since"))
            if before is None:
                offers = await find_offers(actor, fields.get("q", ""))
            if before is None and since is not None:
                new = await _count_new(actor, filters, since)
                before = min(since, MAX_ID - 1) + 1
            page = await find_page(actor.client, filters, limit=PER_PAGE, before_id=before)
            if page.next_before is not None and len(page.tasks) < PER_PAGE:
                searched_to = await made_at(actor.client, page.next_before)
    except InvalidTask as error:
        problem = str(error)
    last = page.next_before
    survey = await actor.state.surveys.get()
    return show(
        actor,
        "tasks.html",
        at="tasks",
        problem=problem,
        fields=fields,
        tasks=page.tasks,
        following=last and link(actor, "/tasks", {**fields, "before": last}),
        looked_on=last is not None and len(page.tasks) < PER_PAGE,
        searched_to=searched_to,
        paged="before" in query,
        anchor=f"since={page.tasks[0].id}" if before is None and page.tasks else None,
        new=new,
        statuses=STATUSES,
        counts=survey.statuses,
        schedule_types=SCHEDULE_TYPES,
        actions=ACTIONS,
        views=await actor.client.views(),
        suggestions=[] if "before" in query else await _suggestions(actor),
        applied=as_applied(fields),
        export=link(actor, "/tasks/export", fields),
        chips=chips,
        offers=offers,
        view_query=" ".join(chip.text for chip in chips),
        **await shown_change(actor, fields),
    )


@router.get("/tasks/suggestions")
async def suggestions(actor: Viewer) -> Response:
    """Return suggestions for the start of a search: known statuses, queues, types and tags."""
    return JSONResponse(await _suggestions(actor))


@router.get("/t/{id}")
async def short_link(actor: Viewer, id: int) -> Response:
    """Redirect to a task by its short link."""
    return RedirectResponse(href(actor.request, f"/tasks/{id}"), status_code=303)


async def _named(actor: Actor, fields: Mapping[str, str]) -> int | None:
    """Return the task that a query identifies uniquely: by its id or its key alone."""
    try:
        terms = parse_query(fields.get("q", ""))
    except InvalidTask:
        return None
    if len(terms) != 1 or len(fields) > 1 or terms[0].name not in ("ids", "idempotency_key"):
        return None
    found = await find_page(actor.client, filters_of(actor, fields), limit=2, before_id=None)
    return found.tasks[0].id if len(found.tasks) == 1 else None


async def _suggestions(actor: Actor) -> list[str]:
    survey = await actor.state.surveys.get()
    handlers = await actor.state.handlers.get()
    tags = {tag for one in handlers for tag in (one.defaults or {}).get("tags") or ()}
    types = {one.task_type for one in survey.types} | {one.task_type for one in handlers}
    return [
        *(f"status:{status}" for status in STATUSES),
        *(f"type:{quoted(one)}" for one in sorted(types)),
        *(f"queue:{quoted(one.name)}" for one in survey.queues),
        *(f"tag:{quoted(one)}" for one in sorted(tags)),
        "error:", "name:", "key:", "tenant:", "user:", "payload.", "created_after:24h", "ended_after:24h",
    ][:MAX_SUGGESTIONS]  # fmt: skip


async def _count_new(actor: Actor, filters: TaskFilters, since: int) -> str:
    """Return the number of later tasks that match: a reader's list stays as of a given task."""
    latest = (await find_page(actor.client, filters, limit=PER_PAGE, before_id=None)).tasks
    number = sum(task.id > since for task in latest)
    return f"{number}+" if number == PER_PAGE else str(number)
