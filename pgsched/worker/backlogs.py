"""Notes how many tasks of each queue are due, once a minute, so that one can see when a backlog is drained."""

from __future__ import annotations

import random
from dataclasses import dataclass
from time import monotonic

from pgsched.db.error_mapping import RefusedByDatabase
from pgsched.db.session import Session
from pgsched.db.worker.housekeeping import note_backlogs
from pgsched.observability.logs import get_logger

log = get_logger("pgsched.worker")

EVERY_SECONDS = 60.0
"""How often each worker tries; whoever comes first in a minute counts."""


@dataclass(kw_only=True, eq=False, repr=False)
class Backlogs:
    """One worker's part of it."""

    session: Session

    def __post_init__(self) -> None:
        self._look_at = 0.0
        self._refused = False

    async def run_once(self) -> None:
        """Count, if it is time. Raises DatabaseUnavailable."""
        if monotonic() < self._look_at:
            return
        self._look_at = monotonic() + EVERY_SECONDS * random.uniform(0.9, 1.1)  # noqa: S311 - not all at once
        try:
            await note_backlogs(self.session)
        except RefusedByDatabase as error:  # as a role that may not: nothing is foretold then
            if not self._refused:
                self._refused = True
                log.warning("backlogs_not_noted", error=str(error))
