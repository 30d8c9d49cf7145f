"""The audit log: every change through the web writes one entry, in the same transaction.

::

    async with audited(actor, "task.cancel", task_id=id) as change:
        await change.client.cancel(id)
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from pgsched.client.async_client import AsyncClient
from pgsched.db.queries.audit import add_entry
from pgsched.domain.errors import TaskNotFound
from pgsched.domain.records import Task
from pgsched.observability.logs import get_logger
from pgsched.web.auth.access import Actor

log = get_logger("pgsched.web")

SECRET = ("payload", "metadata", "result", "progress", "last_error")
"""Whose values are not kept: only that they changed."""
_ALWAYS_NEW = ("updated_at",)
CHANGED = "(changed)"
"""Stands for a value that is not kept."""


@dataclass(kw_only=True)
class Change:
    """A change under way; what it says when it is done is what the entry says."""

    client: AsyncClient
    """Use this one: what is done through it is part of the transaction."""
    action: str
    task_id: int | None = None
    """Set it when the change makes a task. What became of a task is found out by itself."""
    queue: str | None = None
    target: str | None = None
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None
    task_ids: Sequence[int] | None = None
    """The tasks of a change to many: each has the entry among its changes."""
    nothing: bool = False
    """Set it when nothing was changed after all: no entry is written."""

    def note(self, was: Mapping[str, Any], now: Mapping[str, Any]) -> None:
        """Say in which values something differs; without a difference no entry is written."""
        names = [name for name in now if was[name] != now[name]]
        self.nothing = not names
        self.before, self.after = ({name: values[name] for name in names} for values in (was, now))


@asynccontextmanager
async def audited(
    actor: Actor, action: str, *, task_id: int | None = None, queue: str | None = None, target: str | None = None
) -> AsyncIterator[Change]:
    """A transaction whose change is noted at its end; an error undoes both.

    For one task, the columns that differ are found by reading it before and after; of payloads only that they differ.
    Anything else says itself what it changed: ``change.before`` and ``change.after``, JSON-able and without payloads.
    Raises TaskNotFound for a ``task_id`` that does not exist.
    """
    async with actor.client.transaction() as client:
        change = Change(client=client, action=action, task_id=task_id, queue=queue, target=target)
        was = None if task_id is None else await client.get(task_id)
        yield change
        if change.nothing:
            return
        if change.task_id is not None and change.before is None and change.after is None:
            now = None
            with suppress(TaskNotFound):  # it was deleted
                now = await client.get(change.task_id)
            change.before, change.after = differences(was, now)
        if actor.reason is not None:
            change.after = {**(change.after or {}), "reason": actor.reason}
        await client.database.run(
            add_entry(
                actor=actor.name,
                role=actor.role,
                remote=actor.remote,
                action=change.action,
                task_id=change.task_id,
                queue=change.queue,
                target=change.target,
                before=change.before,
                after=change.after,
                task_ids=change.task_ids,
            )
        )
    log.info("changed", action=change.action, actor=actor.name, task_id=change.task_id, queue=change.queue)


def differences(was: Task | None, now: Task | None) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """The columns in which a task differs, as they were and as they are; None where there was or is no task."""
    if was is None or now is None:
        return _without_secrets(was), _without_secrets(now)
    before, after = was.as_dict(), now.as_dict()
    names = [name for name in before if before[name] != after[name] and name not in _ALWAYS_NEW]
    return (
        {name: CHANGED if name in SECRET else before[name] for name in names},
        {name: CHANGED if name in SECRET else after[name] for name in names},
    )


def _without_secrets(task: Task | None) -> dict[str, Any] | None:
    if task is None:
        return None
    return {name: value for name, value in task.as_dict().items() if value is not None and name not in SECRET}
