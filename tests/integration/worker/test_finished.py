"""``raise Finished``: a handler ends its own schedule; and ``ctx.tick_number``: how many ticks that was."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pgsched.domain.errors import Finished, Retry
from pgsched.execution.context import Context
from pgsched.execution.registry import Registry
from tests.support.engine import Engine, engine, handlers, history, make_due, rows
from tests.support.guards import make_ledger, transactional
from tests.support.process_app import SERVE, app
from tests.support.tables import database, insert_task, task_row


def now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


async def finish_on_loop() -> None:
    raise Finished({"imported": 3})


def finish_in_thread() -> None:
    raise Finished({"imported": 3})


async def finish_in_group() -> None:
    raise ExceptionGroup("both", [ValueError("a"), ExceptionGroup("inner", [Finished({"imported": 3})])])


REGISTRIES = {
    "async": (handlers(mail=finish_on_loop), "mail", {}),
    "thread": (handlers(mail=finish_in_thread), "mail", {}),
    "group": (handlers(mail=finish_in_group), "mail", {}),
    "process": (app.registry, "finish", {"serve": SERVE}),
}


@pytest.mark.parametrize("how", REGISTRIES)
async def test_a_handler_ends_its_schedule_and_its_result_is_kept(dsn: str, how: str) -> None:
    registry, task_type, settings = REGISTRIES[how]
    with database(dsn) as db:
        task_id = insert_task(db, task_type, repeat_interval="1 hour", repeat_count=9)
        make_due(db, task_id)
        async with engine(dsn, registry, **settings) as one:
            while await one.work():
                pass
        row, (run,) = task_row(db, task_id), history(db, task_id)
    assert (row["status"], row["next_run_at"], row["execution_count"]) == ("completed", None, 1)
    assert (row["result"], row["last_error"]) == ({"imported": 3}, None)
    assert row["completed_at"] is not None
    assert (run["status"], run["result"]) == ("completed", {"imported": 3})
    assert ("ValueError: a" in (run["error"] or "")) == (how == "group")


async def test_what_is_edited_while_the_last_run_runs_does_not_bring_the_schedule_back(dsn: str) -> None:
    with database(dsn) as db:
        task_id = insert_task(db, repeat_interval="1 hour")
        make_due(db, task_id)

        async def edit_and_finish() -> None:
            db.execute("update pgsched.tasks set repeat_interval = '2 hours' where id = %s", (task_id,))
            raise Finished("over")

        async with engine(dsn, handlers(mail=edit_and_finish)) as one:
            while await one.work():
                pass
        row = task_row(db, task_id)
    assert (row["status"], row["result"], row["next_run_at"]) == ("completed", "over", None)
    assert row["repeat_interval"] == timedelta(hours=2)


async def test_an_ended_schedule_lives_again_when_it_is_edited(dsn: str) -> None:
    with database(dsn) as db:
        task_id = insert_task(db, repeat_interval="1 hour")
        make_due(db, task_id)
        async with engine(dsn, handlers(mail=finish_on_loop)) as one:
            while await one.work():
                pass
        db.execute("update pgsched.tasks set repeat_interval = '2 hours' where id = %s", (task_id,))
        assert task_row(db, task_id)["status"] == "pending"


async def test_a_one_time_task_is_completed_with_the_result(dsn: str) -> None:
    with database(dsn) as db:
        task_id = insert_task(db)
        async with engine(dsn, handlers(mail=finish_on_loop)) as one:
            await one.work()
        row, (run,) = task_row(db, task_id), history(db, task_id)
    assert (row["status"], row["result"], row["attempts"], row["execution_count"]) == (
        "completed",
        {"imported": 3},
        1,
        1,
    )
    assert (run["status"], run["attempt"]) == ("completed", 1)


async def test_a_copy_ends_only_itself(dsn: str) -> None:
    with database(dsn) as db:
        task_id = insert_task(db, cron_expression="0 0 1 1 *")
        (copy,) = rows(db, "select pgsched.run_now(%s) as id", task_id)
        async with engine(dsn, handlers(mail=finish_on_loop)) as one:
            while await one.work():
                pass
        assert task_row(db, copy["id"])["status"] == "completed"
        assert task_row(db, task_id)["status"] == "pending"


async def test_a_transactional_handler_ends_its_schedule_with_what_it_wrote(dsn: str) -> None:
    async def write(ctx: Context) -> None:
        await ctx.connection.execute("insert into ledger values (%s, 'last')", (ctx.id,))
        raise Finished("written")

    with database(dsn) as db:
        make_ledger(db)
        task_id = insert_task(db, repeat_interval="1 hour")
        make_due(db, task_id)
        async with engine(dsn, transactional(write)) as one:
            while await one.work():
                pass
        row = task_row(db, task_id)
        assert rows(db, "select task_id, note from ledger") == [{"task_id": task_id, "note": "last"}]
    assert (row["status"], row["result"]) == ("completed", "written")


# Ticks that are tasks of their own.


def overlapping(db: Any, **columns: Any) -> int:
    task_id = insert_task(db, repeat_interval="1 hour", overlap="allow", **columns)
    make_due(db, task_id)
    return task_id


async def make_tick(one: Engine, db: Any, parent: int) -> dict[str, Any]:
    """Let the schedule make its tick; returns the child."""
    while not (children := rows(db, "select * from pgsched.tasks where parent_id = %s", parent)):
        await one.work(1)
    return children[-1]


async def test_a_tick_that_is_its_own_task_ends_its_schedule(dsn: str) -> None:
    with database(dsn) as db:
        parent = overlapping(db)
        after = insert_task(db, depends_on=[parent])
        async with engine(dsn, handlers(mail=finish_on_loop)) as one:
            child = await make_tick(one, db, parent)
            await one.work()
            row = task_row(db, parent)
            assert (row["status"], row["result"], row["next_run_at"]) == ("completed", {"imported": 3}, None)
            assert task_row(db, child["id"])["status"] == "completed"
            assert task_row(db, after)["status"] != "blocked"


async def test_a_tick_ends_its_schedule_while_that_makes_the_next_tick(dsn: str) -> None:
    """Both ends are written by one statement, or by two workers."""
    with database(dsn) as db:
        for workers in (1, 2):
            parent = overlapping(db)
            async with engine(dsn, handlers(mail=finish_on_loop)) as one, engine(dsn) as other:
                await make_tick(one, db, parent)
                make_due(db, parent)
                if workers == 1:
                    assert len(await one.claim()) == 2
                    await one.run()
                else:
                    await one.claim(1)
                    await other.claim(1)
                    await one.run()
                    await other.run()
            row = task_row(db, parent)
            assert (row["status"], row["next_run_at"], row["locked_by"]) == ("completed", None, None)
            db.execute("delete from pgsched.tasks")


# Which tick it is.


async def numbers(dsn: str, registry: Callable[[list[int]], Registry], **columns: Any) -> list[int]:
    """The numbers that a handler saw of a schedule's ticks, one after the other."""
    seen: list[int] = []
    with database(dsn) as db:
        insert_task(db, backoff="fixed", backoff_delay="1 millisecond", **columns)
        async with engine(dsn, registry(seen)) as one:
            while rows(db, "select from pgsched.tasks where status in ('pending', 'running')"):
                await one.work()
    return seen


