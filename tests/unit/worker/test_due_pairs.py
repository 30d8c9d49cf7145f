"""Where a worker of very many queues looks: everything is found, in order, by few probes and few searches.

The table is a dictionary in memory; what a claim takes of it is decided as by the claim's statement.
"""

from __future__ import annotations

from datetime import UTC, datetime
from math import inf

from hypothesis import given, settings
from hypothesis import strategies as st

from pgsched.db.worker.claims import Pair, Probe, unread_task
from pgsched.domain.attempt import Claimed
from pgsched.worker import due_pairs
from pgsched.worker.due_pairs import FEW, PROBES, SHARE, DuePairs

QUEUES = [f"q{number:03}" for number in range(2 * FEW)]
NOW = datetime(2026, 1, 1, tzinfo=UTC)
SEARCH_SECONDS = 0.05


class Table:
    """Rows that are due, by queue and priority, some of which somebody else has locked; and a worker on it."""

    def __init__(self) -> None:
        self.due: dict[tuple[str, int], list[int]] = {}
        self.locked: set[int] = set()
        self.pairs = DuePairs()
        self.now = 0.0
        self.searches = 0
        self.turn = 0
        self.last = 0

    def insert(self, queue: str, priority: int) -> int:
        self.last += 1
        self.due.setdefault((queue, priority), []).append(self.last)
        return self.last

    def claim(self, limit: int, *, busy: bool = False) -> list[int]:
        """Claim as the worker does; returns the ids."""
        self.now += 0.01
        queues = QUEUES[self.turn :] + QUEUES[: self.turn]
        self.turn = (self.turn + 1) % len(QUEUES)
        if self.pairs.wants_search(self.now):
            self.searches += 1
            found = [Pair(queue, priority, True, None) for (queue, priority), ids in self.due.items() if ids]
            self.pairs.found(found, queues, self.now, self.now + SEARCH_SECONDS, busy=busy)
            self.now += SEARCH_SECONDS
        probes = self.pairs.next_probes(queues, limit)
        assert len(probes) <= max(limit, PROBES)
        tasks = self._take(probes, limit)
        self.pairs.saw(probes, tasks, full=len(tasks) == limit)
        return [task.id for task in tasks]

    def _take(self, probes: list[Probe], limit: int) -> list[Claimed]:
        tasks: list[Claimed] = []
        for probe in probes:
            ids = self.due.get((probe.queue, probe.priority), [])
            for id in [id for id in ids if id not in self.locked and id > (probe.cursor_id or 0)]:
                if len(tasks) == limit:
                    return tasks
                ids.remove(id)
                tasks.append(unread_task(id=id, queue=probe.queue, priority=probe.priority, next_run_at=NOW))
        return tasks


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("insert"), st.integers(0, len(QUEUES) - 1), st.integers(1, 10)),
        st.tuples(st.just("announce"), st.integers(0, len(QUEUES) - 1), st.integers(1, 10)),
        st.tuples(st.just("lock"), st.integers(0, 50), st.just(0)),
        st.tuples(st.just("claim"), st.integers(1, 5), st.integers(0, 1)),
    ),
    max_size=60,
)


@settings(max_examples=100, deadline=None)
@given(steps=STEPS)
def test_every_row_is_claimed_in_the_end(steps: list[tuple[str, int, int]]) -> None:
    table = Table()
    for name, one, other in steps:
        if name in ("insert", "announce"):
            id = table.insert(QUEUES[one], other)
            if name == "announce":
                table.pairs.note(QUEUES[one])
            elif one % 3 == 0:
                table.locked.add(id)
        elif name == "lock":
            table.locked.add(one)
        else:
            table.claim(one, busy=bool(other))
    table.locked.clear()
    for _ in range(2000):
        table.claim(3)
        if not any(table.due.values()):
            return
        table.now += min(table.pairs.due_in(table.now), 1.0)
    raise AssertionError(f"never claimed: {table.due}")


def test_rows_come_by_priority_and_then_in_the_order_of_the_queues() -> None:
    table = Table()
    last, first, second = table.insert("q001", 3), table.insert("q090", 9), table.insert("q005", 9)
    third = table.insert("q001", 5)
    table.turn = 10  # q010 is the first one
    assert table.claim(10) == [first, second, third, last]


def test_a_claim_of_a_part_continues_where_it_stopped_and_the_turn_goes_round() -> None:
    table = Table()
    backlog = [table.insert("q000", 5) for _ in range(6)]
    other = table.insert("q001", 5)
    assert table.claim(3) == backlog[:3]
    assert table.claim(3) == [other, *backlog[3:5]]  # q001 is the first one now
    assert table.claim(3) == backlog[5:]
    assert table.searches == 1


def test_a_claim_probes_few_pairs_and_a_pass_ends() -> None:
    table = Table()
    for queue in QUEUES:
        for priority in range(1, 11):
            table.locked.add(table.insert(queue, priority))
    for _ in range(10 * len(QUEUES) // PROBES):
        assert table.claim(5) == []
    assert table.searches == 1
    assert not table.pairs.remain


def test_an_announced_row_is_claimed_without_a_search() -> None:
    table = Table()
    assert table.claim(5) == []
    one = table.insert("q007", 2)
    assert table.claim(5) == []  # it is too early for another search
    table.pairs.note("q007")
    assert table.claim(5) == [one]
    assert table.searches == 1


def test_searches_take_a_bounded_share_of_the_time() -> None:
    table = Table()
    seconds = 20.0
    while table.now < seconds:
        table.insert("q001", 5)
        table.claim(1, busy=True)
    assert 1 < table.searches <= seconds * SHARE / SEARCH_SECONDS + 2


def test_a_row_of_a_higher_priority_is_not_kept_waiting_by_a_backlog() -> None:
    table = Table()
    for _ in range(5000):
        table.insert("q001", 5)
    table.claim(1, busy=True)
    urgent = table.insert("q002", 9)
    began = table.now
    while urgent not in table.claim(1, busy=True):
        assert table.now - began < 2 * SEARCH_SECONDS / SHARE


def test_a_worker_sleeps_until_the_next_row_of_its_queues() -> None:
    pairs = DuePairs()
    assert pairs.due_in(0.0) == 0.0
    later = [Pair("q001", 5, False, 30.0), Pair("q002", 5, True, 20.0), Pair("another", 5, False, 1.0)]
    pairs.found(later, QUEUES, 100.0, 100.0, busy=False)
    pairs.saw(pairs.next_probes(QUEUES, 5), [], full=False)
    assert pairs.due_in(105.0) == 15.0
    assert pairs.wants_search(120.0)
    pairs.found([], QUEUES, 120.0, 120.0, busy=False)
    assert pairs.due_in(120.0) == inf


def test_a_search_that_passes_finished_rows_is_given_up_for_a_while() -> None:
    pairs = DuePairs()
    assert not pairs.suit(FEW, 0.0)
    assert pairs.suit(len(QUEUES), 0.0)
    pairs.found([], QUEUES, 0.0, due_pairs.SLOW_SECONDS * 2, busy=False)
    assert not pairs.suit(len(QUEUES), 2.0)
    assert pairs.suit(len(QUEUES), 2.0 + due_pairs.STRAIGHT * due_pairs.SLOW_SECONDS * 2)


def test_pairs_of_queues_that_are_no_longer_served_are_forgotten() -> None:
    pairs = DuePairs()
    pairs.found([], QUEUES, 0.0, 0.0, busy=False)
    pairs.note("another")
    assert pairs.next_probes(QUEUES, 5) == []
    assert not pairs.remain
