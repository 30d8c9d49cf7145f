"""Decides when to claim from which queues: at once, when the next row is due, or when something wakes the worker."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from time import monotonic

from pgsched.db.error_mapping import RefusedByDatabase
from pgsched.db.session import Session
from pgsched.db.worker import leases
from pgsched.db.worker.leases import Identity
from pgsched.execution.registry import CATCH_ALL
from pgsched.observability.logs import get_logger
from pgsched.worker.catch_all import CatchAll
from pgsched.worker.claims import Claims
from pgsched.worker.late_starts import LateStarts
from pgsched.worker.leased_tasks import LeasedTasks
from pgsched.worker.limited_claims import LimitedClaims
from pgsched.worker.loops import wait_at_most
from pgsched.worker.queue_rotation import QueueRotation
from pgsched.worker.rate import Rate
from pgsched.worker.shared_claims import SharedClaims
from pgsched.worker.sleep import Sleep

log = get_logger("pgsched.worker")

DOZE_SECONDS = 0.005
"""How long a worker rests while many rows arrive. It tells inserts not to notify it, because every NOTIFY makes the
commits of all sessions wait for one another."""
LEARN_SECONDS = 1.0
"""How often a worker with patterns, or with limited queues, refreshes the list of them."""
LEARN_SHARE = 0.05
"""The share of time that this may take where there are very many queues."""
LEARN_IDLE_SECONDS = 5.0
"""How often any other worker does that receives no notifications of changes."""
LEARN_HEARD_SECONDS = 300.0
"""How often any other worker does."""


class Claimer:
    """The claim loop. ``run_once`` claims once; ``rest`` waits for a reason to claim again."""

    def __init__(
        self,
        *,
        session: Session,
        identity: Identity,
        claims: Claims,
        shared: SharedClaims,
        limited: LimitedClaims,
        late_starts: LateStarts,
        rotation: QueueRotation,
        leased_tasks: LeasedTasks,
        rate: Rate,
        sleep: Sleep,
        poll_interval: float,
    ) -> None:
        self._session = session
        self._identity = identity
        self._claims = claims
        self._shared = shared
        self._limited = limited
        self._late_starts = late_starts
        self._rotation = rotation
        self._leased = leased_tasks
        self._rate = rate
        self._sleep = sleep
        self._poll_interval = poll_interval
        self._wakeup = asyncio.Event()
        self._woken_for_limited = False
        """Woken only because queues with limits must be asked."""
        self._shared_at = 0.0
        """When the queues without limits are asked next; only used when there are others."""
        self._learn_at = 0.0
        self._noted: set[str] = set()
        """Queues that notifications named since the sleep was published."""
        self._looks_at_pairs = False
        """Whether the queues are so many that claims look only where rows are due."""
        self._catch_all: CatchAll | None = None
        if CATCH_ALL in identity.task_types:
            self._catch_all = CatchAll(session=session, identity=identity, rotation=rotation)
        self._hears = False
        """Whether notifications arrive, and with them changes of a queue's settings."""

    async def run_once(self, limit: int, free: int | None = None) -> bool:
        """Claim up to ``limit`` rows; returns whether there may be more.

        ``free`` is the number of free slots, by default as many as may be claimed. From limited queues no more rows are
        claimed than can start at once; from others, rows beyond that are prefetched. Raises DatabaseUnavailable.
        """
        sent = monotonic()
        self._rate.note(0, sent)
        rotation = self._rotation
        await self._late_starts.report()
        if sent >= self._learn_at:
            await self._learn(sent)
        if self._catch_all is not None:
            await self.learn_types(sent)
        if self._claims.unanswered:
            await self._limited.release_orphaned()
        if self._claims.ids:
            await self._claims.retry()
        order, limited = rotation.order, rotation.limited
        rotation.next_turn()
        room = max(limit if free is None else min(limit, free), 0)
        before = len(self._leased)
        if not limited:
            more = await self._shared.claim(order, limit, room)
            await self._stay_awake(sent, came=len(self._leased) > before)
            return more
        looks, more = sent >= self._shared_at, False
        if order[0] in limited:
            await self._limited.claim(order, room, idle_too=looks)
        came = len(self._leased) - before
        if looks and limit > came and len(limited) < len(order):
            shared = [name for name in order if name not in limited]
            more = await self._shared.claim(shared, limit - came, max(room - came, 0))
        if looks:
            await self._stay_awake(sent, came=len(self._leased) - before > came)
        if order[0] not in limited:
            await self._limited.claim(order, max(room - len(self._leased) + before, 0), idle_too=looks)
        return more or len(self._leased) > before

    async def learn_types(self, now: float) -> None:
        """Refresh the types of a catch-all handler, if there is one. Raises DatabaseUnavailable."""
        if self._catch_all is None:
            return
        if now >= self._learn_at:
            await self._learn(now)  # the queues it looks in
        if await self._catch_all.learn(now):
            self._shared.scan.look_everywhere()
            self._rotation.wake_all(now)

    async def rest(self) -> None:
        """Wait after a claim that found nothing: poll once more, then until a row is due, a wakeup, or the next poll.

        Raises DatabaseUnavailable.
        """
        if self._rate.is_high:
            self._shared_at = 0.0
            await self.wait(DOZE_SECONDS)
            return
        now = monotonic()
        limited = self._rotation.limited
        if not limited or now >= self._shared_at:
            pairs = self._shared.scan.pairs.suit(len(self._rotation.names) - len(limited), now)
            if pairs != self._looks_at_pairs:
                self._looks_at_pairs = pairs
                self._sleep.disturb()
            pause = await self._sleep.pause(self._to_publish)
            now = monotonic()
            pause = min(pause, self._shared.due_in_pairs(now) if pairs else self._shared.due_in(now))
            if self._catch_all is not None:
                pause = min(pause, max(self._catch_all.look_at - now, 0.0))
            self._shared_at = now + pause
        # Otherwise only a queue with limits had a reason to be asked; the others wait as before.
        await self.wait(min(self._shared_at - now, self._rotation.ready_in(now)))

    def _to_publish(self) -> Sequence[str]:
        """Return the queues whose next row ends the sleep. Of others, the search for due pairs knows."""
        noted = [*self._noted, *self._rotation.limited]
        self._noted.clear()
        return noted if self._looks_at_pairs else self._rotation.names

    def waits_for_room(self, free: int) -> bool:
        """Whether the next row needs a free slot: a row of a queue with limits, or one that cannot be prefetched."""
        return free <= 0 and (self._shared.waits_for_room or self._rotation.first_waits_for_room(monotonic()))

    async def wait_for_room(self) -> None:
        """Wait for a wakeup while this worker has no room; meanwhile wake other workers for what it cannot start.

        Raises DatabaseUnavailable.
        """
        pause = self._poll_interval
        await self._late_starts.report()
        if self._rotation.limited:
            now = monotonic()
            queues = self._rotation.to_notify_peers_of(now)
            if queues:
                await leases.wake_workers(self._session, queues)
            pause = min(pause, self._rotation.notify_peers_in(now))
        await self.wait(pause)

    def wake(self) -> None:
        """Note that there may be something to claim, or room for it."""
        self._woken_for_limited = False
        self._wakeup.set()

    def wake_for(self, queue: str) -> None:
        """React to a notification for a queue. A worker that serves it asks all queues: the row may be an old one."""
        if self._rotation.serves(queue):
            self._rotation.wake(queue, monotonic())
            self._shared.scan.note(queue)
            self._noted.add(queue)
            self.wake()

    def wake_for_limited(self) -> None:
        """Note that queues with limits must be asked; the others need not be."""
        if not self._wakeup.is_set():
            self._woken_for_limited = True
            self._wakeup.set()

    def wake_after_change(self) -> None:
        """Note that the settings of a queue have changed: which queues are limited, and what may start."""
        self._learn_at = 0.0
        if self._catch_all is not None:
            self._catch_all.look_at = 0.0
        self._rotation.wake_all(monotonic())
        self._shared.scan.look_everywhere()
        self.wake()

    def hear(self, hears: bool) -> None:
        """Note that notifications arrive from now on, or no longer do."""
        self._hears = hears

    async def _learn(self, now: float) -> None:
        rotation = self._rotation
        try:
            rotation.learn(await leases.learn_queues(self._session, self._identity))
            seconds = monotonic() - now
        except RefusedByDatabase as error:  # continue with the known queues
            log.warning("queues_not_learned", error=str(error))
            seconds = 0.0
        idle = LEARN_HEARD_SECONDS if self._hears else LEARN_IDLE_SECONDS
        often = rotation.limited or rotation.likes
        self._learn_at = now + max(LEARN_SECONDS if often else idle, min(seconds / LEARN_SHARE, idle))

    async def _stay_awake(self, now: float, *, came: bool) -> None:
        """Poll again soon when rows arrived; announce that this worker is awake while many do."""
        if came:
            self._sleep.look_again()
        if self._rate.is_high:
            await self._sleep.end(now)

    async def wait_paused(self) -> None:
        """Wait for a wakeup, at most until the next poll."""
        await self.wait(self._poll_interval)

    async def wait(self, seconds: float | None) -> None:
        """Wait for a wakeup, at most ``seconds``."""
        try:
            await wait_at_most(seconds, self._wakeup)
        finally:
            if self._wakeup.is_set():
                self._wakeup.clear()
                if not self._woken_for_limited:
                    # The wakeup may be for a row that is due earlier than the end of this worker's sleep.
                    self._shared_at = 0.0
                    self._sleep.disturb()
                self._woken_for_limited = False
