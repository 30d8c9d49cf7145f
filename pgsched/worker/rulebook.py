"""The time zones whose rules are the same in this process and in the database.

The database computes the ticks of inserted and edited schedules, so its rules are authoritative. A worker with the
rules of another release leaves the computation to the database; otherwise a tick could run by both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from time import monotonic

from pgsched.db.error_mapping import RefusedByDatabase
from pgsched.db.session import Session
from pgsched.db.worker.schedules import follow_zones, read_zones
from pgsched.domain.attempt import TIMEZONE, Claimed
from pgsched.domain.scheduling.time_zones import agrees
from pgsched.observability.logs import get_logger

log = get_logger("pgsched.worker")

AGAIN_SECONDS = 60.0
"""How long the database's rules of a zone are assumed not to change, at most; otherwise as long as the connection."""
UNBOOKED = -1
"""No row has this revision: where a finish has it, the database computes the next tick."""


class Rulebook:
    """What is known about the zones of schedules."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.agrees = {TIMEZONE: True}
        self.since = -math.inf
        self._opened = 0

    async def learn(self, tasks: Sequence[Claimed]) -> None:
        """Compare the zones of claimed schedules that were not compared recently. Raises DatabaseUnavailable."""
        zones = {task.timezone for task in tasks if task.timezone is not None and task.schedule_type != "one_time"}
        if not zones:
            return
        if monotonic() - self.since > AGAIN_SECONDS or self._opened != self._session.opened:
            self.agrees, self.since, self._opened = {TIMEZONE: True}, monotonic(), self._session.opened
        if unknown := sorted(zones - self.agrees.keys()):
            try:
                known = {rules.zone: agrees(rules) for rules in await read_zones(self._session, unknown)}
                # If the database cannot compute ticks, this worker does, or ends the schedule.
                self.agrees |= dict.fromkeys(unknown, True) | known
            except RefusedByDatabase as error:
                self.agrees |= dict.fromkeys(unknown, False)
                log.warning("zones_not_read", error=str(error))
            for zone in unknown:
                if not self.agrees[zone]:
                    log.warning("zone_differs", timezone=zone, hint="the database books its schedules")

    def marked(self, tasks: list[Claimed]) -> list[Claimed]:
        """Return claimed rows; schedules whose zone may differ from the database's are marked."""
        return [
            task._replace(revision=UNBOOKED)
            if task.timezone is not None and task.schedule_type != "one_time" and not self.agrees.get(task.timezone)
            else task
            for task in tasks
        ]


async def follow(session: Session) -> None:
    """Adapt future ticks to the database's time zone rules, and log that. Raises DatabaseUnavailable."""
    try:
        for moved in await follow_zones(session):
            log.warning("zone_rules_changed", timezone=moved.zone, schedules=moved.schedules)
    except RefusedByDatabase as error:
        log.error("zone_rules_refused", error=str(error))
