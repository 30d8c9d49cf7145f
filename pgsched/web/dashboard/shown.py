"""The frame of every page: the actor, the navigation, the notice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import urlencode

from starlette.responses import RedirectResponse, Response

from pgsched.web.auth.access import Actor
from pgsched.web.dashboard import notice
from pgsched.web.paths import href, site_of
from pgsched.web.rendering import page

T = TypeVar("T")

NAVIGATION: Mapping[str, Sequence[tuple[str, str, str, str]]] = {
    "": (("overview", "/", "Overview", "layout-dashboard"),),
    "Work": (
        ("tasks", "/tasks", "Tasks", "list-todo"),
        ("schedules", "/schedules", "Schedules", "calendar-clock"),
        ("upcoming", "/upcoming", "Upcoming", "calendar-range"),
        ("workflows", "/workflows", "Workflows", "workflow"),
        ("types", "/types", "Types", "gauge"),
    ),
    "Failures": (
        ("errors", "/errors", "Errors", "bug"),
        ("dead", "/dead", "Dead letters", "skull"),
        ("executions", "/executions", "Executions", "history"),
    ),
    "System": (
        ("queues", "/queues", "Queues", "layers"),
        ("workers", "/workers", "Workers", "server"),
        ("handlers", "/handlers", "Handlers", "boxes"),
        ("doctor", "/doctor", "Health", "heart-pulse"),
        ("audit", "/audit", "Audit log", "scroll-text"),
    ),
}
"""The pages by group: a page's name (that of ``show``), path, label and icon (a file of ``web/lucide``)."""
FOR_OPERATORS = {"audit"}
NOTICES: Mapping[str, str] = {
    "run": "Task {n} is queued to run now.",
    "cancel": "Task {n} was cancelled.",
    "retry": "Task {n} will be retried, with all its attempts.",
    "enable": "Task {n} is enabled.",
    "enable_afresh": "Task {n} is enabled; missed ticks are not run.",
    "skip": "The next run of task {n} is skipped.",
    "disable": "Task {n} is disabled.",
    "delete": "Task {n} was deleted.",
    "emit": "Event {n} was sent.",
    "emit_known": "Nothing was sent: event {n} already had this key.",
    "restart": "Task {n} was restarted.",
    "edit": "Task {n} was updated.",
    "backfill": "{n} past ticks are queued, each as a separate task.",
    "create": "Task {n} was created.",
    "existing": "Task {n} already existed: no other was created.",
    "updated": "Task {n} already existed and was updated.",
    "unchanged": "Task {n} already existed; nothing was changed.",
    "replaced": "Task {n} was created and replaces the one that had its key.",
    "pause": "The queue is paused; running tasks continue.",
    "resume": "The queue is resumed.",
    "worker_pause": "The worker was asked to pause: it claims no more tasks once it has received the request.",
    "worker_drain": "The worker was asked to drain: it finishes its tasks and exits.",
    "worker_resume": "The worker was asked to claim again.",
    "queue": "The settings of the queue were updated.",
    "calendar": "The days of the calendar were updated.",
    "calendar_delete": "The calendar was deleted.",
    "view": "The view was saved.",
    "view_delete": "The view was deleted.",
}
"""The notices on the page after an action."""


def show(
    actor: Actor, template: str, *, at: str, problem: str | None = None, status: int | None = None, **context: Any
) -> Response:
    """Return a page of the dashboard; ``at`` is its place in the navigation, ``problem`` the error of a form."""
    text = notice.taken(actor.request)
    response = page(
        actor.request,
        template,
        status=status or (422 if problem else 200),
        actor=actor,
        at=at,
        navigation=NAVIGATION,
        hidden=() if actor.may_change else FOR_OPERATORS,
        protected=actor.state.settings.protected,
        databases=_databases(actor, at),
        database=actor.state.name,
        site=site_of(actor.request),
        reveals=actor.sees_payloads,
        problem=problem,
        notice=text,
        **context,
    )
    if text is not None:
        notice.forget(actor.request, response)
    return response


def _databases(actor: Actor, at: str) -> dict[str, str]:
    """The databases of the site, each with the path of this page's section in it."""
    place = next((path for pages in NAVIGATION.values() for name, path, *_ in pages if name == at), "/")
    return {name: f"{site_of(actor.request)}/{name}{place}" for name in actor.state.names}


def done(actor: Actor, path: str, word: str, number: int | None = None) -> Response:
    """Redirect to a page after a change, with a notice; cached counters are reloaded."""
    actor.state.surveys.forget()
    actor.state.upcoming.forget()
    response = RedirectResponse(href(actor.request, path), status_code=303)
    if word in NOTICES:
        notice.give(actor.request, response, NOTICES[word].format(n=number), path)
    return response


def link(actor: Actor, path: str, query: Mapping[str, Any]) -> str:
    """Return the path of a page with a query; None and empty values are left out."""
    given = {name: value for name, value in query.items() if value not in (None, "", [])}
    return href(actor.request, path) + (f"?{urlencode(given, doseq=True)}" if given else "")


def cut(found: list[T], limit: int) -> tuple[list[T], T | None]:
    """Return the rows of a page, and the last of them when there were more than the page holds."""
    return found[:limit], found[limit - 1] if len(found) > limit else None
