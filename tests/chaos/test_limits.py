"""Limits over several worker processes, as the handlers saw them: never exceeded, well used, nothing leaks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from chaos.fleet import Connection, Fleet, insert, wait_for_completed, wait_for_handlers, wait_until_done
from chaos.invariants import assert_all_completed
from tests.support import limited
from tests.support.engine import rows
from tests.support.processes import PgschedRunner
from tests.support.waiting import wait_until


@pytest.mark.parametrize("tasks", [300, pytest.param(2000, marks=pytest.mark.long)])
def test_no_more_run_at_once_than_the_limit(run_pgsched: PgschedRunner, books: Connection, tasks: int) -> None:
    limited.make_marks(books)
    limited.start_workers(run_pgsched, 4)
    seen = limited.run_at_once(books, tasks=tasks, limit=3, seconds=0.03, longest=300)
    print(seen)
    assert seen.tasks == tasks
    assert seen.peak == 3
    assert seen.used > 0.2, f"{seen}: the slots stood empty"
    assert rows(books, "select count(*) as n from pgsched.executions") == [{"n": tasks}]


@pytest.mark.parametrize("seconds", [4, pytest.param(20, marks=pytest.mark.long)])
def test_no_more_start_in_any_second_than_the_rate(run_pgsched: PgschedRunner, books: Connection, seconds: int) -> None:
    limited.start_workers(run_pgsched, 4)
    seen = limited.run_at_rate(books, rate=100, seconds=seconds, longest=120)
    print(seen)
    assert seen.starts == 100 * seconds
    assert seen.worst <= 100
    assert seen.in_time > 40 * seconds, f"{seen}: more could have started"


@pytest.mark.parametrize("backlog", [5_000, pytest.param(100_000, marks=pytest.mark.long)])
def test_the_backlog_of_one_key_delays_no_other(run_pgsched: PgschedRunner, books: Connection, backlog: int) -> None:
    limited.start_workers(run_pgsched, 2)
    seen = limited.run_beside_backlog(books, backlog=backlog, others=30)
    print(seen.median, seen.values[-1])
    assert seen.median < 2_000, seen
    assert limited.unfinished(books) > 100, "the backlog was over: the test shows nothing"


def test_a_killed_worker_gives_its_slots_back_when_its_leases_run_out(
    fleet_of: Callable[..., Fleet], books: Connection, tmp_path: Path
) -> None:
    books.execute("select pgsched.limit_queue('default', concurrency => 2)")
    fleet = fleet_of("--lease", "2")
    fleet.start()
    fleet.wait_until_started()
    ids = insert(books, 4, "gated")
    wait_until(lambda: len(list(tmp_path.glob("started-*"))) == 2, message="two run")
    fleet.start()
    fleet.wait_until_started()
    assert len(list(tmp_path.glob("started-*"))) == 2
    fleet.kill(0)
    # The two that were killed are due longest.
    wait_for_handlers(tmp_path, ids[:2], attempt=2)
    assert not list(tmp_path.glob(f"started-{ids[2]}-*"))
    assert rows(books, "select count(*) as n from pgsched.slots") == [{"n": 2}]
    (tmp_path / "go").touch()
    wait_until(lambda: limited.unfinished(books) == 0, message="all are completed")


def test_a_queue_with_limits_survives_the_kill_of_two_of_three_workers(
    fleet_of: Callable[..., Fleet], books: Connection
) -> None:
    books.execute("select pgsched.limit_queue('default', concurrency => 12, rate => 2000)")
    acknowledged = insert(books, 3000, "brief", "brief", "brief_plain")
    fleet = fleet_of("--lease", "2")
    fleet.start(3)
    for number, done in enumerate((500, 1200)):
        wait_for_completed(books, done)
        fleet.kill(number)
        fleet.restart(number)
    wait_until_done(books)
    assert_all_completed(books, acknowledged)
    fleet.wait_until_started()
    assert fleet.stop() == [0, 0, 0]


def test_a_limit_that_is_set_while_workers_run_is_in_force_soon(run_pgsched: PgschedRunner, books: Connection) -> None:
    limited.make_marks(books)
    limited.start_workers(run_pgsched, 2, "--concurrency", "10")
    books.execute(
        "insert into pgsched.tasks (task_type, payload)"
        " select 'marked', '{\"seconds\": 0.05}' from generate_series(1, 360)"
    )
    running = "select coalesce(sum(change), 0)::int as n from marks"
    wait_until(lambda: rows(books, running)[0]["n"] > 4, message="more than four run")
    books.execute("select pgsched.limit_queue('default', concurrency => 2)")
    (limited_at,) = rows(books, "select clock_timestamp() + interval '1 second' as at")
    wait_until(lambda: limited.unfinished(books) < 200, message="most are completed")
    (later,) = rows(
        books,
        "select max(running) as most from ("
        " select at, sum(change) over (order by at, change rows unbounded preceding) as running from marks) m"
        " where at > %s",
        limited_at["at"],
    )
    assert later["most"] == 2


def test_another_worker_takes_the_slot_that_a_full_one_cannot_use(
    run_pgsched: PgschedRunner, books: Connection, tmp_path: Path
) -> None:
    books.execute("select pgsched.limit_queue('limited', concurrency => 1)")
    # The first is full with tasks of another queue as soon as its limited one has ended.
    limited.start_workers(run_pgsched, 1, "--queue", "limited", "--queue", "busy", "--concurrency", "1")
    books.execute(
        "insert into pgsched.tasks (task_type, queue, payload, priority)"
        " values ('timed', 'busy', '{\"seconds\": 0.5}', 5), ('timed', 'limited', '{\"seconds\": 0.5}', 5),"
        " ('timed', 'busy', '{\"seconds\": 5}', 5), ('timed', 'limited', '{}', 4)"
    )
    limited.start_workers(run_pgsched, 1, "--queue", "limited", "--poll-interval", "60")
    wait_until(
        lambda: (
            rows(books, "select count(*) as n from pgsched.tasks where queue = 'limited' and completed_at is not null")
            == [{"n": 2}]
        ),
        message="both limited tasks are completed",
    )
