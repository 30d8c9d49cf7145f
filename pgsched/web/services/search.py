"""Searches of tasks and of attempts that any table answers quickly: a request looks at one part of it after the other.

Attempts are looked for back through time, in spans that grow while few are found; tasks from the latest id down.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from pgsched.client.async_client import AsyncClient
from pgsched.db.async_database import AsyncDatabase
from pgsched.db.queries import dashboard
from pgsched.db.queries.task_search import Page, find_tasks
from pgsched.domain.records import Execution
from pgsched.domain.task_filters import TaskFilters

SECONDS = 0.05
"""After so long no further part is looked through, and who asks may go on; of attempts the database's work counts."""
_FIRST = timedelta(seconds=1)
_GROWTH = 16.0
"""A span is at most so many times as long as the one before, less where that one held much."""
_BEFORE_ALL = 1 - 2**63

Place = tuple[datetime, int, int]
"""``(started_at, task_id, fencing_token)``."""


class Attempts(NamedTuple):
    """What was found, the latest first."""

    found: list[Execution]
    next_before: Place | None
    """The next page comes before this place; None when nothing is left to look at."""


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
    """Return attempts that began within the last ``seconds``; those ``before`` a place when one is given."""
    async with database.transaction() as one:  # of one connection: waited for once
        began = time.monotonic()
        now = await one.run(dashboard.begin_look())
        way = time.monotonic() - began  # there and back, without work
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
            if worked > SECONDS:
                return Attempts(found, place)
            if work < SECONDS:
                span *= min(SECONDS / max(work, 1e-6), _GROWTH)


async def find_stretch(
    client: AsyncClient, filters: TaskFilters, *, limit: int, before_id: int | None, without: Sequence[str] = ()
) -> Page:
    """Return tasks of one stretch of the table, from the latest id down; what runs is looked up by the due clock.

    They are read ``without`` these columns, which are None.
    """
    if list(filters.get("status") or ()) == ["running"] and filters.get("ids") is None:
        ids = await client.database.run(dashboard.find_running_ids())
        if not ids:
            return Page([], None)
        filters = TaskFilters(**{**filters, "ids": ids})
    command = find_tasks(filters, limit=limit, before_id=before_id)
    return await client.database.run(command.without(without))


async def find_page(client: AsyncClient, filters: TaskFilters, *, limit: int, before_id: int | None) -> Page:
    """Return tasks of as many stretches as there is time for, until there are enough of them."""
    ends_at = time.monotonic() + SECONDS
    found = Page([], before_id)
    while True:
        step = await find_stretch(client, filters, limit=limit - len(found.tasks), before_id=found.next_before)
        found = Page(found.tasks + step.tasks, step.next_before)
        if found.next_before is None or len(found.tasks) == limit or time.monotonic() > ends_at:
            return found
