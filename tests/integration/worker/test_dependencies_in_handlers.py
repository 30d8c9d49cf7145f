"""What a handler sees of the tasks that its task depends on."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from pgsched.execution.context import Context
from tests.support.engine import engine, handlers, rows
from tests.support.guards import transactional
from tests.support.tables import database, insert_task, task_row
from tests.support.waiting import wait_until_async


def value(n: int) -> int:
    return n


def insert_value(db: psycopg.Connection[dict[str, Any]], n: int, **columns: Any) -> int:
    return insert_task(db, "value", payload=psycopg.types.json.Jsonb({"n": n}), **columns)


async def test_results_are_there_by_id_and_by_name(dsn: str) -> None:
    seen: list[Any] = []

    async def add(ctx: Context) -> int:
        seen.append(ctx.dependencies)
        return sum(ctx.dependencies.values())

    with database(dsn) as db:
        first, second = insert_value(db, 1, task_name="extract"), insert_value(db, 2)
        task_id = insert_task(db, "add", depends_on=[second, first])
        async with engine(dsn, handlers(value=value, add=add)) as one:
            await one.work()
            await one.work()
        assert task_row(db, task_id)["result"] == 3
    (results,) = seen
    assert dict(results) == {second: 2, first: 1}
    assert (results["extract"], results[second], list(results)) == (1, 2, [second, first])
    with pytest.raises(TypeError):
        results[first] = 7


async def test_a_plain_handler_and_a_transactional_one_see_them_too(dsn: str) -> None:
    def add(ctx: Context) -> int:
        return sum(ctx.dependencies.values())

    async def pay(ctx: Context) -> int:
        (row,) = await (await ctx.connection.execute("select %s + 1", (ctx.dependencies["one"],))).fetchall()
        return int(row[0])

    registry = transactional(pay=pay)
    registry.register("add", add)
    registry.register("value", value)
    with database(dsn) as db:
        first = insert_value(db, 1, task_name="one")
        ids = [insert_task(db, kind, depends_on=[first]) for kind in ("add", "pay")]
        async with engine(dsn, registry) as one:
            await one.work()
            await one.work()
        assert [task_row(db, task_id)["result"] for task_id in ids] == [1, 2]


async def test_a_task_that_depends_on_nothing_has_none_and_asks_for_nothing(dsn: str) -> None:
    async def handler(ctx: Context) -> int:
        return len(ctx.dependencies)

    with database(dsn) as db:
        task_id = insert_task(db)
        async with engine(dsn, handlers(mail=handler)) as one:
            await one.work()
            assert flow_sessions(db) == 0
        assert task_row(db, task_id)["result"] == 0


async def test_a_handler_without_a_context_asks_for_nothing(dsn: str) -> None:
    with database(dsn) as db:
        first = insert_value(db, 1)
        task_id = insert_value(db, 2, depends_on=[first])
        async with engine(dsn, handlers(value=value)) as one:
            await one.work()
            await one.work()
            assert flow_sessions(db) == 0
        assert task_row(db, task_id)["result"] == 2


async def test_a_dependency_that_died_has_no_result_and_one_that_was_deleted_is_missing(dsn: str) -> None:
    seen: list[Any] = []

    async def look(ctx: Context) -> None:
        seen.append(dict(ctx.dependencies))

    def dies() -> None:
        raise ValueError("no luck")

    with database(dsn) as db:
        dead, gone = insert_task(db, "dies", max_attempts=1), insert_value(db, 1)
        insert_task(db, "look", depends_on=[dead, gone], on_dependency_dead="run")
        async with engine(dsn, handlers(value=value, dies=dies, look=look)) as one:
            await one.work()
            db.execute("delete from pgsched.tasks where id = %s", (gone,))
            await one.work()
    assert seen == [{dead: None}]


async def test_a_database_error_while_they_are_fetched_costs_no_attempt(dsn: str) -> None:
    async def look(ctx: Context) -> Any:
        return ctx.dependencies["one"]

    with database(dsn) as db:
        first = insert_value(db, 1, task_name="one")
        ids = [insert_task(db, "look", depends_on=[first])]
        async with engine(dsn, handlers(value=value, look=look)) as one:
            await one.work()
            await one.work()
            assert flow_sessions(db) == 1
            db.execute(
                "select pg_terminate_backend(pid, 5000) from pg_stat_activity "
                "where application_name = 'pgsched flow' and datname = current_database()"
            )
            ids.append(insert_task(db, "look", depends_on=[first]))
            await one.work()
            assert one.counts.database_errors == 1
        assert [(task_row(db, i)["result"], task_row(db, i)["attempts"]) for i in ids] == [(1, 1), (1, 1)]


async def test_a_worker_that_lost_the_task_while_it_waits_for_the_results_runs_nothing(dsn: str) -> None:
    ran: list[int] = []

    async def look(ctx: Context) -> None:
        ran.append(ctx.attempt)

    with database(dsn) as db:
        first = insert_value(db, 1)
        task_id = insert_task(db, "look", depends_on=[first])
        async with engine(dsn, handlers(value=value, look=look)) as one:
            await one.work()
            with database(dsn) as other, other.transaction():
                await one.claim()
                other.execute("lock table pgsched.tasks in access exclusive mode")
                one.worker.executor.feed()
                await wait_until_async(lambda: not one.leased_tasks.waiting, message="it has a slot")
                leased = one.leased_tasks.get(task_id)
                assert leased is not None
                one.leased_tasks.abandon(leased)
                await wait_until_async(lambda: one.worker.executor.running == 0, message="the slot is free")
    assert ran == []


def flow_sessions(db: psycopg.Connection[dict[str, Any]]) -> int:
    (row,) = rows(
        db,
        "select count(*) as n from pg_stat_activity "
        "where application_name = 'pgsched flow' and datname = current_database()",
    )
    return int(row["n"])
