"""How a worker starts: it introduces itself to the database, unless it is told to stop before that answers."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from pgsched.db.error_mapping import RefusedByDatabase
from pgsched.db.session import Session
from pgsched.db.worker.schedules import follow_zones
from pgsched.execution.registry import Registry
from pgsched.observability.logs import get_logger
from pgsched.worker.declared_schedules import declare_schedules
from pgsched.worker.lasting import own_task
from pgsched.worker.shutdown import ANSWER_SECONDS

log = get_logger("pgsched.worker")


async def unless_stopped(start: Coroutine[Any, Any, None], stop: asyncio.Event) -> bool:
    """Do what a start takes; False when ``stop`` was set before it was done, even a moment later."""
    starting = own_task(start, name="pgsched start")
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([starting, stopping], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not starting.done():
        await asyncio.wait([starting], timeout=ANSWER_SECONDS)
    if not starting.done():
        starting.cancel()
        return False
    await starting
    return True


async def follow(session: Session) -> None:
    """Let what is booked follow the database's rules of time zones, and tell of it. Raises DatabaseUnavailable."""
    try:
        for moved in await follow_zones(session):
            log.warning("zone_rules_changed", timezone=moved.zone, schedules=moved.schedules)
    except RefusedByDatabase as error:
        log.error("zone_rules_refused", error=str(error))


async def declare(session: Session, registry: Registry) -> None:
    """Bring the table into step with the schedules of the code. Raises DatabaseUnavailable."""
    for task_type, outcome, reason, name in await declare_schedules(session, registry):
        which = {"task_type": task_type} | ({} if name is None else {"name": name})
        if outcome == "refused":
            log.error("schedule_refused", **which, reason=reason)
        elif outcome in ("edited", "overwritten"):
            log.warning("schedule_edited", **which, kept="table" if outcome == "edited" else "code")
        elif outcome != "unchanged":
            log.info("schedule_declared", **which, outcome=outcome)
