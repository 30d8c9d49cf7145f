"""Changes to all dead tasks of an error, each batch with its entry in the audit log."""

from __future__ import annotations

from typing import Final

from pgsched.db.queries import task_search
from pgsched.db.queries.counted import DeadOfError, dead_of_error
from pgsched.domain.task_filters import TaskFilters
from pgsched.web.auth.access import Actor
from pgsched.web.services.audit import audited
from pgsched.web.services.changes import SHOWN_IDS

MAX_COUNTED: Final = 10_000
"""Dead tasks of an error are counted up to this number."""


async def change_error(actor: Actor, verb: str, id: str) -> int:
    """Retry or delete all dead tasks of an error; return how many. In batches, each with its entry.

    Raises ErrorNotFound, and InvalidTask for an id that is not a single group.
    """
    following = dead_of_error(await actor.client.error(id))
    number = 0
    done: DeadOfError | None = None
    while done is None or done.last is not None:
        done = await actor.client.database.run(following(done))
        for chunk in task_search.chunks(done.ids, task_search.BATCH):
            filters = TaskFilters(ids=list(chunk), status=["dead"])
            async with audited(actor, f"error.{verb}", target=f"error {id}") as change:
                changed = (await change.client.change_tasks(verb, limit=len(chunk), **filters)).changed
                change.nothing = not changed
                change.before, change.after = {"error": id}, {"number": len(changed), "ids": changed[:SHOWN_IDS]}
            number += len(changed)
    return number
