"""Searches of tasks and attempts in time-limited parts, so that tables of any size answer quickly.

Attempts are searched back in time, in spans that grow while few are found; tasks from the latest id down.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from pgsched.client.async_client import AsyncClient
from pgsched.db.async_database import AsyncDatabase
from pgsched.db.queries import dashboard
from pgsched.db.queries.task_search import MAX_SCANNED, Page, find_tasks
from pgsched.domain.records import Execution, Task
from pgsched.domain.search_query import parse_query, resolved
from pgsched.domain.task_filters import TaskFilters
from pgsched.web.auth.access import Actor

SECONDS = 0.05
"""Time limit of a request, after which it returns a cursor; for attempts only the database's work counts."""
EMPTY_SECONDS = 0.2
"""The limit while no attempt was found: many short queries skip idle hours."""
FIRST_SCAN = 5_000
"""Rows in the first part of a search."""
LONGEST_KEY = 500
_FIRST = timedelta(seconds=1)
_GROWTH = 2.0
"""A span is at most this many times as long as the one before, less after a span with many attempts: before hours
without an attempt they may be dense."""
_BEFORE_ALL = 1 - 2**63

Place = tuple[datetime, int, int]
"""``(started_at, task_id, fencing_token)``."""


class Attempts(NamedTuple):
    """The matches, the latest first."""

    found: list[Execution]
    next_before: Place | None
    """The next page is before this place; None when the search is complete."""


async def find_attempts(
    database: AsyncDatabase,
    *,
    seconds: int,
    queue: str | None,
    task_type: str | None,
    status: str | None,
    before: Place | None,
    limit: int,
) -> Attempts:
    """Return attempts that started within the last ``seconds``; only those ``before`` a place when one is given."""
    async with database.transaction() as one:  # On one connection: waited for once.
        began = time.monotonic()
        now = await one.run(dashboard.begin_look())
        way = time.monotonic() - began  # A round trip without work.
        lowest = now - timedelta(seconds=seconds)
        upper, span, place = before[0] if before else now, _FIRST, before
        found: list[Execution] = []
        worked = 0.0
        while True:
            since = max(upper - span, lowest)
            command = dashboard.latest_executions(
                since=since, queue=queue, task_type=task_type, status=status, before=place, limit=limit - len(found)
            )
            began = time.monotonic()
            step = await one.run(command)
            found += step
            work = max(time.monotonic() - began - way, 0.0)
            if len(found) == limit:
                last = found[-1]
                return Attempts(found, (last.started_at, last.task_id, last.fencing_token))
            if since <= lowest:
                return Attempts(found, None)
            upper, place = since, (since, _BEFORE_ALL, _BEFORE_ALL)
            worked += work
            if worked > (SECONDS if found else EMPTY_SECONDS):
                return Attempts(found, place)
            if work < SECONDS:
                span *= min(SECONDS / max(work, 1e-6), _GROWTH)


def visible(actor: Actor, filters: TaskFilters) -> TaskFilters:
    """Return the filters with ``q`` replaced by its parsed terms; where payloads are hidden, texts skip hidden columns.

    Raises InvalidTask.
    """
    given = resolved(filters, now=datetime.now(UTC))
    if not actor.sees_payloads and "text" in given:
        given["label"] = given.pop("text")
    return given


async def find_stretch(
    client: AsyncClient,
    filters: TaskFilters,
    *,
    limit: int,
    before_id: int | None,
    scan: int | None = None,
    without: Sequence[str] = (),
) -> Page:
    """Return tasks of one part of the table, from the latest id down; running tasks are read by the due clock.

    The columns in ``without`` are not read, and are None.
    """
    if list(filters.get("status") or ()) == ["running"] and filters.get("ids") is None:
        ids = await client.database.run(dashboard.find_running_ids())
        if not ids:
            return Page([], None)
        filters = TaskFilters(**{**filters, "ids": ids})
    command = find_tasks(filters, limit=limit, before_id=before_id, scan=scan)
    return await client.database.run(command.without(without))


async def find_page(client: AsyncClient, filters: TaskFilters, *, limit: int, before_id: int | None) -> Page:
    """Return tasks of as many parts as fit the time limit, until there are enough of them.

    The first part is short: the time per row depends on the filter and on the length of payloads.
    """
    ends_at = time.monotonic() + SECONDS
    found, scan = Page([], before_id), FIRST_SCAN
    while True:
        began = time.monotonic()
        step = await find_stretch(
            client, filters, limit=limit - len(found.tasks), before_id=found.next_before, scan=scan
        )
        now = time.monotonic()
        found = Page(found.tasks + step.tasks, step.next_before)
        if found.next_before is None or len(found.tasks) == limit or now > ends_at:
            return found
        scan = min(MAX_SCANNED, int(scan * min(_GROWTH, (ends_at - now) / max(now - began, 1e-6))) + 1000)


async def made_at(client: AsyncClient, id: int | None) -> datetime | None:
    """Return when a task was created, as the place that a search has reached; None when it is gone."""
    if id is None:
        return None
    return await client.database.run(dashboard.find_created_at(id))


async def find_offers(actor: Actor, query: str) -> list[tuple[str, Task]]:
    """Return what a query of one word may also mean: the task with that id, and the one with that key."""
    terms = parse_query(query)
    if len(terms) != 1 or terms[0].name != "text":
        return []
    word, number = terms[0].value, terms[0].number
    asked: list[tuple[str, TaskFilters]] = [("key", {"idempotency_key": word})] if len(word) <= LONGEST_KEY else []
    if number is not None:
        asked.insert(0, ("id", {"ids": [number]}))
    found = [(kind, (await actor.client.find_tasks(limit=1, **filters)).tasks) for kind, filters in asked]
    return [(kind, tasks[0]) for kind, tasks in found if tasks]
