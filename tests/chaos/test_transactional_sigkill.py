"""Money that transactional handlers move while their workers are killed: to the last unit, and each transfer once.

Checked against a worker that commits the handler's transaction first and writes the outcome in another: a transfer is
then made twice.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import pytest

from chaos.fleet import Connection, Fleet, holds_tasks, unfinished
from chaos.invariants import assert_all_completed

ACCOUNTS = 20
BALANCE = 1_000_000
WORKERS = 3
SECONDS_BETWEEN_KILLS = 1.0


def test_300_transfers_are_exact_while_workers_are_killed(fleet_of: Callable[..., Fleet], books: Connection) -> None:
    move_money(fleet_of, books, transfers=300, seconds=120)


@pytest.mark.long
def test_5000_transfers_are_exact_while_workers_are_killed(fleet_of: Callable[..., Fleet], books: Connection) -> None:
    move_money(fleet_of, books, transfers=5_000, seconds=600)


def move_money(fleet_of: Callable[..., Fleet], books: Connection, *, transfers: int, seconds: float) -> None:
    """Let three workers make the transfers, kill one of them at random every second, and check the accounts."""
    books.execute("create table accounts (id int primary key, balance bigint not null)")
    # No key: a transfer that is made twice must show, not fail.
    books.execute("create table transfers (task_id bigint not null, amount bigint not null)")
    books.execute("insert into accounts select n, %s from generate_series(1, %s) n", (BALANCE, ACCOUNTS))
    acknowledged = insert_transfers(books, transfers)
    fleet = fleet_of("--lease", "2", "--concurrency", "8", "--transactions", "4")
    fleet.start(WORKERS)
    fleet.wait_until_started()
    hits = kill_until_done(fleet, books, seconds=seconds)
    fleet.wait_until_started()
    assert hits >= 2, "the kills hit no running task: the test shows nothing"
    assert_books_balance(books, transfers)
    assert_all_completed(books, acknowledged)
    assert fleet.stop() == [0] * WORKERS


def insert_transfers(books: Connection, count: int) -> list[int]:
    """Insert so many transfers of 1 to 100 between two accounts each; plain handlers make every fourth."""
    rows = books.execute(
        """
        insert into pgsched.tasks (task_type, max_attempts, backoff, backoff_delay, payload)
        select case when n % 4 = 0 then 'transfer_plain' else 'transfer' end, 100, 'fixed', '10 ms',
          jsonb_build_object(
            'source', 1 + n % {accounts}, 'target', 1 + (n * 7 + 3) % {accounts}, 'amount', 1 + n % 100)
        from generate_series(1, {count}) n
        returning id
        """.replace("{accounts}", str(ACCOUNTS)).replace("{count}", str(count))  # type: ignore[arg-type]
    ).fetchall()
    return [row["id"] for row in rows]


def kill_until_done(fleet: Fleet, books: Connection, *, seconds: float) -> int:
    """Kill a worker at random every second, and start another, until no task is left; returns how many held tasks."""
    hits = 0
    chance = random.Random(7)
    deadline = time.monotonic() + seconds
    while unfinished(books):
        assert time.monotonic() < deadline, f"{unfinished(books)} tasks are left after {seconds:g} s"
        victim = chance.randrange(WORKERS)
        fleet.workers[victim].wait_for_output("worker_started")
        time.sleep(SECONDS_BETWEEN_KILLS)  # the schedule of the kills, nothing is waited for
        fleet.kill(victim)
        hits += holds_tasks(books, fleet.workers[victim].pid)
        fleet.restart(victim)
    return hits


def assert_books_balance(books: Connection, transfers: int) -> None:
    """Each transfer was made once, and the accounts show nothing else."""
    twice = books.execute("select task_id, count(*) from transfers group by 1 having count(*) <> 1").fetchall()
    assert twice == []
    (counted,) = books.execute("select count(*) as n from transfers").fetchall()
    assert counted["n"] == transfers
    wrong = books.execute(
        """
        select a.id, a.balance, %(balance)s + coalesce(m.change, 0) as expected
        from accounts a
        left join (
          select account, sum(change) as change
          from pgsched.tasks t
          cross join lateral (values
            ((t.payload ->> 'source')::int, -(t.payload ->> 'amount')::bigint),
            ((t.payload ->> 'target')::int, (t.payload ->> 'amount')::bigint)) as v(account, change)
          group by account) m on m.account = a.id
        where a.balance <> %(balance)s + coalesce(m.change, 0)
        """,
        {"balance": BALANCE},
    ).fetchall()
    assert wrong == []
    (total,) = books.execute("select sum(balance) as sum from accounts").fetchall()
    assert total["sum"] == ACCOUNTS * BALANCE
