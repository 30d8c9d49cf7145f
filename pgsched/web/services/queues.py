"""Changes to queues, each with its entry in the audit log."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from pgsched.client.async_client import AsyncClient
from pgsched.domain.records import QueueSettings
from pgsched.web.auth.access import Actor
from pgsched.web.services.audit import Change, audited

Work = Callable[[AsyncClient], Awaitable[object]]


async def change_queue(actor: Actor, verb: str, name: str, work: Work) -> tuple[QueueSettings, Change]:
    """Let ``work`` change a queue in one transaction; return its settings as they are, and which of them were changed.

    Raises InvalidTask for a name that no queue may have.
    """
    async with audited(actor, f"queue.{verb}", queue=name) as change:
        was = await change.client.queue(name)
        await work(change.client)
        now = await change.client.queue(name)
        change.note(was.as_dict(), now.as_dict())
    actor.state.stats.forget()
    return now, change


async def pause_queue(actor: Actor, name: str) -> QueueSettings:
    """Claim nothing more of a queue; what runs goes on."""
    return (await change_queue(actor, "pause", name, lambda client: client.pause_queue(name)))[0]


async def resume_queue(actor: Actor, name: str) -> QueueSettings:
    """Claim again from a paused queue."""
    return (await change_queue(actor, "resume", name, lambda client: client.resume_queue(name)))[0]
