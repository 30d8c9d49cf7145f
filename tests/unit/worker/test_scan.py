"""Where claims begin: nothing is missed, and what finished rows leave in the index costs a bounded part of the time.

The index is a list in memory, with the entries of finished rows in it as beside an old snapshot. What a look sees of it
is decided as by the claim's statement. Each entry stands for a hundred.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgsched.db.worker.claims import unread_task
from pgsched.domain.attempt import Claimed
from pgsched.worker import scan as scan_module
from pgsched.worker.scan import SHARE, SWEEP_SECONDS, Look, Scan

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
ROUND_TRIP = 0.0005
ENTRY_SECONDS = 1e-4
ROW_SECONDS = 30e-6
FINISH_SECONDS = 0.01

Entry = tuple[float, int]
"""Seconds after the epoch at which it is due, and the id."""


class Index:
    """One queue and priority: entries of rows that are due, locked by somebody else, or finished."""

    def __init__(self, *, fifo: bool = True) -> None:
        self.fifo = fifo
        self.entries: list[Entry] = []
        self.due: dict[Entry, bool] = {}
        """Rows that are not finished, and whether somebody else has locked them."""
        self.now = 0.0
        self._last = 0

    def finish(self, due: float, number: int) -> None:
        """Have so many finished rows, that were due one after the other from then on."""
        for at in range(number):
            self._last += 1
            self.entries.append((due + at * FINISH_SECONDS, self._last))
        self.entries.sort()

    def insert(self, due: float) -> Entry:
        """Have a row that is due then."""
        self._last += 1
        entry = (due, self._last)
        insort(self.entries, entry)
        self.due[entry] = False
        return entry

    def claim(self, look: Look, limit: int) -> tuple[list[Claimed], float]:
        """Return what the statement would, and how long it takes."""
        (probe,) = [probe for probe in look.probes if probe.priority == 5]
        low = (-inf if probe.since is None else _seconds(probe.since), 0)
        if self.fifo and probe.cursor_at is not None:
            low = (_seconds(probe.cursor_at), probe.cursor_id or 0)
        high = min(self.now, inf if probe.until is None else _seconds(probe.until))
        seen = self.entries[bisect_right(self.entries, low) : bisect_right(self.entries, (high, 2**62))]
        found: list[Entry] = []
        walked = 0
        for entry in seen if self.fifo else reversed(seen):
            walked += 1
            if self.due.get(entry) is False:
                found.append(entry)
                if len(found) == limit:
                    break
        for entry in found:
            del self.due[entry]
        rows = [
            unread_task(
                id=number,
                queue="default",
                priority=5,
                next_run_at=EPOCH + timedelta(seconds=due),
                late=self.now - due,
            )
            for due, number in found
        ]
        return rows, ROUND_TRIP + walked * ENTRY_SECONDS + len(rows) * ROW_SECONDS


class Worker:
    """A claim loop on that index."""

    def __init__(self, index: Index) -> None:
        self.index = index
        self.scan = Scan()
        self.spent = {True: 0.0, False: 0.0}
        """Seconds, by whether the claim was part of a sweep."""
        self.claims = 0

    def claim(self, limit: int, *, busy: bool) -> list[Claimed]:
        sent = self.index.now
        look = self.scan.next_look(["default"], sent, EPOCH + timedelta(seconds=sent), busy=busy)
        rows, seconds = self.index.claim(look, limit)
        self.scan.saw(look, rows, sent, seconds, full=len(rows) == limit)
        self.index.now += seconds
        self.spent[look.sweeps] += seconds
        self.claims += 1
        return rows


def _seconds(at: datetime) -> float:
    return (at - EPOCH).total_seconds()


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("insert"), st.floats(-5000, 10)),
        st.tuples(st.just("lock"), st.integers(0, 50)),
        st.tuples(st.just("lose"), st.just(0)),
        st.tuples(st.just("wait"), st.floats(0, 100)),
        st.tuples(st.just("claim"), st.integers(1, 20)),
        st.tuples(st.just("finish many"), st.integers(1, 2_000)),
    ),
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(steps=STEPS, fifo=st.booleans(), busy=st.booleans())
def test_every_row_that_may_be_claimed_is_claimed_in_the_end(
    steps: list[tuple[str, float]], fifo: bool, busy: bool
) -> None:
    assert rows_missed(steps, fifo=fifo, busy=busy) == 0


def rows_missed(steps: list[tuple[str, float]], *, fifo: bool, busy: bool) -> int:
    """Let a worker and others do these things, then the worker alone; returns how many rows it never finds."""
    index = Index(fifo=fifo)
    worker = Worker(index)
    for name, value in steps:
        if name == "insert":  # also what was committed late, and what is due in the past
            index.insert(index.now + value)
        elif name == "lock" and index.due:
            index.due[list(index.due)[int(value) % len(index.due)]] = True
        elif name == "lose":
            index.due = dict.fromkeys(index.due, False)
        elif name == "wait":
            index.now += value
        elif name == "finish many":
            index.finish(index.now, int(value))
            index.now += value * FINISH_SECONDS
        elif name == "claim":
            worker.claim(int(value), busy=busy)
    index.due = dict.fromkeys(index.due, False)
    index.now += 11
    for _ in range(3000):
        if not index.due:
            break
        worker.claim(10, busy=busy)
        pause = worker.scan.due_in(index.now)
        index.now += pause if pause < inf else SWEEP_SECONDS
    return len(index.due)


def _never_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Scan, "sweeps_next", lambda self, *, busy: False)
    monkeypatch.setattr(scan_module, "SWEEP_SECONDS", inf)


def _forget_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan_module, "WIDEST", inf)
    monkeypatch.setattr(scan_module, "GROWTH", 1)
    monkeypatch.setattr(scan_module, "FIRST_WIDTH", 0.0)


@pytest.mark.parametrize("leave_out", [_never_sweep, _forget_slices])
def test_without_sweeps_rows_are_missed(
    monkeypatch: pytest.MonkeyPatch, leave_out: Callable[[pytest.MonkeyPatch], None]
) -> None:
    """The test above can fail."""
    leave_out(monkeypatch)
    steps = [("finish many", 2_000.0), ("insert", 0.0), ("claim", 10.0), ("wait", 60.0), ("claim", 10.0)]
    steps += [("insert", 0.0), ("claim", 10.0), ("insert", -50.0)]
    assert rows_missed(steps, fifo=True, busy=True) > 0


def test_claims_stay_short_beside_a_quarter_of_an_hour_of_finished_rows() -> None:
    """1,800 tasks a second, in twenty claims, and a snapshot that keeps every entry."""
    index = Index()
    worker = Worker(index)
    claims_a_second = 20
    early = 0.0
    late: Entry | None = None
    found_after: list[float] = []
    minutes = 15
    for turn in range(minutes * 60 * claims_a_second):
        index.now = max(index.now, turn / claims_a_second)
        index.insert(index.now)
        if late is None and turn % 2000 == 999:
            late = index.insert(-3600.0)
            inserted = index.now
        worker.claim(1000, busy=True)
        if worker.scan.due_in(index.now) == 0:
            worker.claim(1000, busy=True)
        if late is not None and late not in index.due:
            found_after.append(index.now - inserted)
            late = None
        if turn == claims_a_second * 60:
            early = worker.spent[False] / worker.claims
    seconds = minutes * 60
    assert worker.spent[False] / worker.claims < max(2 * early, 0.005)
    assert worker.spent[True] / seconds < 1.5 * SHARE
    assert len(found_after) > 5
    # A pass over everything takes the time that its entries take, at that share of the time.
    assert max(found_after) < 3 * len(index.entries) * ENTRY_SECONDS / SHARE


def test_an_idle_worker_looks_everywhere_by_one_statement() -> None:
    index = Index()
    worker = Worker(index)
    for _ in range(20):
        index.insert(-1000.0)
        assert len(worker.claim(10, busy=False)) == 1
        assert worker.scan.due_in(index.now) == inf
        index.now += 1


def test_a_claim_that_was_kept_waiting_puts_no_sweep_off_for_long() -> None:
    index = Index()
    worker = Worker(index)
    worker.claim(10, busy=True)
    for _ in range(3):
        look = worker.scan.next_look(["default"], index.now, EPOCH + timedelta(seconds=index.now), busy=True)
        worker.scan.saw(look, [], index.now, 30.0, full=False)  # the server was away
        index.now += 31
    index.insert(-1000.0)
    began = index.now
    while index.due:
        worker.claim(10, busy=True)
        index.now += min(worker.scan.due_in(index.now), SWEEP_SECONDS)
    assert index.now - began < 60


def looks_of_an_idle_worker(delays: list[float], seconds: float = 300.0) -> int:
    """Let a worker with nothing to do wait for these times in its first claims; returns how often it looks then."""
    index = Index()
    worker = Worker(index)
    for number in range(10_000):
        if index.now > seconds:
            return number
        sent = index.now
        look = worker.scan.next_look(["default"], sent, EPOCH + timedelta(seconds=sent), busy=False)
        took = delays[number] if number < len(delays) else ROUND_TRIP
        worker.scan.saw(look, [], sent, took, full=False)
        index.now += took
        index.now += min(worker.scan.due_in(index.now), 5.0)
    raise AssertionError("it never rests")


def test_an_idle_worker_that_was_kept_waiting_once_does_not_look_more_often() -> None:
    at_ease = looks_of_an_idle_worker([])
    assert looks_of_an_idle_worker([ROUND_TRIP] * 10 + [0.2]) <= at_ease + 1


def test_an_idle_worker_that_was_kept_waiting_for_a_while_soon_looks_as_before() -> None:
    at_ease = looks_of_an_idle_worker([])
    assert looks_of_an_idle_worker([0.2] * 4) <= at_ease + 20
