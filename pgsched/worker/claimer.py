"""Claims due rows; when there are none, sleeps until the next is due or somebody calls."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from time import monotonic

from pgsched.db import leases
from pgsched.db.leases import Identity, Probe
from pgsched.db.session import Session
from pgsched.model import PRIORITIES, Claimed
from pgsched.worker.appetite import Appetite
from pgsched.worker.clock import DatabaseClock
from pgsched.worker.holds import Holds

FLOOR_SECONDS = 1.0
"""How long claims may begin at the floor before one looks below it."""
SECOND_LOOKS = (0.0, 0.05, 0.25, 1.0)
"""Seconds to the next looks after falling asleep: a row whose transaction was still open then notified nobody."""
MAX_BYTES = 16 * 1024 * 1024
"""Payloads in hand, as JSON text; parsed they take several times as much memory."""
LONGEST_SLEEP = 60.0
"""Seconds for which a worker publishes that it sleeps: a dead one is notified in vain no longer than that."""
BUSY_RATE = 200.0
"""Rows a second from which on a worker dozes instead of sleeping: it looks again after DOZE_SECONDS and tells inserts
not to notify it, because every NOTIFY makes the commits of all sessions wait for one another."""
DOZE_SECONDS = 0.005
RATE_SECONDS = 0.25
"""The span over which that rate is measured."""


class Claimer:
    """The loop that claims. ``tick`` claims once; ``rest`` waits for a reason to claim again."""

    def __init__(
        self,
        *,
        session: Session,
        identity: Identity,
        holds: Holds,
        appetite: Appetite,
        clock: DatabaseClock,
        poll_interval: float,
        on_claim: Callable[[list[Claimed], float], None],
    ) -> None:
        self._session = session
        self._identity = identity
        self._holds = holds
        self._appetite = appetite
        self._clock = clock
        self._poll_interval = poll_interval
        self._on_claim = on_claim
        self.called = asyncio.Event()
        """Set when there may be something to claim: a notification, a free slot, the end."""
        self._floors: dict[tuple[str, int], tuple[datetime, int]] = {}
        self._floors_since = 0.0
        self._turn = 0
        self._looks = 0
        self._due_at = 0.0
        self._published_until = 0.0
        self._stale = False
        self._unanswered = False
        """A claim was sent whose answer never came: it may have taken rows."""
        self._rate = 0.0
        self._found = 0
        self._counted_since = 0.0

    async def tick(self, limit: int) -> bool:
        """Claim up to ``limit`` rows into the holds; returns whether there may be more.

        Raises DatabaseUnavailable.
        """
        sent = monotonic()
        if sent - self._floors_since >= FLOOR_SECONDS:
            self._floors.clear()
            self._floors_since = sent
        floored = bool(self._floors)
        if self._unanswered:
            held = [hold.task.id for hold in self._holds.snapshot()]
            await leases.release_unheld(self._session, self._identity, held)
        self._unanswered = True
        room = max(MAX_BYTES - self._holds.bytes, 1)
        tasks = await leases.claim(self._session, self._identity, self._probes(), limit, max_bytes=room)
        self._unanswered = False
        if floored and len(tasks) < limit and sum(task.bytes for task in tasks) < room:
            self._floors_since = 0.0  # the next claim looks below, before anything is taken for done
        if tasks:
            self._clock.set(tasks[0].next_run_at + timedelta(seconds=tasks[0].late), sent)
            for task in tasks:
                self._floors[task.queue, task.priority] = (task.next_run_at, task.id)
            self._holds.add(tasks, sent + self._identity.lease, sent)
        self._on_claim(tasks, monotonic() - sent)
        await self._note(len(tasks), sent)
        return bool(tasks) or floored

    async def rest(self) -> None:
        """Wait after a claim that found nothing: the second looks, then until a row is due, a call, or the poll.

        Raises DatabaseUnavailable.
        """
        if self._rate > BUSY_RATE:
            await self.wait(DOZE_SECONDS)
            return
        now = monotonic()
        if self._published_until <= now or self._stale:
            self._stale = False
            seconds = await leases.fall_asleep(self._session, self._identity, LONGEST_SLEEP)
            now = monotonic()
            if seconds is None:
                self._due_at = now + self._poll_interval
            else:
                self._due_at = self._published_until = now + seconds
                self._looks = 0
        if self._looks < len(SECOND_LOOKS):
            pause = SECOND_LOOKS[self._looks]
            self._looks += 1
        else:
            pause = self._poll_interval
        pause = min(pause, max(self._due_at - now, 0.0)) if self._due_at > now else pause
        await self.wait(pause)

    async def wait(self, seconds: float | None) -> None:
        """Wait to be called, so many seconds at most."""
        try:
            async with asyncio.timeout(seconds):
                await self.called.wait()
        except TimeoutError:
            return
        finally:
            if self.called.is_set():
                # Whoever called may know of a row that is due earlier than what this worker sleeps for.
                self.called.clear()
                self._looks = 0
                self._stale = True

    def _probes(self) -> list[Probe]:
        queues = self._identity.queues
        self._turn = (self._turn + 1) % len(queues)
        in_turn = queues[self._turn :] + queues[: self._turn]
        return [
            Probe(queue, priority, *self._floors.get((queue, priority), (None, None)))
            for priority in PRIORITIES
            for queue in in_turn
        ]

    async def _note(self, found: int, now: float) -> None:
        """Take the rate at which rows come; say that this worker is awake when it is high."""
        self._found += found
        if found:
            self._looks = 0
        if now - self._counted_since >= RATE_SECONDS:
            self._rate = self._found / (now - self._counted_since)
            self._found, self._counted_since = 0, now
        if self._rate > BUSY_RATE and self._published_until > now:
            await leases.wake_up(self._session, self._identity)
            self._published_until = 0.0
