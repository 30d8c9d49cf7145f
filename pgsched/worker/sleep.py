"""The sleep of an idle worker: until when inserts must notify it, and when it polls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from time import monotonic

from pgsched.db.error_mapping import RefusedByDatabase
from pgsched.db.session import Session
from pgsched.db.worker import leases
from pgsched.db.worker.leases import Identity
from pgsched.observability.logs import get_logger

log = get_logger("pgsched.worker")

SECOND_LOOKS = (0.0, 0.05, 0.25, 1.0)
"""Seconds to the next polls after falling asleep: a row whose transaction was still open then notified nobody."""
LONGEST_SLEEP = 60.0
"""Seconds for which a worker publishes that it sleeps: a dead one is notified in vain for no longer than that."""


@dataclass(kw_only=True, eq=False, repr=False)
class Sleep:
    """The sleep of one worker. A sleep that is renewed before it is over has no gap, and needs no further polls."""

    session: Session
    identity: Identity
    poll_interval: float

    def __post_init__(self) -> None:
        self._looks = 0
        self._due_at = 0.0
        self._published_until = 0.0
        self._renew_at = inf
        """When a sleep that no row ends is published anew."""
        self._sleep_outdated = False

    async def pause(self, queues: Callable[[], Sequence[str]]) -> float:
        """Fall asleep, or continue to sleep; returns in how many seconds to poll. Raises DatabaseUnavailable.

        ``queues`` returns those whose next row ends the sleep; it is only called when the sleep is published.
        """
        now = monotonic()
        if self._sleep_outdated or min(self._published_until, self._renew_at) <= now:
            await self._publish(now, queues())
            now = monotonic()
        pause = self.poll_interval
        if self._looks < len(SECOND_LOOKS):
            pause = SECOND_LOOKS[self._looks]
            self._looks += 1
        return min(pause, self._due_at - now) if self._due_at > now else pause

    async def end(self, now: float) -> None:
        """Tell inserts not to notify this worker, because it polls by itself. Raises DatabaseUnavailable."""
        if self._published_until > now:
            await leases.wake_up(self.session, self.identity)
            self._published_until = 0.0

    def disturb(self) -> None:
        """Wake up: the caller may know of a row that is due before this worker's sleep ends."""
        self._looks = 0
        self._sleep_outdated = True

    def look_again(self) -> None:
        """Note that rows arrived: others may follow."""
        self._looks = 0

    async def _publish(self, sent: float, queues: Sequence[str]) -> None:
        before = 0.0 if self._sleep_outdated else self._published_until
        self._sleep_outdated = False
        self._renew_at = inf
        try:
            seconds = await leases.fall_asleep(self.session, self.identity, LONGEST_SLEEP, queues=queues)
        except RefusedByDatabase as error:
            log.warning("sleep_not_published", error=str(error))
            seconds = None
        now = monotonic()
        if seconds is None:  # it polls
            self._due_at = now + self.poll_interval
            return
        self._due_at, self._published_until = now + seconds, sent + seconds
        if seconds >= LONGEST_SLEEP:  # otherwise a row is due then
            self._renew_at = self._published_until - min(self.poll_interval, LONGEST_SLEEP / 2)
        if before <= now:
            self._looks = 0
