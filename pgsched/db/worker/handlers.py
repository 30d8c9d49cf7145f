"""Writes the register of handlers, for workers and deployments."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from pgsched.db.session import Session
from pgsched.db.sql_files import load_statement

FOLLOWED_OPTIONS: Final = (
    "priority",
    "max_attempts",
    "backoff",
    "backoff_delay",
    "backoff_max",
    "backoff_factor",
    "backoff_jitter",
    "timeout",
)
"""What waiting tasks adopt from a handler that has changed."""
BATCH: Final = 5_000
"""Maximum number of tasks that are changed in one transaction."""


async def register(session: Session, handlers: Sequence[Mapping[str, Any]]) -> list[str]:
    """Write handlers into the register; return the types whose entry is new or has changed."""
    rows = await session.fetch(load_statement("register_handlers"), handlers=json.dumps(handlers))
    return [str(task_type) for task_type in rows[0][0]]


async def retire(session: Session, task_types: Sequence[str], *, really: bool) -> list[str]:
    """Return the registered types that are none of these and that no live worker has; ``really`` retires them."""
    rows = await session.fetch(load_statement("retire_handlers"), task_types=list(task_types), retire=really)
    return [str(task_type) for (task_type,) in rows]


class Resolved(NamedTuple):
    """The options of a type's tasks in a queue that set none themselves."""

    task_type: str
    queue: str
    options: dict[str, Any]


async def resolve_waiting(session: Session, task_types: Sequence[str]) -> list[Resolved]:
    """Return the options that waiting tasks would have if they set none, for each type and queue."""
    rows = await session.fetch(
        load_statement("resolve_waiting"), task_types=list(task_types), options=list(FOLLOWED_OPTIONS)
    )
    return [Resolved(*row) for row in rows]


async def update_waiting(session: Session, before: Resolved, after: Resolved) -> int:
    """Give waiting tasks the current defaults where they had the previous ones; return how many were changed.

    In batches, each committed by itself.
    """
    changed, last = 0, 0
    while True:
        rows = await session.fetch(
            load_statement("update_waiting"),
            task_type=before.task_type,
            queue=before.queue,
            before=json.dumps(before.options),
            after=json.dumps(after.options),
            after_id=last,
            limit=BATCH,
        )
        looked_at, now, last_id = map(int, (*rows[0][:2], rows[0][2] or 0))
        changed += now
        if looked_at < BATCH:
            return changed
        last = last_id
