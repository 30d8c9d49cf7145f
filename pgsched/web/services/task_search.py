"""Looking for tasks by a filter: how far one request goes, so that it is quick on any table."""

from __future__ import annotations

import time

from pgsched.client.async_client import AsyncClient
from pgsched.db.queries import dashboard
from pgsched.db.queries.task_search import Page
from pgsched.domain.task_filters import TaskFilters

SECONDS = 0.05
"""After so long a search begins with no further stretch of the table, but asks whether to go on."""


async def find_stretch(client: AsyncClient, filters: TaskFilters, *, limit: int, before_id: int | None) -> Page:
    """Return tasks of one stretch of the table, from the latest id down; what runs is looked up by the due clock."""
    if list(filters.get("status") or ()) == ["running"] and filters.get("ids") is None:
        ids = await client.database.run(dashboard.find_running_ids())
        if not ids:
            return Page([], None)
        filters = TaskFilters(**{**filters, "ids": ids})
    return await client.find_tasks(limit=limit, before_id=before_id, **filters)


async def find_page(client: AsyncClient, filters: TaskFilters, *, limit: int, before_id: int | None) -> Page:
    """Return tasks of as many stretches as there is time for, until there are enough of them."""
    ends_at = time.monotonic() + SECONDS
    found = Page([], before_id)
    while True:
        step = await find_stretch(client, filters, limit=limit - len(found.tasks), before_id=found.next_before)
        found = Page(found.tasks + step.tasks, step.next_before)
        if found.next_before is None or len(found.tasks) == limit or time.monotonic() > ends_at:
            return found
