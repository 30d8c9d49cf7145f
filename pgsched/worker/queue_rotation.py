"""Which queues a worker serves now, which of them comes first, and when a limited one is asked again.

Most queues are claimed together, by one statement. Limited ones, which have limits or ageing in the database or a
maximum of this worker's own, are claimed by another. Nothing here waits or queries: the claimer does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from pgsched.domain.queue_selector import QueueSpec

WAKE_SECONDS = 0.005
"""A queue at its limit is not asked more often than this, however often it is woken."""
PEEK_SECONDS = 0.05
"""How often a worker without a free slot checks whether a limited queue has work."""
NOTIFY_PEERS_SECONDS = 0.02
"""A worker without a free slot wakes others for work that may start within this time."""
_FULL = (0.125, 1.0)
"""Seconds to the next check of a queue at its concurrency limit: at first, and at most."""
_EMPTY_CLAIMS = (0.002, 0.25)
"""Seconds between claims that found nothing although something may start: another worker is faster."""


class LimitedQueue:
    """A queue that a statement of its own claims from, because of its limits."""

    __slots__ = ("asked_at", "empty_claims", "in_hand", "max_in_flight", "name", "peers_notified", "ready_at")

    def __init__(self, name: str, max_in_flight: int | None) -> None:
        self.name = name
        self.max_in_flight = max_in_flight
        self.in_hand = 0
        self.ready_at: float | None = None
        """When it makes sense to ask again, by the monotonic clock; None when nothing is known to be due."""
        self.asked_at = 0.0
        self.empty_claims = 0
        self.peers_notified = False

    @property
    def room(self) -> int | None:
        """How many more of its tasks this worker may take; None when the worker has no limit for it."""
        return None if self.max_in_flight is None else max(self.max_in_flight - self.in_hand, 0)

    def answer(self, claimed: int, again: float | None, held_back: bool, now: float) -> None:
        """Process a claim's answer: ``again`` in seconds, and whether rows are held back until others end."""
        self.asked_at = now
        self.empty_claims = 0 if claimed else self.empty_claims + 1
        if claimed:
            self.peers_notified = False
        if held_back:
            self.ready_at = now + _pause(_FULL, self.empty_claims)
            if again is not None:
                self.ready_at = min(self.ready_at, now + max(again, 0.002))
        elif again is None:
            self.ready_at, self.empty_claims = None, 0
        elif claimed:
            self.ready_at = now + again
        else:
            self.ready_at = now + max(again, _pause(_EMPTY_CLAIMS, self.empty_claims))

    def wake(self, at: float, *, heard_by_all: bool) -> None:
        """Ask again at ``at``, or earlier as planned; what all workers were notified of is not passed on."""
        self.empty_claims = 0
        self.peers_notified = heard_by_all
        if self.ready_at is None or self.ready_at > at:
            self.ready_at = at


def _pause(bounds: tuple[float, float], times: int) -> float:
    first, longest = bounds
    return min(first * float(2 ** min(times, 16)), longest)


