"""What every page has: who looks, where he is, what was done a moment ago; and how a page asks the database."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar
from urllib.parse import urlencode

from fastapi import Request
from starlette.responses import RedirectResponse, Response

from pgsched.client.async_client import AsyncClient
from pgsched.db.commands import Command
from pgsched.web.auth.access import Actor, shows_payloads
from pgsched.web.paths import href
from pgsched.web.rendering import page
from pgsched.web.state import state_of

T = TypeVar("T")

NAVIGATION = (
    ("overview", "/", "Overview"),
    ("tasks", "/tasks", "Tasks"),
    ("schedules", "/schedules", "Schedules"),
    ("workflows", "/workflows", "Workflows"),
    ("queues", "/queues", "Queues"),
    ("workers", "/workers", "Workers"),
    ("dead", "/dead", "Dead letters"),
    ("executions", "/executions", "Executions"),
    ("doctor", "/doctor", "Doctor"),
)
FOR_OPERATORS = ("audit", "/audit", "Audit log")
NOTICES: Mapping[str, str] = {
    "run": "Task {n} is due now.",
    "cancel": "Task {n} was cancelled.",
    "retry": "Task {n} has all its attempts again.",
    "enable": "Task {n} is on.",
    "enable_afresh": "Task {n} is on; ticks that passed are not run.",
    "skip": "The next tick of task {n} is skipped.",
    "disable": "Task {n} is off.",
    "delete": "Task {n} was deleted.",
    "edit": "Task {n} was changed.",
    "backfill": "{n} ticks that passed are run, each as a task of its own.",
    "create": "Task {n} was created.",
    "bulk": "{n} tasks were changed.",
    "pause": "The queue is paused; what runs goes on.",
    "resume": "The queue is claimed from again.",
    "queue": "The settings of the queue were changed.",
    "calendar": "The days of the calendar were changed.",
    "calendar_delete": "The calendar was deleted.",
    "retry_dead": "{n} dead letters have all their attempts again.",
    "purge_dead": "{n} dead letters were deleted.",
}
"""What was done, by the word that a redirect carries: no foreign text gets onto a page that way."""


def client_of(request: Request) -> AsyncClient:
    """The client of the app."""
    return state_of(request).client


async def run(request: Request, command: Command[T]) -> T:
    """Ask the database."""
    return await state_of(request).client.database.run(command)


def show(request: Request, actor: Actor, template: str, *, at: str, status: int = 200, **context: Any) -> Response:
    """Return a page of the dashboard; ``at`` is its place in the navigation."""
    return page(
        request,
        template,
        status=status,
        actor=actor,
        at=at,
        navigation=(*NAVIGATION, FOR_OPERATORS) if actor.may_change else NAVIGATION,
        protected=state_of(request).settings.protected,
        reveals=shows_payloads(request, actor),
        notice=_notice(request),
        **context,
    )


def done(request: Request, path: str, word: str, number: int | None = None) -> Response:
    """Return to a page after a change, which it names."""
    query = {"did": word} | ({} if number is None else {"n": str(number)})
    return RedirectResponse(f"{href(request, path)}?{urlencode(query)}", status_code=303)


def link(request: Request, path: str, query: Mapping[str, Any]) -> str:
    """The path of a page with a query; what is None or empty is left out."""
    given = {name: value for name, value in query.items() if value not in (None, "", [])}
    return href(request, path) + (f"?{urlencode(given, doseq=True)}" if given else "")


def _notice(request: Request) -> str | None:
    text = NOTICES.get(request.query_params.get("did", ""))
    number = request.query_params.get("n", "")
    return (
        text.format(n=number if number.isascii() and number.isdigit() and len(number) < 20 else "?") if text else None
    )