async def test_a_handler_knows_the_number_of_its_tick_in_every_attempt(dsn: str) -> None:
    def registry(seen: list[int]) -> Registry:
        async def count(ctx: Context) -> None:
            seen.append(ctx.tick_number)
            if ctx.attempt < 2:
                raise Retry(0)

        return handlers(mail=count)

    found = await numbers(dsn, registry, repeat_interval="1 millisecond", repeat_count=3, on_missed="once")
    assert found == [1, 1, 2, 2, 3, 3]


async def test_ticks_that_overlap_know_their_numbers(dsn: str) -> None:
    def registry(seen: list[int]) -> Registry:
        async def count(ctx: Context) -> None:
            seen.append(ctx.tick_number)

        return handlers(mail=count)

    found = await numbers(dsn, registry, repeat_interval="1 millisecond", repeat_count=3, overlap="allow")
    assert sorted(found) == [1, 2, 3]


async def test_a_dead_tick_that_is_retried_keeps_its_number(dsn: str) -> None:
    seen: list[int] = []

    async def fail_second(ctx: Context) -> None:
        seen.append(ctx.tick_number)
        if len(seen) == 2:
            raise ValueError("no luck")

    with database(dsn) as db:
        insert_task(db, repeat_interval="1 millisecond", repeat_count=3, max_attempts=1)
        async with engine(dsn, handlers(mail=fail_second)) as one:
            while rows(db, "select from pgsched.tasks where status in ('pending', 'running')"):
                await one.work()
            (dead,) = rows(db, "select id from pgsched.tasks where status = 'dead'")
            rows(db, "select pgsched.retry(%s)", dead["id"])
            await one.work()
    assert seen == [1, 2, 3, 2]


async def test_a_child_process_knows_the_number_of_the_tick(dsn: str) -> None:
    with database(dsn) as db:
        task_id = insert_task(db, "tick_number", repeat_interval="1 millisecond", repeat_count=2)
        async with engine(dsn, app.registry, serve=SERVE) as one:
            while task_row(db, task_id)["status"] != "completed":
                await one.work()
        assert [run["result"] for run in history(db, task_id)] == [1, 2]
