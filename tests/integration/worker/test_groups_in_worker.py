"""The two phases of a group in a worker: it fires its steps, and gathers what came of them."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

from pgsched.client.client import Client
from pgsched.domain.attempt import GROUP
from pgsched.execution.registry import Registry
from tests.support.engine import Engine, engine, expire_leases, handlers, history, rows, running_worker
from tests.support.guards import Database
from tests.support.tables import database, insert_task, move_tick, task_row
from tests.support.waiting import wait_until_async


def value(n: int) -> int:
    return n


def fails() -> None:
    raise ValueError("no luck")


REGISTRY = handlers(value=value, fails=fails)
TWO_VALUES = [
    {"task_type": "value", "name": "first", "payload": {"n": 1}},
    {"task_type": "value", "name": "second", "payload": {"n": 2}},
]


def insert_group(db: Database, steps: list[dict[str, Any]], **columns: Any) -> int:
    return insert_task(db, GROUP, payload=psycopg.types.json.Jsonb({"steps": steps}), **columns)


def children(db: Database, group_id: int) -> list[dict[str, Any]]:
    return rows(db, "select * from pgsched.tasks where parent_id = %s order by id", group_id)


async def work_until(one: Engine, db: Database, task_id: int, *statuses: str) -> dict[str, Any]:
    """Claim and run again and again until the task is in one of these states."""
    for _ in range(20):
        await one.work()
        row = task_row(db, task_id)
        if row["status"] in statuses:
            return row
    raise AssertionError(f"task {task_id} is {row['status']}: {row['last_error']}")


async def test_a_group_fires_its_steps_in_their_order_and_gathers_their_results(dsn: str) -> None:
    with database(dsn) as db:
        group_id = insert_group(db, TWO_VALUES)
        async with engine(dsn, REGISTRY) as one:
            await one.work()
            assert (task_row(db, group_id)["status"], len(one.leased_tasks)) == ("blocked", 0)
            assert [child["status"] for child in children(db, group_id)] == ["pending", "blocked"]
            row = await work_until(one, db, group_id, "completed")
        (run,) = history(db, group_id)
        first, second = children(db, group_id)
    assert row["result"] == {"first": 1, "second": 2}
    assert (row["attempts"], run["status"], run["result"]) == (1, "completed", row["result"])
    assert run["started_at"] <= first["started_at"] <= second["started_at"] <= run["finished_at"]


async def test_a_group_with_a_step_that_died_is_dead_and_names_it(dsn: str, db: Database) -> None:
    group_id = insert_group(db, [*TWO_VALUES, {"task_type": "fails", "max_attempts": 1}], max_attempts=5)
    async with engine(dsn, REGISTRY) as one:
        row = await work_until(one, db, group_id, "dead")
    assert "step fails (task" in row["last_error"]
    assert "is dead: ValueError: no luck" in row["last_error"]
    assert [run["status"] for run in history(db, group_id)] == ["failed"]


async def test_a_group_in_a_group_is_run_too(dsn: str, db: Database) -> None:
    inner = {"task_type": GROUP, "name": "inner", "payload": {"steps": TWO_VALUES}}
    group_id = insert_group(db, [inner, {"task_type": "value", "payload": {"n": 3}}])
    async with engine(dsn, REGISTRY) as one:
        row = await work_until(one, db, group_id, "completed", "dead")
    assert row["result"] == {"inner": {"first": 1, "second": 2}, "value": 3}


async def test_a_worker_that_is_asleep_wakes_itself_for_the_steps_and_for_the_end(dsn: str, db: Database) -> None:
    async with running_worker(dsn, REGISTRY, poll_interval=600):
        group_id = insert_group(db, TWO_VALUES)
        await wait_until_async(lambda: task_row(db, group_id)["status"] == "completed", message="the group is done")


async def test_a_worker_without_handlers_serves_groups(dsn: str, db: Database) -> None:
    group_id = insert_group(db, TWO_VALUES)
    async with engine(dsn, Registry()) as one:
        await asyncio.to_thread(one.worker.heartbeat.run_once)
        with Client(dsn) as client:
            assert client.stats().unhandled == []
            await one.work()
            assert [row.task_type for row in client.stats().unhandled] == ["value"]
    assert task_row(db, group_id)["status"] == "blocked"


async def test_a_group_whose_claim_was_lost_fires_once(dsn: str, db: Database) -> None:
    group_id = insert_group(db, TWO_VALUES)
    async with engine(dsn, REGISTRY) as late, engine(dsn, REGISTRY) as owner:
        await late.claim()
        expire_leases(db)
        await owner.claim()
        await late.run()
        assert children(db, group_id) == []
        await owner.run()
        assert len(children(db, group_id)) == 2
        assert (len(late.leased_tasks), len(owner.leased_tasks)) == (0, 0)


async def test_a_group_whose_claim_was_lost_at_its_end_is_finished_once(dsn: str, db: Database) -> None:
    group_id = insert_group(db, TWO_VALUES[:1])
    async with engine(dsn, REGISTRY) as late, engine(dsn, REGISTRY) as owner:
        await late.work()
        await late.work()
        (task,) = await late.claim()
        assert (task.id, task.fired) == (group_id, True)
        expire_leases(db)
        await owner.claim()
        await late.run()
        assert (late.counts.fenced, task_row(db, group_id)["status"]) == (1, "running")
        await owner.run()
    assert task_row(db, group_id)["status"] == "completed"
    assert [run["status"] for run in history(db, group_id)] == ["lost", "completed"]


async def test_a_connection_that_died_is_no_harm_to_either_phase(dsn: str, db: Database) -> None:
    ids = [insert_group(db, TWO_VALUES[:1])]
    async with engine(dsn, REGISTRY) as one:
        await one.work()
        end_sessions(db)
        ids.append(insert_group(db, TWO_VALUES[:1]))
        await one.work()
        end_sessions(db)
        for group_id in ids:
            row = await work_until(one, db, group_id, "completed", "dead")
            assert (row["result"], row["attempts"]) == ({"first": 1}, 1)
        assert one.counts.database_errors >= 2
    assert [len(children(db, group_id)) for group_id in ids] == [1, 1]


async def test_a_group_whose_steps_the_database_refuses_is_dead(dsn: str, db: Database) -> None:
    db.execute(
        """
        create function refuse() returns trigger language plpgsql as $$
        begin
          if new.task_type = 'value' then raise 'no values here'; end if;
          return new;
        end $$"""
    )
    db.execute("create trigger refuse before insert on pgsched.tasks for each row execute function refuse()")
    group_id = insert_group(db, TWO_VALUES)
    async with engine(dsn, REGISTRY) as one:
        row = await work_until(one, db, group_id, "dead")
    assert row["last_error"] == "no values here"
    assert children(db, group_id) == []


async def test_a_repeating_group_books_its_next_tick_when_its_steps_have_ended(dsn: str, db: Database) -> None:
    group_id = insert_group(db, TWO_VALUES, repeat_interval="1 hour")
    async with engine(dsn, REGISTRY) as one:
        await one.work()  # planned
        await one.work()  # fired
        assert task_row(db, group_id)["status"] == "blocked"
        await work_until(one, db, group_id, "pending")  # its steps have ended
        await one.work()  # joined
    row = task_row(db, group_id)
    assert (row["status"], row["execution_count"]) == ("pending", 1)
    assert (row["result"], row["fired"]) == ({"first": 1, "second": 2}, None)
    assert row["next_run_at"] - row["started_at"] > timedelta(minutes=50)


async def test_a_repeating_group_that_missed_ticks_fires_for_the_last_and_says_so(dsn: str, db: Database) -> None:
    begin = datetime.now(UTC) - timedelta(hours=5, minutes=30)
    group_id = insert_group(db, TWO_VALUES, repeat_interval="1 hour", start_date=begin)
    async with engine(dsn, REGISTRY) as one:
        move_tick(db, group_id, "start_date + interval '1 hour'")
        row = await work_until(one, db, group_id, "blocked")
        last = row["scheduled_for"]
        assert {child["scheduled_for"] for child in children(db, group_id)} == {last}
        (missed,) = rows(db, "select reason, ticks, next_tick from pgsched.missed_ticks where task_id = %s", group_id)
        assert (missed["reason"], missed["next_tick"]) == ("once", last)
        assert missed["ticks"] >= 3
        await work_until(one, db, group_id, "pending")
        await one.work()
    assert task_row(db, group_id)["scheduled_for"] == last + timedelta(hours=1)
    assert [run["scheduled_for"] for run in history(db, group_id)] == [last]


def end_sessions(db: Database) -> None:
    """Cut off the connections that ask for single tasks."""
    db.execute(
        "select pg_terminate_backend(pid, 5000) from pg_stat_activity "
        "where application_name = 'pgsched flow' and datname = current_database()"
    )