class QueueRotation:
    """The queues of one worker."""

    def __init__(self, specs: Sequence[QueueSpec]) -> None:
        self._by_name = {spec.name: spec for spec in specs if spec.like is None}
        self._patterns = [spec for spec in specs if spec.like is not None]
        self.exact = tuple(self._by_name)
        self.likes = tuple(spec.like for spec in self._patterns if spec.like is not None)
        """The patterns in LIKE syntax."""
        self.names: tuple[str, ...] = ()
        """Every queue that is served now."""
        self.limited: dict[str, LimitedQueue] = {}
        """The limited ones among them."""
        self.order: tuple[str, ...] = ()
        """The names for the next claim, the one whose turn it is at the front."""
        self._specs: dict[str, QueueSpec] = {}
        self._alike = True
        """Whether all have the same weight."""
        self._credits: dict[str, int] = {}
        self._in_hand: dict[int, LimitedQueue] = {}
        self._turn = 0
        self.learn([])

    def serves(self, queue: str) -> bool:
        """Whether this worker takes tasks of a queue."""
        return queue in self._specs or any(spec.matches(queue) for spec in self._patterns)

    def learn(self, found: Iterable[tuple[str, bool]]) -> None:
        """Process the database's answer: the queues that match a pattern, and the limited queues."""
        limits = dict(found)
        names = [*self._by_name, *(name for name in limits if name not in self._by_name)]
        specs = {name: spec for name in names if (spec := self._spec_of(name)) is not None}
        self._specs = specs
        held = {queue.name: queue for queue in self._in_hand.values()}
        limited = {}
        for name, spec in specs.items():
            if limits.get(name) or spec.most is not None:
                limited[name] = self.limited.get(name) or held.get(name) or LimitedQueue(name, spec.most)
        self.limited = limited
        if self.names != tuple(specs):
            self.names = tuple(specs)
            self._alike = len({spec.weight for spec in specs.values()}) <= 1
            self._credits = {name: self._credits.get(name, 0) for name in specs}
            self._turn = -1
            self.next_turn()

    def next_turn(self) -> None:
        """Advance the weighted round-robin to the next queue."""
        names = self.names
        if not names:
            self.order = ()
            return
        if self._alike:
            self._turn = (self._turn + 1) % len(names)
        else:
            weights = [self._specs[name].weight for name in names]
            # Each gains its weight; the one with the most credit is next and pays for all, which spreads the turns.
            for name, weight in zip(names, weights, strict=True):
                self._credits[name] += weight
            first = max(names, key=self._credits.__getitem__)
            self._credits[first] -= sum(weights)
            self._turn = names.index(first)
        self.order = names[self._turn :] + names[: self._turn]

    # Limited queues.

    def first_waits_for_room(self, now: float) -> bool:
        """Whether the queue whose turn it is is limited and known to have something that may start."""
        queue = self.limited.get(self.order[0]) if self.limited and self.order else None
        return queue is not None and queue.ready_at is not None and queue.ready_at <= now and queue.room != 0

    def to_ask(self, order: Iterable[str], room: int, now: float, *, idle_too: bool) -> list[tuple[LimitedQueue, int]]:
        """Return the limited queues to ask now and the room of each; without room, only to check for work."""
        asked = []
        for name in order:
            queue = self.limited.get(name)
            if queue is None or queue.room == 0:
                continue
            if queue.ready_at is None:
                wanted = idle_too and (room > 0 or now - queue.asked_at >= PEEK_SECONDS)
            else:
                wanted = room > 0 and queue.ready_at <= now
            if wanted:
                asked.append((queue, room if queue.room is None else min(room, queue.room)))
        return asked

    def to_ask_after(self, ended: Iterable[int], room: int) -> list[tuple[str, int]]:
        """Return the queues of the held tasks among these, and the room of each once they have ended."""
        gone = Counter(queue.name for task_id in ended if (queue := self._in_hand.get(task_id)) is not None)
        asked = []
        for name, number in gone.items():
            queue = self.limited.get(name)
            if queue is not None:
                free = room if queue.max_in_flight is None else min(room, queue.max_in_flight - queue.in_hand + number)
                if free > 0:
                    asked.append((name, free))
        return asked

    def ready_in(self, now: float) -> float:
        """Seconds until a limited queue must be asked; infinite when none is known to have work."""
        times = [queue.ready_at for queue in self.limited.values() if queue.ready_at is not None and queue.room != 0]
        return max(min(times) - now, 0.0) if times else float("inf")

    def wake(self, name: str, now: float) -> None:
        """React to a notification: a row was inserted, or a slot became free elsewhere.

        Every worker receives it, so it is not passed on: that would wake all of them again, endlessly.
        """
        queue = self.limited.get(name)
        if queue is not None:
            queue.wake(max(queue.asked_at + WAKE_SECONDS, now), heard_by_all=True)
        elif name not in self._specs:
            spec = self._spec_of(name)
            if spec is not None:
                self._add(name, spec)

    def wake_all(self, now: float) -> None:
        """Note that the settings of the queues have changed: ask each of them."""
        for queue in self.limited.values():
            queue.wake(now, heard_by_all=True)

    def take(self, name: str, task_ids: Iterable[int]) -> None:
        """Note tasks of a limited queue that this worker claimed."""
        queue = self.limited.get(name)
        if queue is not None:
            for task_id in task_ids:
                earlier = self._in_hand.get(task_id)
                if earlier is not None:
                    earlier.in_hand -= 1
                self._in_hand[task_id] = queue
                queue.in_hand += 1

    @property
    def in_hand(self) -> tuple[int, ...]:
        """Return the tasks of limited queues that this worker has claimed and not let go, as far as recorded."""
        return tuple(self._in_hand)

    def let_go(self, task_ids: Iterable[int], now: float) -> None:
        """Note that tasks of limited queues no longer belong to this worker: others may start in their place."""
        for task_id in task_ids:
            queue = self._in_hand.pop(task_id)
            queue.in_hand -= 1
            queue.wake(now, heard_by_all=False)

    def to_notify_peers_of(self, now: float) -> list[str]:
        """Return the queues in which something may start that this worker has no room for; each once."""
        names = []
        for queue in self.limited.values():
            if queue.ready_at is not None and queue.ready_at <= now + NOTIFY_PEERS_SECONDS and not queue.peers_notified:
                queue.peers_notified = True
                names.append(queue.name)
        return names

    def notify_peers_in(self, now: float) -> float:
        """Seconds until there may be something to pass on; infinite when nothing is known."""
        limited = self.limited.values()
        times = [queue.ready_at for queue in limited if queue.ready_at is not None and not queue.peers_notified]
        return max(min(times) - now, 0.0) if times else float("inf")

    def _add(self, name: str, spec: QueueSpec) -> None:
        """Serve one more queue, as the last one: thousands may be announced one after the other."""
        self._specs[name] = spec
        if spec.most is not None:
            held = (queue for queue in self._in_hand.values() if queue.name == name)
            self.limited[name] = next(held, None) or LimitedQueue(name, spec.most)
        self._alike = self._alike and spec.weight == next(iter(self._specs.values())).weight
        self._credits[name] = 0
        self.names += (name,)
        self.order += (name,)

    def _spec_of(self, name: str) -> QueueSpec | None:
        found = self._by_name.get(name)
        return found or next((spec for spec in self._patterns if spec.matches(name)), None)
