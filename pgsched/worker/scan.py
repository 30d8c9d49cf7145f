"""Where in the index of due rows a claim starts: behind what was seen before, and regularly everywhere.

Entries of finished rows stay in the index for as long as some transaction keeps an old snapshot. A claim that started
at the first entry would pass all of them, and take longer with every finished task. So most claims look only at what
became due recently, and at what the previous claim left behind. Sweeps look at everything else: what was committed
late, what is due in the past, what another worker released, and expired leases.

A sweep is one claim while that is quick. When it is not, it is cut into slices that take some milliseconds each, with
pauses in between, so that they take a twentieth of the worker's time, however many entries there are. The first slice
looks at what became due recently; the others continue backwards in time to the first entry, while a new first slice
follows every second.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from math import inf

from pgsched.db.worker.claims import Probe
from pgsched.domain.attempt import PRIORITIES, Claimed
from pgsched.worker.due_pairs import DuePairs

OVERLAP = timedelta(seconds=0.25)
"""How long before the last complete claim the next one starts: rows may have been committed since."""
SWEEP_SECONDS = 1.0
"""How often a busy worker looks everywhere."""
QUICK_SECONDS = 0.005
"""A worker that is not busy looks everywhere each time, as long as that takes no longer than this."""
SHARE = 0.05
"""The share of time that sweeps may take: one that takes more is cut into slices."""
SLICE_SECONDS = 0.01
"""Target duration of a slice: above twice this, slices become smaller; below half of it, larger."""
ROW_SECONDS = 50e-6
"""How much of that time each found row accounts for."""
FIRST_WIDTH = 60.0
"""How far the first slice reaches back, in seconds, when a sweep of one slice took too long."""
GROWTH = 8
"""The factor by which a slice reaches further back after a quick one."""
SMOOTHING = 0.1
LONGEST_REST = 2.0
"""Seconds: a slice that took longer was most likely kept waiting, which says nothing about the next one."""
WIDEST = 1e9
"""Seconds: a slice that would reach further back goes to the first entry."""


class Look:
    """What one claim looks at."""

    def __init__(
        self,
        probes: Sequence[Probe],
        since: datetime | None = None,
        *,
        sweeps: bool,
        deep: bool = False,
        expected: bool = False,
        narrow: bool = False,
        ends: bool = True,
    ) -> None:
        self.probes = probes
        self.since = since
        """Where a slice of a sweep starts; None for the first entry."""
        self.sweeps = sweeps
        """Whether it is a sweep, or a slice of one."""
        self.deep = deep
        """Whether it is a slice that continues from where another one started."""
        self.expected = expected
        """Whether a notification announced a row."""
        self.narrow = narrow
        """Whether it looks only where rows are due, because there are very many queues."""
        self.ends = ends and since is None
        """Whether a sweep is over with it."""

    @property
    def is_whole(self) -> bool:
        """Whether it sees every due row."""
        return self.sweeps and self.since is None and not self.deep

    def without_expired(self) -> Look:
        """Return the same without what only a claim that leases finds: it was no sweep."""
        return Look(self.probes, self.since, sweeps=False, narrow=self.narrow)


class Scan:
    """Remembers what claims have seen, and when the next sweep is due. Times are monotonic seconds unless aware."""

    def __init__(self) -> None:
        self._since: dict[str, datetime | None] = {}
        """By queue: all rows that were due before this time were seen."""
        self._cursors: dict[tuple[str, int], tuple[datetime, int]] = {}
        """By queue and priority, where more rows are due than a claim takes: the last one that was claimed."""
        self._usual = 0.0
        """Seconds that a claim takes that is not a sweep, without the time for its rows; smoothed."""
        self._sweep_at = 0.0
        self._first = Width()
        self._deep = Width()
        self._slices_took = 0.0
        """Seconds that the slices of the current sweep have taken."""
        self._until: datetime | None = None
        """How far the slices have reached; None for the first entry."""
        self._rests_until = 0.0
        self._owed_at = inf
        """When a postponed sweep starts; infinite when there is none."""
        self._expected = False
        self.pairs = DuePairs()
        """Where a worker of very many queues looks; nothing else here is of use to it."""

    def note(self, queue: str) -> None:
        """Note that there may be a due row in a queue."""
        self.pairs.note(queue)
        self._look_everywhere()

    def look_everywhere(self) -> None:
        """Note that rows may exist that were not due recently: the next claim sweeps, if sweeps are quick."""
        self.pairs.look_again()
        self._look_everywhere()

    def _look_everywhere(self) -> None:
        self._sweep_at = 0.0
        self._expected = True

    def sweeps_next(self, *, busy: bool) -> bool:
        """Whether the next claim looks everywhere, because that is quick and the worker has time for it."""
        return not busy and self._first.is_quick

    def next_look(self, queues: Sequence[str], sent: float, database_now: datetime, *, busy: bool) -> Look:
        """Return what the next claim looks at."""
        first = sent >= self._sweep_at or self.sweeps_next(busy=busy)
        deep = not first and self._until is not None
        expected, self._expected, self._owed_at = self._expected, False, inf
        if sent < self._rests_until or not (first or deep):
            self._owed_at = self._rests_until if first or deep else max(self._rests_until, self._sweep_at)
            return Look(
                [
                    Probe(queue, priority, self._since.get(queue), *self._cursors.get((queue, priority), (None, None)))
                    for priority in PRIORITIES
                    for queue in queues
                ],
                sweeps=False,
                expected=expected,
            )
        until = self._until if deep else None
        since = (self._deep if deep else self._first).before(until or database_now)
        probes = [Probe(queue, priority, since, until=until) for priority in PRIORITIES for queue in queues]
        return Look(probes, since, sweeps=True, deep=deep, expected=expected)

    def next_look_at_pairs(self, queues: Sequence[str], limit: int) -> Look:
        """Return what the next claim looks at if it looks only where rows are due; that may be nothing."""
        expected, self._expected = self._expected, False
        probes = self.pairs.next_probes(queues, limit)
        return Look(
            probes,
            sweeps=self.pairs.with_leases,
            expected=expected,
            narrow=True,
            ends=len(probes) == self.pairs.number,
        )

    def saw(self, look: Look, tasks: Sequence[Claimed], sent: float, seconds: float, *, full: bool) -> None:
        """Process a claim that was sent then and took this many seconds; ``full``: there may be more rows."""
        if look.narrow:
            self.pairs.saw(look.probes, tasks, full=full)
            return
        if full:
            for task in tasks:
                self._cursors[task.queue, task.priority] = (task.next_run_at, task.id)
                if look.sweeps:
                    self._since[task.queue] = look.since
        elif tasks and (look.is_whole or not look.sweeps):
            seen = tasks[0].database_time - OVERLAP
            self._since.update(dict.fromkeys((probe.queue for probe in look.probes), seen))
            self._cursors.clear()
        seconds = max(seconds - len(tasks) * ROW_SECONDS, 0.0)
        if look.sweeps:
            self._swept(look, sent, max(seconds - self._usual, 0.0))
        else:
            self._usual += SMOOTHING * (seconds - self._usual)

    def due_in(self, now: float) -> float:
        """Seconds until a started or wanted sweep continues; infinite when there is none."""
        return max((self._owed_at if self._until is None else self._rests_until) - now, 0.0)

    def _swept(self, look: Look, sent: float, seconds: float) -> None:
        if look.deep:
            self._until = look.since
            self._deep.took(seconds)
            self._slices_took += seconds
            if look.since is None and self._slices_took < SHARE * SWEEP_SECONDS:
                self._first.join()
        else:
            if self._until is None:
                self._slices_took = seconds
            self._sweep_at = sent + SWEEP_SECONDS
            if look.since is not None and self._until is None:
                self._until = look.since
                self._deep.seconds = self._first.seconds
            self._first.took(seconds)
        if seconds > SLICE_SECONDS / 2 and not look.is_whole:
            self._rests_until = sent + min(seconds / SHARE, LONGEST_REST)


class Width:
    """How far a slice reaches back."""

    def __init__(self) -> None:
        self.seconds = inf
        self.is_quick = True
        """Whether the last one reached the first entry, and was quick."""
        self._was_slow = False

    def before(self, until: datetime) -> datetime | None:
        """Return where a slice starts that ends at the given time."""
        return None if self.seconds == inf else until - timedelta(seconds=self.seconds)

    def took(self, seconds: float) -> None:
        """Adjust it to the duration of the last one."""
        self.is_quick = self.seconds == inf and seconds < QUICK_SECONDS
        if self.seconds == inf:
            slow, self._was_slow = self._was_slow, seconds > SHARE * SWEEP_SECONDS
            if slow and self._was_slow:  # one alone was most likely kept waiting by a busy machine
                self.seconds = FIRST_WIDTH
        elif seconds > 2 * SLICE_SECONDS:
            self.seconds = max(self.seconds / 2, 1.0)
        elif seconds < SLICE_SECONDS / 2:
            self.seconds *= GROWTH
        if self.seconds > WIDEST:
            self.seconds = inf

    def join(self) -> None:
        """Note that all slices together were quick: the next sweep need not be cut."""
        self.seconds, self._was_slow = inf, False
