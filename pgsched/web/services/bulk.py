"""Background changes for people and programs: count the tasks of one, start it, end it."""

from __future__ import annotations

import time
from typing import Final, NamedTuple

from starlette.exceptions import HTTPException

from pgsched.client.async_client import AsyncClient
from pgsched.db.queries import bulk_changes as commands
from pgsched.db.queries.task_search import change_tasks, checked_bulk, find_ids, known_action
from pgsched.domain.bulk_changes import UNDO_SECONDS, BulkChange
from pgsched.domain.errors import TransitionRefused
from pgsched.domain.search_query import write_query
from pgsched.domain.task_filters import TaskFilters
from pgsched.web.auth.access import Actor
from pgsched.web.services.audit import audited

COUNTED: Final = 10_000
"""Tasks are counted up to this number before a change."""
SUITED: Final = 1_000
"""Up to this number, the counted tasks are also checked for whether they allow the action."""
COUNT_SECONDS: Final = 0.15
"""Time limit of counting the tasks of a change."""
VERBS: Final = {
    "undo": ("undone", ("waiting",)),
    "stop": ("stopped", ("waiting", "running")),
    "resume": ("running", ("stopped", "failed")),
}
"""Actions on a change: the new status, and the statuses that allow the action."""


class Estimate(NamedTuple):
    """The number of tasks that a change would affect."""

    matched: int
    """Number of matching tasks, as far as they were counted."""
    suited: int | None
    """How many of them allow the action; None: too many to check."""
    whole: bool
    """All tasks were scanned: ``matched`` is exact."""


async def estimate(client: AsyncClient, action: str, filters: TaskFilters) -> Estimate:
    """Count the matching tasks within a time limit. Raises InvalidTask."""
    known_action(action)
    checked_bulk(filters, limit=1)
    ends_at = time.monotonic() + COUNT_SECONDS
    found: list[int] = []
    before: int | None = None
    while True:
        page = await client.database.run(find_ids(filters, limit=COUNTED - len(found), before_id=before))
        found, before = found + page.ids, page.next_before
        if before is None or len(found) == COUNTED or time.monotonic() > ends_at:
            break
    suited = None
    if len(found) <= SUITED:
        fitting = await client.database.run(change_tasks(action, found, dry_run=True))
        suited = len(fitting)
    return Estimate(len(found), suited, before is None)


async def begin(
    actor: Actor, action: str, filters: TaskFilters, *, expected: int | None = None, delay: float = UNDO_SECONDS
) -> BulkChange:
    """Create a background change, which can be undone for ``delay`` seconds. Raises InvalidTask."""
    checked_bulk(filters, limit=1)
    async with audited(actor, "bulk_change.create") as change:
        id = await change.client.database.run(
            commands.add_bulk_change(
                action,
                filters,
                described=write_query(filters),
                actor=actor.name,
                role=actor.role,
                remote=actor.remote,
                expected=expected,
                delay=delay,
            )
        )
        change.target = f"bulk change {id}"
        change.before, change.after = {}, {"action": action, "bulk_change": id}
    actor.state.bulk.wake()
    return await find_change(actor.client, id)


async def find_change(client: AsyncClient, id: int) -> BulkChange:
    """Return a change. Raises HTTPException when the id does not exist."""
    found = await client.database.run(commands.list_bulk_changes(id=id, limit=1))
    if not found:
        raise HTTPException(404, f"bulk change {id} does not exist")
    return found[0]


async def end(actor: Actor, id: int, verb: str) -> BulkChange:
    """Undo, stop or resume a change. Raises TransitionRefused in a status that does not allow it."""
    status, of = VERBS[verb]
    async with audited(actor, f"bulk_change.{verb}", target=f"bulk change {id}") as change:
        change.nothing = not await change.client.database.run(commands.end_bulk_change(id, status, of=of))
        change.before, change.after = {}, {"bulk_change": id}
    now = await find_change(actor.client, id)
    if change.nothing:
        raise TransitionRefused(f"bulk change {id} is {now.status}: {verb} is possible only for {' or '.join(of)}")
    if verb == "resume":
        actor.state.bulk.wake()
    return now
