"""A tick that comes while the last still runs: the row is its own lock, unless it may overlap."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tests.support.engine import engine, expire_leases, make_due, rows
from tests.support.tables import database, insert_task, move_tick, task_row


async def test_a_tick_of_a_schedule_that_may_overlap_runs_as_a_child(dsn: str) -> None:
    with database(dsn) as db:
        tick = datetime.now(UTC).replace(microsecond=0)
        parent = insert_task(
            db, repeat_interval="1 hour", scheduled_for=tick, overlap="allow", payload='{"a": 1}', priority=7
        )
        async with engine(dsn) as one:
            await one.work()
            (child,) = rows(db, "select * from pgsched.tasks where parent_id = %s", parent)
            assert (child["schedule_type"], child["status"], child["scheduled_for"]) == ("one_time", "pending", tick)
            assert (child["payload"], child["priority"]) == ({"a": 1}, 7)
        row = task_row(db, parent)
        assert (row["status"], row["scheduled_for"], row["execution_count"]) == (
            "pending",
            tick + timedelta(hours=1),
            1,
        )


async def test_the_next_tick_starts_beside_the_one_that_runs(dsn: str) -> None:
    with database(dsn) as db:
        tick = datetime.now(UTC).replace(microsecond=0)
        parent = insert_task(db, repeat_interval="1 millisecond", scheduled_for=tick, overlap="allow", on_missed="all")
        async with engine(dsn) as one:
            await one.work(1)
            await one.claim(1)  # the first child: it runs on
            make_due(db, parent)
            async with engine(dsn) as other:
                await other.work(1)
            children = rows(db, "select status from pgsched.tasks where parent_id = %s order by id", parent)
            assert [child["status"] for child in children][:2] == ["running", "pending"]


async def test_a_tick_that_is_claimed_twice_has_one_child(dsn: str) -> None:
    with database(dsn) as db:
        tick = datetime.now(UTC).replace(microsecond=0)
        parent = insert_task(db, repeat_interval="1 hour", scheduled_for=tick, overlap="allow")
        async with engine(dsn) as one:
            await one.work(1)
            move_tick(db, parent, tick)
            await one.work(1)
        assert len(rows(db, "select from pgsched.tasks where parent_id = %s", parent)) == 1


async def test_a_parent_whose_worker_died_still_runs_its_tick_as_a_child(dsn: str) -> None:
    with database(dsn) as db:
        parent = insert_task(db, repeat_interval="1 hour", overlap="allow", scheduled_for=datetime.now(UTC))
        async with engine(dsn) as dead:
            await dead.claim()
            expire_leases(db)
            async with engine(dsn) as one:
                await one.work(1)
        assert len(rows(db, "select from pgsched.tasks where parent_id = %s", parent)) == 1


async def test_repeat_count_counts_the_children(dsn: str) -> None:
    with database(dsn) as db:
        parent = insert_task(
            db,
            repeat_interval="1 millisecond",
            repeat_count=3,
            overlap="allow",
            on_missed="all",
            scheduled_for=datetime.now(UTC) - timedelta(seconds=1),
        )
        async with engine(dsn) as one:
            while await one.work():
                pass
        assert task_row(db, parent)["status"] == "completed"
        ticks = rows(db, "select scheduled_for from pgsched.tasks where parent_id = %s", parent)
        assert len({row["scheduled_for"] for row in ticks}) == 3
