"""Changing a task that lives: from SQL, from Python, while it waits and while it runs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from pgsched.client.async_client import AsyncClient
from pgsched.client.client import Client
from pgsched.domain.errors import InvalidCron, InvalidTask, TaskNotFound, TransitionRefused
from pgsched.domain.interval import Interval
from tests.support.engine import engine, rows
from tests.support.tables import database, insert_task, task_row

FAR = datetime(2040, 1, 1, tzinfo=UTC)


def test_an_expression_edited_in_sql_is_planned_afresh(dsn: str) -> None:
    with database(dsn) as db:
        task_id = insert_task(db, cron_expression="0 0 1 1 *")
        db.execute("update pgsched.tasks set cron_expression = '30 * * * *' where id = %s", (task_id,))
        row = task_row(db, task_id)
        assert row["scheduled_for"].minute == 30
        assert row["next_run_at"] == row["scheduled_for"]


async def test_a_schedule_edited_while_it_runs_is_not_overwritten_by_the_finish(dsn: str) -> None:
    with database(dsn) as db:
        task_id = insert_task(db, cron_expression="* * * * *", scheduled_for=datetime.now(UTC))
        async with engine(dsn) as one:
            await one.claim()
            db.execute("update pgsched.tasks set cron_expression = '0 0 1 1 *' where id = %s", (task_id,))
            await one.run()
        row = task_row(db, task_id)
        assert (row["scheduled_for"].month, row["scheduled_for"].day) == (1, 1)
        assert row["execution_count"] == 1


async def test_a_payload_edited_while_it_runs_is_that_of_the_next_run(dsn: str) -> None:
    with database(dsn) as db:
        task_id = insert_task(db, repeat_interval="1 hour", scheduled_for=datetime.now(UTC))
        async with engine(dsn) as one, AsyncClient(dsn) as client:
            await one.claim()
            await client.update(task_id, {"a": 2}, priority=9)
            await one.run()
        row = task_row(db, task_id)
        assert (row["payload"], row["priority"], row["execution_count"]) == ({"a": 2}, 9, 1)


def test_a_zone_edited_moves_the_ticks(dsn: str) -> None:
    with database(dsn) as db, Client(dsn) as client:
        task_id = insert_task(db, cron_expression="0 8 * * *")
        client.update(task_id, timezone="Asia/Tokyo")
        assert task_row(db, task_id)["scheduled_for"].astimezone(UTC).hour == 23


def test_a_cron_expression_takes_the_place_of_an_interval(dsn: str) -> None:
    with database(dsn) as db, Client(dsn) as client:
        task_id = client.schedule("mail", every="1h", times=3)
        client.update(task_id, cron="0 8 * * *")
        row = task_row(db, task_id)
        assert (row["schedule_type"], row["repeat_interval"], row["repeat_count"]) == ("recurring", None, None)


def test_an_interval_takes_the_place_of_a_cron_expression(dsn: str) -> None:
    with database(dsn) as db, Client(dsn) as client:
        task_id = client.schedule("mail", cron="0 8 * * *")
        client.update(task_id, every="90s")
        row = task_row(db, task_id)
        assert (row["schedule_type"], row["cron_expression"]) == ("repeating", None)
        assert client.get(task_id).repeat_interval == Interval(microseconds=90_000_000)


def test_a_waiting_one_time_task_is_moved(dsn: str) -> None:
    with database(dsn) as db, Client(dsn) as client:
        task_id = client.schedule("mail", delay=3600)
        client.update(task_id, at=FAR)
        row = task_row(db, task_id)
        assert (row["scheduled_for"], row["next_run_at"]) == (FAR, FAR)


def test_an_option_of_none_empties_its_column(dsn: str) -> None:
    with database(dsn) as db, Client(dsn) as client:
        task_id = client.schedule("mail", timeout=5, name="x")
        client.update(task_id, timeout=None)
        row = task_row(db, task_id)
        assert (row["timeout"], row["task_name"]) == (None, "x")


def test_a_time_for_a_schedule_is_refused(dsn: str) -> None:
    with Client(dsn) as client:
        task_id = client.schedule("mail", cron="0 8 * * *")
        with pytest.raises(TransitionRefused, match="at and delay are for one-time tasks"):
            client.update(task_id, at=FAR)


def test_an_edit_of_an_unknown_task_is_refused(dsn: str) -> None:
    with Client(dsn) as client, pytest.raises(TaskNotFound, match="task 99 does not exist"):
        client.update(99, priority=3)


def test_an_edit_of_nothing_is_refused(dsn: str) -> None:
    with Client(dsn) as client, pytest.raises(InvalidTask, match="nothing to change"):
        client.update(1)


def test_a_bad_edit_changes_nothing(dsn: str) -> None:
    with database(dsn) as db, Client(dsn) as client:
        task_id = client.schedule("mail", cron="0 8 * * *")
        before = task_row(db, task_id)
        with pytest.raises(InvalidCron):
            client.update(task_id, cron="0 8 * *", priority=9)
        assert task_row(db, task_id) == before


def test_a_schedule_that_ended_lives_again_when_its_end_is_moved(dsn: str) -> None:
    with database(dsn) as db, Client(dsn) as client:
        task_id = client.schedule("mail", cron="0 8 * * *", end=FAR)
        db.execute(
            "update pgsched.tasks set status = 'completed', next_run_at = null, completed_at = now() where id = %s",
            (task_id,),
        )
        client.update(task_id, end=FAR + timedelta(days=365))
        assert task_row(db, task_id)["status"] == "pending"


async def test_run_now_leaves_the_schedule_untouched_and_works_while_paused(dsn: str) -> None:
    with database(dsn) as db, Client(dsn) as client:
        task_id = insert_task(db, cron_expression="0 0 1 1 *", enabled=False)
        before = task_row(db, task_id)
        child = client.run_now(task_id)
        assert task_row(db, task_id) == before
        async with engine(dsn) as one:
            await one.work()
        row = task_row(db, child)
        assert (row["parent_id"], row["status"]) == (task_id, "completed")
        assert len(rows(db, "select from pgsched.executions")) == 1
