"""Claiming: which rows, in which order, by which plan."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from benchmarks.databases import keep_constants
from pgsched.db.connection import connect_async
from pgsched.db.sql_files import load_statement
from pgsched.db.worker import claims
from tests.support.engine import engine, expire_leases, handlers, history, make_due, nothing, rows
from tests.support.processes import PgschedRunner
from tests.support.tables import WORKER, database, insert_task, set_running, task_row
from tests.support.waiting import wait_until

CLAIM_SETS = {"status", "locked_by", "locked_until", "attempts", "fencing_token", "started_at", "unbegun_token"}


async def claimed_ids(dsn: str, **settings: Any) -> list[int]:
    async with engine(dsn, **settings) as one:
        return [task.id for task in await one.claim()]


# Which rows, in which order.


def test_the_highest_priority_comes_first(dsn: str) -> None:
    with database(dsn) as db:
        low, high, middle = (insert_task(db, priority=number) for number in (1, 10, 5))
    assert asyncio.run(claimed_ids(dsn)) == [high, middle, low]


def test_within_a_priority_the_row_that_is_due_longest_comes_first(dsn: str) -> None:
    with database(dsn) as db:
        late, early = (insert_task(db, scheduled_for=datetime(2020, 1, day, tzinfo=UTC)) for day in (2, 1))
    assert asyncio.run(claimed_ids(dsn)) == [early, late]


def test_rows_due_at_the_same_time_come_in_the_order_of_their_ids(dsn: str) -> None:
    with database(dsn) as db:
        ids = [insert_task(db, scheduled_for=datetime(2020, 1, 1, tzinfo=UTC)) for _ in range(5)]
    assert asyncio.run(claimed_ids(dsn)) == ids


def test_a_lifo_queue_gives_the_newest_row_first(dsn: str) -> None:
    with database(dsn) as db:
        db.execute("insert into pgsched.queues (name, ordering) values ('default', 'lifo')")
        ids = [insert_task(db) for _ in range(4)]
    assert asyncio.run(claimed_ids(dsn)) == ids[::-1]


def test_a_lifo_queue_keeps_to_priorities(dsn: str) -> None:
    with database(dsn) as db:
        db.execute("insert into pgsched.queues (name, ordering) values ('default', 'lifo')")
        high, low = insert_task(db, priority=9), insert_task(db, priority=1)
    assert asyncio.run(claimed_ids(dsn)) == [high, low]


def test_a_paused_queue_gives_nothing(dsn: str) -> None:
    with database(dsn) as db:
        db.execute("insert into pgsched.queues (name, paused) values ('default', true)")
        insert_task(db)
    assert asyncio.run(claimed_ids(dsn)) == []


def test_a_paused_queue_does_not_hold_up_another(dsn: str) -> None:
    with database(dsn) as db:
        db.execute("insert into pgsched.queues (name, paused) values ('default', true)")
        insert_task(db)
        other = insert_task(db, queue="other")
    assert asyncio.run(claimed_ids(dsn, queues=("default", "other"))) == [other]


def test_a_queue_that_is_not_served_is_left_alone(dsn: str) -> None:
    with database(dsn) as db:
        insert_task(db, queue="other")
    assert asyncio.run(claimed_ids(dsn)) == []


def test_a_disabled_row_is_not_claimed(dsn: str) -> None:
    with database(dsn) as db:
        insert_task(db, enabled=False)
    assert asyncio.run(claimed_ids(dsn)) == []


def test_a_future_row_is_not_claimed(dsn: str) -> None:
    with database(dsn) as db:
        insert_task(db, scheduled_for=datetime(2100, 1, 1, tzinfo=UTC))
    assert asyncio.run(claimed_ids(dsn)) == []


def test_a_task_type_without_a_handler_stays_due_for_a_worker_that_has_one(dsn: str) -> None:
    with database(dsn) as db:
        task_id = insert_task(db, "unknown")
        assert asyncio.run(claimed_ids(dsn)) == []
        row = task_row(db, task_id)
        assert (row["status"], row["attempts"], row["fencing_token"]) == ("pending", 0, 0)


def test_no_more_rows_are_claimed_than_asked_for(dsn: str) -> None:
    async def claim_three() -> int:
        async with engine(dsn) as one:
            return len(await one.claim(3))

    with database(dsn) as db:
        for priority in (1, 1, 5, 5, 9, 9):
            insert_task(db, priority=priority)
        assert asyncio.run(claim_three()) == 3
        assert rows(db, "select count(*) as n from pgsched.tasks where locked_by is not null") == [{"n": 3}]


# What the claim writes.


def test_a_claim_counts_the_attempt_and_takes_the_lease(dsn: str) -> None:
    with database(dsn) as db:
        task_id = insert_task(db)
        asyncio.run(claimed_ids(dsn, lease=77))
        row = rows(
            db,
            "select status, attempts, fencing_token, started_at <= now() as started, "
            "locked_until - started_at = interval '77 seconds' as lease from pgsched.tasks where id = %s",
            task_id,
        )
    assert row == [{"status": "running", "attempts": 1, "fencing_token": 1, "started": True, "lease": True}]


def test_a_lease_that_ran_out_is_claimed_again_and_the_lost_attempt_recorded(dsn: str) -> None:
    with database(dsn) as db:
        task_id = insert_task(db)
        set_running(db, task_id)
        expire_leases(db)
        assert asyncio.run(claimed_ids(dsn)) == [task_id]
        row = task_row(db, task_id)
        assert (row["attempts"], row["fencing_token"]) == (2, 2)
        (lost,) = history(db, task_id)
        assert (lost["status"], lost["worker_id"], lost["attempt"], lost["fencing_token"]) == (
            "lost",
            WORKER,
            1,
            1,
        )
        assert str(WORKER) in lost["error"]


def test_a_reclaimed_lease_is_counted(dsn: str) -> None:
    async def scenario() -> int:
        async with engine(dsn) as one:
            await one.claim()
            return one.counts.leases_expired

    with database(dsn) as db:
        set_running(db, insert_task(db))
        insert_task(db)
        expire_leases(db)
    assert asyncio.run(scenario()) == 1


def test_a_row_that_is_released_and_claimed_again_is_no_lost_attempt(dsn: str) -> None:
    async def scenario() -> None:
        async with engine(dsn) as one:
            await one.claim()
            await one.worker.ending().give_back(one.leased_tasks.take_waiting())
            await one.claim()

    with database(dsn) as db:
        task_id = insert_task(db)
        asyncio.run(scenario())
        row = task_row(db, task_id)
        assert (row["attempts"], row["fencing_token"], history(db, task_id)) == (1, 2, [])


def test_the_fencing_token_never_goes_back(dsn: str) -> None:
    with database(dsn) as db:
        task_id = insert_task(db)
        tokens = []
        for _ in range(4):
            asyncio.run(claimed_ids(dsn))
            tokens.append(task_row(db, task_id)["fencing_token"])
            expire_leases(db)
    assert tokens == [1, 2, 3, 4]


def test_a_row_lost_in_every_attempt_dies_without_being_run_again(dsn: str) -> None:
    ran: list[int] = []

    async def scenario() -> None:
        async with engine(dsn, handlers(mail=lambda: ran.append(1))) as one:
            await one.work()

    with database(dsn) as db:
        task_id = insert_task(db, max_attempts=2)
        for _ in range(2):
            asyncio.run(claimed_ids(dsn))
            expire_leases(db)
        asyncio.run(scenario())
        row = task_row(db, task_id)
        assert (row["status"], row["attempts"], ran) == ("dead", 2, [])
        assert [one["status"] for one in history(db, task_id)] == ["lost", "lost"]


# The floor.


async def test_a_row_below_the_floor_is_found_by_a_later_claim(dsn: str) -> None:
    with database(dsn) as db:
        insert_task(db, scheduled_for=datetime(2020, 1, 2, tzinfo=UTC))
        async with engine(dsn) as one:
            await one.claim(1)
            below = insert_task(db, scheduled_for=datetime(2020, 1, 1, tzinfo=UTC))
            found: list[int] = []
            while not found:  # one at the floor, then one that looks below it
                found += [task.id for task in await one.claim(1, at_floor=True)]
            assert found == [below]


async def test_a_worker_does_not_rest_before_it_looked_below_the_floor(dsn: str) -> None:
    with database(dsn) as db:
        insert_task(db, scheduled_for=datetime(2020, 1, 2, tzinfo=UTC))
        async with engine(dsn) as one:
            await one.claim(1)
            insert_task(db, scheduled_for=datetime(2020, 1, 1, tzinfo=UTC))
            while len(one.leased_tasks) < 2:
                if not await one.worker.claimer.run_once(1):
                    # When sweeps are slow the next one waits its turn, not for a notification or the poll.
                    assert one.worker.shared_claims.scan.due_in(monotonic()) < 60
                    await one.worker.claimer.rest()


async def test_a_retry_that_is_due_before_the_floor_is_found(dsn: str) -> None:
    calls: list[int] = []

    async def flaky() -> None:
        calls.append(1)
        if len(calls) == 1:
            raise ValueError("no luck")

    with database(dsn) as db:
        task_id = insert_task(db)
        async with engine(dsn, handlers(mail=flaky)) as one:
            await one.work()
            make_due(db, task_id)
            insert_task(db)
            while len(calls) < 3:
                await one.work()


# How it is done.


def test_no_index_mentions_a_column_that_the_claim_sets(dsn: str) -> None:
    statement = load_statement("claim_tasks")
    sets = re.search(r"update pgsched\.tasks t\nset (.*?)\nfrom picked", statement, re.DOTALL)
    assert sets is not None
    assert set(re.findall(r"(\w+) =", sets[1])) == CLAIM_SETS
    with database(dsn) as db:
        indexes = rows(
            db,
            "select pg_get_indexdef(indexrelid) as definition from pg_index where indrelid = 'pgsched.tasks'::regclass",
        )
    assert indexes
    for index in indexes:
        assert not CLAIM_SETS & set(re.findall(r"\w+", index["definition"])), index


def test_a_claim_is_a_hot_update(dsn: str) -> None:
    with database(dsn) as db:
        for _ in range(50):
            insert_task(db)
        asyncio.run(claimed_ids(dsn))
        updates = "select n_tup_upd as n, n_tup_hot_upd as hot from pg_stat_user_tables where relname = 'tasks'"
        wait_until(lambda: rows(db, updates)[0]["n"] == 50, message="50 updates are counted")
        assert rows(db, updates)[0]["hot"] >= 45  # a claimed row is larger: the last of a page may not fit


@pytest.fixture(params=[100_000, pytest.param(1_000_000, marks=pytest.mark.long)])
def crowded_dsn(dsn: str, request: pytest.FixtureRequest) -> str:
    """Many rows that are not due yet, in more blocks than a claim may read, and a hundred that are."""
    with database(dsn) as db, db.transaction():
        db.execute("set local session_replication_role = replica")  # without the triggers
        db.execute("alter table pgsched.tasks set (autovacuum_enabled = off)")
        keep_constants(db, keep=True)
        db.execute(
            """
            insert into pgsched.tasks (task_type, schedule_type, priority, scheduled_for, next_run_at)
            select 'mail', 'one_time', 1 + n %% 10, now() + n * interval '1 second', now() + n * interval '1 second'
            from generate_series(1000, 1000 + %s) n
            """,
            (request.param,),
        )
        db.execute(
            """
            insert into pgsched.tasks (task_type, schedule_type, priority, scheduled_for, next_run_at)
            select 'mail', 'one_time', 5, now() - interval '1 second', now() - interval '1 second'
            from generate_series(1, 100) n
            """
        )
    return dsn


async def test_a_claim_beside_many_future_rows_reads_few_blocks(crowded_dsn: str) -> None:
    statement = load_statement("claim_tasks")
    parameters = {
        "queues": ["default"] * 10,
        "priorities": list(range(10, 0, -1)),
        "sinces": [None] * 10,
        "cursor_ats": [None] * 10,
        "cursor_ids": [None] * 10,
        "untils": [None] * 10,
        "task_types": ["mail"],
        "context_types": [],
        "limit": 100,
        "bytes": 2**24,
        "free": 100,
        "set_aside": [],
        "worker": WORKER,
        "lease": 30.0,
    }
    connection = await connect_async(crowded_dsn)
    async with connection:
        await connection.execute(load_statement("tune_session"))
        connection.row_factory = dict_row  # type: ignore[assignment]
        explained = await connection.execute(
            "explain (analyze, buffers, format json) " + statement,
            parameters,  # type: ignore[arg-type]
        )
        row: Any = await explained.fetchone()
    plan = row["QUERY PLAN"][0]["Plan"]
    assert plan["Actual Rows"] == 100
    assert '"Index Name": "tasks_due"' in json.dumps(plan)
    assert "Seq Scan" not in json.dumps(plan)
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 1100


# Several workers.


def test_two_claims_at_once_share_the_rows(dsn: str) -> None:
    async def scenario() -> tuple[list[int], list[int]]:
        async with engine(dsn) as one, engine(dsn) as other:
            found = await asyncio.gather(one.claim(50), other.claim(50))
            return [task.id for task in found[0]], [task.id for task in found[1]]

    with database(dsn) as db:
        ids = [insert_task(db) for _ in range(100)]
    first, second = asyncio.run(scenario())
    assert sorted(first + second) == ids


@pytest.mark.slow
def test_worker_processes_run_each_row_once(run_pgsched: PgschedRunner, dsn: str, tmp_path: Path) -> None:
    (tmp_path / "mod.py").write_text("from pgsched import App\napp = App()\n@app.task('mail')\nasync def mail(): ...\n")
    with database(dsn) as db:
        workers = [run_pgsched("worker", "--app", "mod:app") for _ in range(3)]
        for worker in workers:
            worker.wait_for_output("worker_started")
        db.execute("insert into pgsched.tasks (task_type) select 'mail' from generate_series(1, 20000)")
        wait_until(lambda: _count(db, "completed") == 20000, message="20,000 tasks are completed")
        for worker in workers:
            assert worker.stop() == 0
        assert rows(
            db,
            "select count(*) as n, count(distinct task_id) as tasks, max(attempt) as attempts, "
            "count(distinct worker_id) > 1 as shared from pgsched.executions",
        ) == [{"n": 20000, "tasks": 20000, "attempts": 1, "shared": True}]


def _count(db: psycopg.Connection[dict[str, Any]], status: str) -> int:
    return int(rows(db, "select count(*) as n from pgsched.tasks where status = %s", status)[0]["n"])


def test_a_handler_without_work_is_not_in_the_way(dsn: str) -> None:
    async def scenario() -> list[int]:
        async with engine(dsn, handlers(mail=nothing, other=nothing)) as one:
            return [task.id for task in await one.claim()]

    with database(dsn) as db:
        ids = [insert_task(db, "other"), insert_task(db, "mail")]
    assert asyncio.run(scenario()) == ids


async def test_rows_of_a_claim_whose_answer_was_lost_are_given_back(dsn: str) -> None:
    with database(dsn) as db:
        lost = [insert_task(db, max_attempts=1) for _ in range(3)]
        async with engine(dsn) as one:
            # The claim commits; what it returned never reaches the worker.
            await claims.claim(one.worker.claim_session, one.worker.identity, [claims.Probe("default", 5)], 10)
            one.worker.claims.unanswered = True
            kept = insert_task(db)
            again = await one.claim()
        assert {task.id for task in again} == {*lost, kept}
        assert [task.attempts for task in again] == [1, 1, 1, 1]


async def test_payloads_in_hand_are_bounded_by_their_size(dsn: str) -> None:
    with database(dsn) as db:
        db.execute(
            "insert into pgsched.tasks (task_type, payload)"
            " select 'mail', jsonb_build_object('text', repeat('x', 1000000)) from generate_series(1, 40)"
        )
        async with engine(dsn) as one:
            assert 10 <= len(await one.claim()) <= 18  # 16 MiB of a megabyte each
            assert one.leased_tasks.bytes < 20_000_000


@pytest.mark.parametrize("kind", ["fifo", "lifo", "limited"])
async def test_every_claim_measures_a_payload_as_it_arrives(dsn: str, kind: str) -> None:
    settings = {"fifo": "ordering = 'fifo'", "lifo": "ordering = 'lifo'", "limited": "limits = '{\"concurrency\": 9}'"}
    with database(dsn) as db:
        db.execute("insert into pgsched.queues (name) values ('default')")
        db.execute(f"update pgsched.queues set {settings[kind]}")  # type: ignore[arg-type]
        db.execute(
            "insert into pgsched.tasks (task_type, payload)"
            " select 'mail', jsonb_build_object('text', repeat('x', size)) from unnest(array[10, 100000]) size"
        )
        stored = "select id, pg_column_size(payload) as stored, octet_length(payload::text) as sent from pgsched.tasks"
        small, large = rows(db, f"{stored} order by id")
        assert large["stored"] < 1500 < large["sent"]  # compressed, and small enough to be taken for a small one
        async with engine(dsn) as one:
            session, identity = one.worker.claim_session, one.worker.identity
            if kind == "limited":
                batch, _ = await claims.claim_limited(session, identity, [("default", 9)], 9, max_bytes=2**24)
            else:
                batch = await claims.claim(session, identity, [claims.Probe("default", 5)], 9)
    sizes = {task.id: task.bytes for task in batch.tasks}
    assert sizes == {small["id"]: small["stored"], large["id"]: large["sent"]}


async def test_a_payload_larger_than_what_is_left_comes_alone(dsn: str) -> None:
    with database(dsn) as db:
        db.execute(
            "insert into pgsched.tasks (task_type, payload)"
            " select 'mail', jsonb_build_object('text', repeat('x', 1000000)) from generate_series(1, 40)"
        )
        async with engine(dsn) as one:
            one.leased_tasks.bytes = 2**30
            assert len(await one.claim()) == 1
