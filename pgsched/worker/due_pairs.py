"""Where a worker of very many queues looks: in the pairs of queue and priority that have due rows.

A claim probes the index once per queue and priority, and with thousands of queues nearly all probes find nothing. So
such a worker searches the index for the pairs that have due rows, and its claims probe some of these at a time, in the
same order as ever. A pair is done when a claim has seen all of it. The next search follows when all are done, or while
claims are full, because rows of a higher priority may have become due; searches take a bounded share of the time. In
between, a notification says which queue to look in.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import islice
from math import inf

from pgsched.db.worker.claims import Pair, Probe
from pgsched.domain.attempt import PRIORITIES, Claimed

FEW = 50
"""Up to so many queues, each claim probes them all."""
PROBES = 100
"""Maximum number of probes of a claim, or one for each row that it may take."""
SHARE = 0.1
"""The share of time that searches may take."""
LONGEST_REST = 10.0
"""Maximum number of seconds between searches."""
LEASES_SECONDS = 1.0
"""How often a busy worker looks for what only claims that lease find."""
SLOW_SECONDS = 0.5
SLOW_PROBE_SECONDS = 30e-6
"""A search that takes longer than both, the second for each probe that it saves, passes entries of finished rows that
an old snapshot keeps: then it is better to probe each pair, where earlier claims have left off."""
STRAIGHT = 20
"""For how many times as long as that search took."""


class DuePairs:
    """What is known of them. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._due: dict[int, set[str]] = {priority: set() for priority in PRIORITIES}
        self._cursors: dict[tuple[str, int], tuple[datetime, int]] = {}
        """The last row that was claimed there since the search."""
        self._search_at = 0.0
        self._owed = True
        """Whether a search is due that had to wait."""
        self._was_full = False
        self._upcoming_at = inf
        """When the next row becomes due, as far as the last search knows."""
        self._leases_at = 0.0
        self._straight_until = 0.0
        self.with_leases = True
        """Whether these pairs are also looked through for expired leases."""

    def suit(self, number: int, now: float) -> bool:
        """Whether claims from this number of queues look in the due pairs only."""
        return number > FEW and now >= self._straight_until

    def look_again(self) -> None:
        """Note that rows may be due in any queue."""
        self._owed = True

    def note(self, queue: str) -> None:
        """Note that there may be a due row in a queue."""
        for priority, names in self._due.items():
            names.add(queue)
            self._cursors.pop((queue, priority), None)

    def wants_search(self, now: float) -> bool:
        """Whether to search before the next claim; remembers it if it is too early."""
        if self._was_full or now >= self._upcoming_at or not self.remain:
            self._owed = True
        return self._owed and now >= self._search_at

    def found(self, pairs: Iterable[Pair], queues: Sequence[str], sent: float, now: float, *, busy: bool) -> None:
        """Process a search for these queues."""
        served = set(queues)
        self._due = {priority: set() for priority in PRIORITIES}
        upcoming = inf
        for pair in pairs:
            if pair.queue in served:
                if pair.due:
                    self._due[pair.priority].add(pair.queue)
                if pair.upcoming is not None and pair.upcoming < upcoming:
                    upcoming = pair.upcoming
        self._cursors.clear()
        self._upcoming_at = sent + upcoming
        self._owed = self._was_full = False
        seconds = now - sent
        self._search_at = now + min(seconds / SHARE, LONGEST_REST)
        if seconds > max(SLOW_SECONDS, SLOW_PROBE_SECONDS * len(PRIORITIES) * len(queues)):
            self._straight_until = now + STRAIGHT * seconds
        self.with_leases = not busy or now >= self._leases_at
        if self.with_leases:
            self._leases_at = now + LEASES_SECONDS

    def next_probes(self, queues: Sequence[str], limit: int) -> list[Probe]:
        """Return the probes of the next claim, in the order of its queues."""
        most = max(limit, PROBES)
        probes: list[Probe] = []
        for priority, names in self._due.items():
            if names and len(probes) < most:
                for queue in islice(filter(names.__contains__, queues), most - len(probes)):
                    probes.append(Probe(queue, priority, None, *self._cursors.get((queue, priority), (None, None))))
        if not probes:  # what remains is of queues that are claimed in another way, or no longer served
            self._due = {priority: set() for priority in PRIORITIES}
        return probes

    def saw(self, probes: Sequence[Probe], tasks: Sequence[Claimed], *, full: bool) -> None:
        """Process a claim; ``full``: there may be more rows where its last one was."""
        self._was_full = full
        if full:
            self.with_leases = False
            if not tasks:
                return
        last = (tasks[-1].queue, tasks[-1].priority) if full else None
        for probe in probes:
            if (probe.queue, probe.priority) == last:
                break
            self._due[probe.priority].discard(probe.queue)
        if full:
            for task in tasks:
                self._cursors[task.queue, task.priority] = (task.next_run_at, task.id)

    @property
    def remain(self) -> bool:
        """Whether there are pairs that are not done."""
        return any(self._due.values())

    @property
    def number(self) -> int:
        """How many there are."""
        return sum(map(len, self._due.values()))

    def due_in(self, now: float) -> float:
        """Seconds until there is a reason to search; infinite when none is known."""
        return max((self._search_at if self._owed else self._upcoming_at) - now, 0.0)
