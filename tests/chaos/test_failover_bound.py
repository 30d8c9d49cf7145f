"""What asynchronous replication may lose is counted, and nothing else is excused. Cheap forms of the trials' rules."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from chaos.faults.own_server import IMMEDIATE, OwnServer
from chaos.faults.standby import Standby
from chaos.faults.system import books_of
from chaos.ha.bound import KEYS, Gone, Insert, Outcome, Surviving, Window, find_gone
from chaos.ha.recovery import Struck, whole_again
from chaos.load.noted import ENDED, RECORDED

KEPT, LOST = 5, 3


@pytest.fixture(scope="module")
def survivor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path, float, float]]:
    """A standby that was promoted without the last inserts; what its producer noted, and when the last were made."""
    folder = tmp_path_factory.mktemp("notes")
    with OwnServer({"wal_level": "replica", "max_wal_senders": "4"}) as server:
        Surviving(folder, list).prepare(server.dsn)
        standby = Standby(server)
        try:
            standby.follow()
            with psycopg.connect(server.dsn, autocommit=True) as producer:
                _insert(producer, folder, range(KEPT))
                # As Patroni without synchronous_mode; the standby is away for a moment.
                producer.execute("alter system set synchronous_standby_names = ''")
                producer.execute("select pg_reload_conf()")
                standby.unfollow(producer)
                start = time.time()
                _insert(producer, folder, range(KEPT, KEPT + LOST))
                end = time.time()
            server.end(IMMEDIATE)
            standby.promote()
            yield standby.dsn, folder, start, end
        finally:
            standby.close()


def _insert(producer: psycopg.Connection, folder: Path, numbers: range) -> None:
    with (folder / KEYS).open("a") as keys:
        for number in numbers:
            row = producer.execute(
                "insert into pgsched.tasks (task_type, idempotency_key) values ('steady', %s) returning id",
                (f"task {number}",),
            ).fetchone()
            assert row is not None
            keys.write(f"{row[0]} {time.time():.3f} task {number}\n")


def test_a_loss_is_within_the_bound_only_if_there_is_one(survivor: tuple[str, Path, float, float]) -> None:
    dsn, folder, start, end = survivor
    with books_of(dsn) as books:
        acknowledged = {one.id: "pending" for one in find_gone(books, folder).inserts}
        assert len(acknowledged) == LOST
        for windows, lost in (([], LOST), ([Window(start - 0.5, end + 0.5)], 0), ([Window(end + 1, end + 2)], LOST)):
            verdict = Surviving(folder, lambda windows=windows: windows).verdict(books, acknowledged)  # type: ignore[misc]
            assert verdict.lost == lost
            assert any("outside every window" in line for line in verdict.broken) == bool(lost)


def test_a_lost_task_whose_id_another_one_has_now_is_still_lost(survivor: tuple[str, Path, float, float]) -> None:
    dsn, folder, *_ = survivor
    with books_of(dsn) as books, books.transaction(force_rollback=True):
        taken = find_gone(books, folder).inserts[0].id
        books.execute("insert into pgsched.tasks (id, task_type, idempotency_key) values (%s, 'steady', 'x')", (taken,))
        gone = find_gone(books, folder)
    assert (len(gone.inserts), gone.reused) == (LOST, 1)


def test_an_outcome_that_is_not_the_acknowledged_one_is_gone(survivor: tuple[str, Path, float, float]) -> None:
    dsn, folder, *_ = survivor
    (folder / ENDED).write_text("1 first 10.0\n1 second 11.0\n2 only 12.0\n")
    (folder / RECORDED).write_text("1 first 10.1\n2 only 12.1\n")
    with books_of(dsn) as books, books.transaction(force_rollback=True):
        books.execute("set local pgsched.restoring = on")
        books.execute("""update pgsched.tasks set result = case id when 1 then '"second"' else '"only"' end::jsonb""")
        gone = find_gone(books, folder)
    assert ([one.result for one in gone.outcomes], gone.again) == (["first"], 1)


def test_distances_are_those_to_the_nearest_fault() -> None:
    gone = Gone(
        inserts=[Insert(1, 99.5, "a")], outcomes=[Outcome(2, "b", 203.0)], inserted=9, recorded=9, reused=0, again=0
    )
    assert gone.distances([100.0, 200.0]) == [-0.5, 3.0]
    assert gone.outside([Window(99.0, 101.0)]) == [
        "1 of 1 outcomes that are gone were acknowledged outside every window"
    ]


def test_what_the_new_leader_acknowledged_is_excused_by_no_window() -> None:
    """A worker may tell of an outcome that is nowhere: that once looked like a loss while the old leader was away."""
    struck = Struck(
        name="leader killed", at=100.0, writable_at=108.0, over_at=108.0, whole_at=124.0, until=129.0, lag=0.2
    )
    times = {99.9: "the old leader's", 108.3: "told in vain", 124.5: "the new leader's"}
    outcomes = [Outcome(number, what, at) for number, (at, what) in enumerate(times.items())]
    gone = Gone(inserts=[], outcomes=outcomes, inserted=3, recorded=3, reused=0, again=0)
    assert gone.outside([struck.window]) == ["2 of 3 outcomes that are gone were acknowledged outside every window"]


def test_work_is_whole_in_the_first_good_second_after_the_outage() -> None:
    steady = dict.fromkeys(range(1000, 1200), 10)
    outage = {tenth: count for tenth, count in steady.items() if not 1040 <= tenth < 1090}
    assert whole_again(outage, 103.0, 118.0, wanted=95) == 6.0
    assert whole_again(steady, 103.0, 118.0, wanted=95) == 0.0
    assert whole_again(outage, 103.0, 109.5, wanted=95) is None
