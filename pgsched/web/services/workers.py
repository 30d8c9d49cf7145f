"""Requests to workers, each with its entry in the audit log."""

from __future__ import annotations

from uuid import UUID

from pgsched.client.async_client import AsyncClient
from pgsched.domain.errors import WorkerNotFound
from pgsched.domain.worker_records import WorkerInfo
from pgsched.web.auth.access import Actor
from pgsched.web.services.audit import audited


async def ask_worker(actor: Actor, verb: str, id: UUID) -> WorkerInfo:
    """Pause, drain or resume a worker; return it. Raises WorkerNotFound, and TransitionRefused."""
    async with audited(actor, f"worker.{verb}") as change:
        client = change.client
        was = await find_worker(client, id)
        ask = {"pause": client.pause_worker, "drain": client.drain_worker, "resume": client.resume_worker}[verb]
        change.nothing = not await ask(id, requested_by=actor.name)
        now = await find_worker(client, id)
        change.target = f"{was.hostname} {was.pid} ({id})"
        change.before, change.after = {"request": was.request}, {"request": now.request}
    return now


async def find_worker(client: AsyncClient, id: UUID) -> WorkerInfo:
    """Return a registered worker. Raises WorkerNotFound."""
    for one in await client.workers():
        if one.id == id:
            return one
    raise WorkerNotFound(f"worker {id} is not registered")
