"""Changes to durable tasks, each with its entry in the audit log."""

from __future__ import annotations

from typing import Any, NamedTuple

from pgsched.db.queries.durable_pages import is_new_event
from pgsched.domain.records import Task
from pgsched.web.auth.access import Actor
from pgsched.web.services.audit import audited, differences


class Sent(NamedTuple):
    """An event, and whether it was sent now."""

    id: int
    is_new: bool
    """False: one of the same name and key was there before."""


async def emit_event(actor: Actor, id: int, name: str, payload: Any, *, event_key: str | None = None) -> Sent:
    """Send an event to a durable task. Raises as the client's ``emit``."""
    async with audited(actor, "task.emit", task_id=id) as change:
        event = await change.client.emit(id, name, payload, event_key=event_key)
        is_new = await change.client.database.run(is_new_event(event))
        change.nothing = not is_new
        change.before, change.after = {}, {"event": name, "event_id": event}
    return Sent(event, is_new)


async def restart_task(actor: Actor, id: int, from_step: str | None = None, from_key: str = "") -> Task:
    """Run a durable task afresh, or from a step on; return it as it is. Raises as the client's ``restart``."""
    async with audited(actor, "task.restart", task_id=id) as change:
        was = await change.client.get(id)
        await change.client.restart(id, from_step, from_key=from_key)
        now = await change.client.get(id)
        change.before, after = differences(was, now)
        told = {"from_step": from_step, "from_key": from_key or None}
        change.after = (after or {}) | {name: value for name, value in told.items() if value is not None}
    return now
