"""Determines the types a catch-all handler takes: those of due tasks that no other live worker has a handler for."""

from __future__ import annotations

from dataclasses import dataclass

from pgsched.db.error_mapping import RefusedByDatabase
from pgsched.db.session import Session
from pgsched.db.worker.leases import Identity, find_unserved_types
from pgsched.observability.logs import get_logger
from pgsched.worker.queue_rotation import QueueRotation

log = get_logger("pgsched.worker")

LOOK_SECONDS = 1.0
"""How often a worker with a catch-all handler refreshes these types."""


@dataclass(kw_only=True, eq=False, repr=False)
class CatchAll:
    """Maintains the types that its worker claims besides those it has handlers for; no claim statement knows of it."""

    session: Session
    identity: Identity
    rotation: QueueRotation
    look_at: float = 0.0
    """The time of the next refresh, by the monotonic clock."""

    async def learn(self, now: float) -> bool:
        """Refresh the types that nobody else handles, if it is time; returns whether they changed.

        Raises DatabaseUnavailable.
        """
        if now < self.look_at:
            return False
        self.look_at = now + LOOK_SECONDS
        also = self.identity.also
        try:
            found = await find_unserved_types(self.session, self.identity, self.rotation.names)
        except RefusedByDatabase as error:  # continue with the known ones
            log.warning("types_not_learned", error=str(error))
            return False
        if found == also:
            return False
        also[:] = found
        log.info("catching", task_types=found)
        return True
