"""An attempt that never began is not counted: what a worker held in advance is no worse off when the worker is lost."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pgsched.db.sql_files import load_statement
from pgsched.worker.leased_tasks import BEGIN
from tests.support.engine import Engine, engine, expire_leases, handlers, history, look_everywhere, rows
from tests.support.processes import PgschedRunner
from tests.support.tables import database, insert_task, refuse_updates, task_row
from tests.support.waiting import wait_until, wait_until_async

Database = psycopg.Connection[dict[str, Any]]


def insert(db: Database, number: int, **columns: Any) -> list[int]:
    return [insert_task(db, **columns) for _ in range(number)]


async def claim(one: Engine, limit: int, free: int) -> list[int]:
    """Claim from the first row on; returns what came."""
    look_everywhere(one.worker)
    before = set(one.leased_tasks.snapshot())
    await one.worker.claimer.run_once(limit, free)
    return [leased.task.id for leased in one.leased_tasks.snapshot() if leased not in before]


def lose(db: Database, one: Engine) -> None:
    """The worker dies with all that it holds."""
    for leased in one.leased_tasks.take_waiting():
        one.leased_tasks.drop(leased)
    expire_leases(db)


def attempts(db: Database, ids: list[int]) -> list[int]:
    return [task_row(db, task_id)["attempts"] for task_id in ids]


def lost(db: Database, ids: list[int]) -> list[int]:
    return [task_id for task_id in ids for run in history(db, task_id) if run["status"] == "lost"]


async def test_what_was_held_in_advance_is_not_charged_when_its_worker_is_lost(dsn: str, db: Database) -> None:
    ids = insert(db, 5, max_attempts=3)
    async with engine(dsn) as one, engine(dsn) as other:
        assert await claim(one, 5, free=2) == ids
        assert [leased.in_advance for leased in one.leased_tasks.snapshot()] == [False, False, True, True, True]
        assert attempts(db, ids) == [1] * 5
        lose(db, one)
        assert await claim(other, 5, free=5) == ids
    assert attempts(db, ids) == [2, 2, 1, 1, 1]
    assert lost(db, ids) == ids[:2]


async def test_a_row_with_one_attempt_left_is_never_held_in_advance(dsn: str, db: Database) -> None:
    first, last, behind = insert(db, 3), insert(db, 2, max_attempts=1), insert(db, 2)
    async with engine(dsn) as one:
        assert await claim(one, 10, free=1) == first
        assert one.worker.claimer.waits_for_room(0), "nothing more until a slot is free"
        assert not one.worker.claimer.waits_for_room(1)
        assert await claim(one, 10, free=1) == [last[0]]
        assert await claim(one, 10, free=1) == [last[1], *behind]
        assert not one.worker.claimer.waits_for_room(0)


async def test_a_second_attempt_of_two_is_the_last(dsn: str, db: Database) -> None:
    ids = insert(db, 2, max_attempts=2)
    db.execute("update pgsched.tasks set attempts = 1")
    async with engine(dsn) as one:
        assert await claim(one, 10, free=1) == ids[:1]


async def test_a_row_whose_worker_was_lost_is_never_held_in_advance(dsn: str, db: Database) -> None:
    ids = insert(db, 4, max_attempts=10)
    async with engine(dsn) as one, engine(dsn) as other:
        assert await claim(one, 4, free=0) == ids
        lose(db, one)
        assert await claim(other, 4, free=1) == ids[:1]
        assert await claim(other, 4, free=2) == ids[1:3]
        assert await claim(other, 4, free=0) == []


@pytest.mark.parametrize("ordering", ["fifo", "lifo"])
async def test_a_claim_that_is_cut_loses_no_row_and_keeps_its_floor(dsn: str, db: Database, ordering: str) -> None:
    db.execute("insert into pgsched.queues (name, ordering) values ('default', %s)", (ordering,))
    ids = insert(db, 6, max_attempts=1)
    async with engine(dsn) as one:
        found: list[int] = []
        for _ in range(3):
            before = set(one.leased_tasks.snapshot())
            await one.worker.claimer.run_once(10, 2)  # behind the last row of the claim before it
            await one.worker.locked_batches.wait(20)  # what it locked is leased then
            found += [leased.task.id for leased in one.leased_tasks.snapshot() if leased not in before]
        assert found == (ids if ordering == "fifo" else ids[::-1])


async def test_what_has_begun_is_marked_and_charged(dsn: str, db: Database) -> None:
    async def wait() -> None:
        await asyncio.Event().wait()

    ids = insert(db, 3, max_attempts=3)
    async with engine(dsn, handlers(mail=wait), concurrency=2) as one, engine(dsn) as other:
        assert await claim(one, 3, free=0) == ids
        one.worker.executor.feed()
        await wait_until_async(lambda: one.worker.executor.running == 2, message="two of them run")
        with database(dsn) as slow, slow.transaction():
            slow.execute("select from pgsched.tasks where id = %s for update", (ids[0],))
            await one.worker.reporter.run_once()
            assert [leased.in_advance for leased in one.leased_tasks.snapshot()] == [True, False, True]
        await one.worker.reporter.run_once()
        assert [leased.in_advance for leased in one.leased_tasks.snapshot()] == [False, False, True]
        lose(db, one)
        await claim(other, 3, free=3)
    assert attempts(db, ids) == [2, 2, 1]
    assert lost(db, ids) == ids[:2]


async def test_a_mark_that_is_refused_costs_no_other(dsn: str, db: Database) -> None:
    async def wait() -> None:
        await asyncio.Event().wait()

    ids = insert(db, 3)
    async with engine(dsn, handlers(mail=wait), concurrency=3) as one:
        await claim(one, 3, free=0)
        await one.started()
        refuse_updates(db, f"old.id = {ids[1]}", then="raise exception 'no'", kind="before")
        await one.worker.reporter.run_once()
        marks = rows(db, "select id from pgsched.tasks where unbegun_token is not null")
        assert marks == [{"id": ids[1]}]
        assert not any(leased.in_advance for leased in one.leased_tasks.snapshot())
        db.execute("drop trigger house_rule on pgsched.tasks")


async def test_another_owner_s_row_is_not_marked(dsn: str, db: Database) -> None:
    (task_id,) = insert(db, 1)
    async with engine(dsn) as one:
        await claim(one, 1, free=0)
        (leased,) = one.leased_tasks.snapshot()
        leased.move(BEGIN)
        db.execute("update pgsched.tasks set locked_by = gen_random_uuid()")  # with the same token, after a failover
        await one.worker.reporter.run_once()
        assert task_row(db, task_id)["unbegun_token"] is not None


async def test_a_mark_of_an_earlier_claim_means_nothing(dsn: str, db: Database) -> None:
    """As after a claim by a program that does not know of it: it raises the token and no more."""
    (task_id,) = insert(db, 1)
    async with engine(dsn) as one:
        await claim(one, 1, free=0)
        db.execute(
            "update pgsched.tasks set fencing_token = fencing_token + 1, attempts = 2, locked_by = gen_random_uuid(),"
            " locked_until = now() - interval '1 second'"
        )
        assert await claim(one, 1, free=1) == [task_id]
    assert attempts(db, [task_id]) == [3]
    assert lost(db, [task_id]) == [task_id]


@pytest.mark.parametrize("limits", ["concurrency => 9", "concurrency_per_key => 9", "rate => 99"])
async def test_a_queue_with_limits_does_not_charge_it_either(dsn: str, db: Database, limits: str) -> None:
    ids = insert(db, 3, concurrency_key="k")
    async with engine(dsn) as one, engine(dsn) as other:
        await claim(one, 3, free=1)
        lose(db, one)
        db.execute(f"select pgsched.limit_queue('default', {limits})")
        other.worker.claimer._learn_at = 0.0
        assert await claim(other, 3, free=3) == ids
    assert attempts(db, ids) == [2, 1, 1]
    assert lost(db, ids) == ids[:1]


async def test_what_was_held_in_advance_and_given_back_has_made_no_attempt(dsn: str, db: Database) -> None:
    ids = insert(db, 3)
    async with engine(dsn) as one:
        await claim(one, 3, free=1)
        lose(db, one)
        await claim(one, 3, free=3)
        await one.worker.ending().give_back(one.leased_tasks.take_waiting())
    assert attempts(db, ids) == [1, 0, 0]


async def test_a_task_that_kills_its_worker_is_dead_after_one_kill_more_than_its_attempts(
    dsn: str, db: Database
) -> None:
    (task_id,) = insert(db, 1, max_attempts=3)
    kills = 0
    while task_row(db, task_id)["status"] != "dead":
        async with engine(dsn) as one:
            if await claim(one, 5, free=0) or await claim(one, 5, free=1):
                (leased,) = one.leased_tasks.snapshot()
                if leased.task.attempts > 3:
                    await one.run()
                    continue
            kills += 1
            assert kills < 10
            lose(db, one)
    assert kills == 4


def test_a_marked_row_is_no_other_update(dsn: str, db: Database) -> None:
    """The claim stays one that writes no index, and looks up rows one by one."""

    async def claimed() -> None:
        async with engine(dsn) as one:
            await claim(one, 40, free=10)

    insert(db, 40)
    asyncio.run(claimed())
    updates = "select n_tup_upd as n, n_tup_hot_upd as hot from pg_stat_user_tables where relname = 'tasks'"
    wait_until(lambda: rows(db, updates)[0]["n"] == 40, message="40 updates are counted")
    assert rows(db, updates)[0]["hot"] >= 30
    assert "unbegun_token" in load_statement("claim_tasks")


APP = """
import asyncio, os
from pgsched import App, Context
app = App()

