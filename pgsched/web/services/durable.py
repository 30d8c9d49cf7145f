"""Changes to durable tasks: events that are sent to them, and restarts; each with its entry in the audit log."""

from __future__ import annotations

from typing import Any, NamedTuple

from pgsched.db.queries.durable_pages import is_new_event
from pgsched.domain.records import Task
from pgsched.web.auth.access import Actor
from pgsched.web.services.audit import audited, differences


class Sent(NamedTuple):
    """The result of sending an event."""

    id: int
    is_new: bool
    """False: an event of the same name and key existed before, and has this id."""


async def emit(actor: Actor, id: int, name: str, payload: Any = None, event_key: str | None = None) -> Sent:
    """Send an event to a task; one with a known key is not sent again. Raises like the client's ``emit``."""
    async with audited(actor, "task.emit", task_id=id) as change:
        event = await change.client.emit(id, name, payload, event_key=event_key)
        is_new = await change.client.database.run(is_new_event(event))
        change.nothing = not is_new
        keyed = {} if event_key is None else {"key": event_key}
        change.before, change.after = {}, {"event": name, "id": event, **keyed}
    return Sent(event, is_new)


async def restart(actor: Actor, id: int, from_step: str | None = None, from_key: str = "") -> Task:
    """Run a task again, completely or from a step on; return the task. Raises like the client's ``restart``."""
    async with audited(actor, "task.restart", task_id=id) as change:
        was = await change.client.get(id)
        await change.client.restart(id, from_step, from_key=from_key)
        now = await change.client.get(id)
        before, after = differences(was, now)
        told = {"from_step": from_step, "from_key": from_key or None}
        change.before = before
        change.after = (after or {}) | {name: value for name, value in told.items() if value is not None}
    return now
