"""Which types a catch-all handler takes: those of due tasks that no other live worker has a handler for."""

from __future__ import annotations

from dataclasses import dataclass

from pgsched.db.error_mapping import RefusedByDatabase
from pgsched.db.session import Session
from pgsched.db.worker.leases import Identity, find_unserved_types
from pgsched.observability.logs import get_logger
from pgsched.worker.queue_rotation import QueueRotation

log = get_logger("pgsched.worker")

LOOK_SECONDS = 1.0
"""How often a worker with a catch-all looks which types these are."""


@dataclass(kw_only=True, eq=False, repr=False)
class CatchAll:
    """Keeps what its worker claims beside the types that it has handlers for; no statement of a claim knows of it."""

    session: Session
    identity: Identity
    rotation: QueueRotation
    look_at: float = 0.0
    """When it looks again, by the monotonic clock."""

    async def learn(self, now: float) -> bool:
        """Look which types nobody else has, if it is time; whether there are others than before.

        Raises DatabaseUnavailable.
        """
        if now < self.look_at:
            return False
        self.look_at = now + LOOK_SECONDS
        also = self.identity.also
        try:
            found = await find_unserved_types(self.session, self.identity, self.rotation.names)
        except RefusedByDatabase as error:  # it goes on with those that it knows
            log.warning("types_not_learned", error=str(error))
            return False
        if found == also:
            return False
        also[:] = found
        log.info("catching", task_types=found)
        return True