@app.task("slow", max_attempts=1)
async def slow(ctx: Context) -> None:
    with open(os.environ["STARTED"], "a") as book:
        book.write(f"{ctx.id}\\n")
    await asyncio.sleep(0.005)
"""


@pytest.mark.slow
def test_a_killed_worker_leaves_hardly_a_task_dead_that_never_started(
    dsn: str, db: Database, run_pgsched: PgschedRunner, tmp_path: Path
) -> None:
    """What was claimed in the moment of the kill may be among them: no more than there are slots."""
    (tmp_path / "killed_app.py").write_text(APP)
    book = tmp_path / "started"
    book.touch()
    db.execute("insert into pgsched.tasks (task_type, max_attempts) select 'slow', 1 from generate_series(1, 1500)")
    options = ("worker", "--app", "killed_app:app", "--concurrency", "4", "--lease", "2", "--poll-interval", "0.2")
    worker = run_pgsched(*options, env={"STARTED": str(book)})
    wait_until(lambda: len(book.read_text().splitlines()) >= 300, timeout=60, message="300 have started")
    worker.kill()
    run_pgsched(*options, env={"STARTED": str(book)})
    wait_until(
        lambda: rows(db, "select count(*) as n from pgsched.tasks where next_run_at is not null") == [{"n": 0}],
        timeout=90,
        message="all have ended",
    )
    started = set(map(int, book.read_text().split()))
    dead = {row["id"] for row in rows(db, "select id from pgsched.tasks where status = 'dead'")}
    assert len(dead) <= 20, "what ran, or had run and was not written yet"
    assert len(dead - started) <= 4
    assert started | dead == {row["id"] for row in rows(db, "select id from pgsched.tasks")}
