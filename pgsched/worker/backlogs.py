"""Records once a minute how many tasks of each queue are due, from which the drain of a backlog is predicted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pgsched.db.error_mapping import RefusedByDatabase
from pgsched.db.session import Session
from pgsched.db.worker.housekeeping import note_backlogs
from pgsched.observability.logs import get_logger
from pgsched.worker.idle_turns import Turn

log = get_logger("pgsched.worker")

EVERY_SECONDS = 60.0
"""How often each worker tries; the first one in a minute does it."""
IDLE_SECONDS = 300.0
"""How often a worker tries that has claimed nothing since."""


@dataclass(kw_only=True, eq=False, repr=False)
class Backlogs:
    """The part of one worker."""

    session: Session
    claimed: Callable[[], float]
    """Returns how many tasks the worker has claimed so far."""

    def __post_init__(self) -> None:
        self._turn = Turn(EVERY_SECONDS, IDLE_SECONDS, self.claimed)
        self._refused = False

    async def run_once(self) -> None:
        """Count, if it is time. Raises DatabaseUnavailable."""
        if not self._turn.take():
            return
        try:
            await note_backlogs(self.session)
        except RefusedByDatabase as error:  # e.g. the role lacks the rights: then there are no predictions
            if not self._refused:
                self._refused = True
                log.warning("backlogs_not_noted", error=str(error))
