"""What SQL can do that other faces can: pause a queue, ask how a task is, wait for its end."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import psycopg
import pytest

from tests.support.engine import engine, handlers, make_due, running_worker
from tests.support.tables import database, insert_task


def call(dsn: str, statement: str, *values: Any) -> Any:
    with psycopg.connect(dsn, autocommit=True) as connection:
        row = connection.execute(statement.encode(), values).fetchone()
        assert row is not None
        return row[0]


async def answer(ctx_free: int = 0) -> dict[str, int]:
    return {"answer": 42}


async def fail() -> None:
    raise ValueError("no luck")


def test_a_queue_is_paused_and_resumed_once(dsn: str) -> None:
    assert call(dsn, "select pgsched.pause_queue('mail')") is True
    assert call(dsn, "select pgsched.pause_queue('mail')") is False
    with database(dsn) as db:
        (row,) = db.execute("select paused from pgsched.queues where name = 'mail'")
        assert row["paused"]
    assert call(dsn, "select pgsched.resume_queue('mail')") is True
    assert call(dsn, "select pgsched.resume_queue('mail')") is False
    assert call(dsn, "select pgsched.resume_queue('nowhere')") is False
    call(dsn, "select pgsched.set_queue_events('mail', true)::text")
    assert call(dsn, "select events from pgsched.queues where name = 'mail'") is True


async def test_sql_waits_for_the_result_of_a_task(dsn: str) -> None:
    async with running_worker(dsn, handlers(mail=answer, fail=fail)):
        with database(dsn) as db:
            task_id = insert_task(db)
            dies = insert_task(db, "fail", max_attempts=1)
        assert await asyncio.to_thread(call, dsn, "select pgsched.wait(%s)", task_id) == {"answer": 42}
        with pytest.raises(psycopg.Error, match=rf"task {dies} is dead: ValueError: no luck") as caught:
            await asyncio.to_thread(call, dsn, "select pgsched.wait(%s)", dies)
        assert caught.value.sqlstate == "PG002"
    status = call(dsn, "select pgsched.status(%s)", task_id)
    assert (status["status"], status["attempts"], status["result"]) == ("completed", 1, {"answer": 42})
    assert call(dsn, "select pgsched.status(%s)", dies)["last_error"].startswith("ValueError: no luck")


async def test_of_a_schedule_it_waits_for_the_next_tick(dsn: str) -> None:
    with database(dsn) as db:
        task_id = insert_task(db, repeat_interval="1 hour")
        make_due(db, task_id)
        async with engine(dsn, handlers(mail=answer)) as one:
            await one.work()  # a tick that was completed before
            waiting = asyncio.create_task(asyncio.to_thread(call, dsn, "select pgsched.wait(%s, '1 minute')", task_id))
            await asyncio.to_thread(_until_waiting, dsn)
            assert not waiting.done()
            make_due(db, task_id)
            await one.work()
            assert await waiting == {"answer": 42}


def _until_waiting(dsn: str) -> None:
    over = threading.Event()
    while not call(
        dsn, "select count(*) from pg_stat_activity where query like 'select pgsched.wait%%' and wait_event = 'PgSleep'"
    ):
        over.wait(0.01)


async def test_a_task_of_retention_0_is_waited_for_and_asked_for_when_it_has_left(dsn: str) -> None:
    call(dsn, "insert into pgsched.queues (name, retention) values ('default', '0') returning name")
    async with running_worker(dsn, handlers(mail=answer)):
        with database(dsn) as db:
            task_id = insert_task(db)
        assert await asyncio.to_thread(call, dsn, "select pgsched.wait(%s)", task_id) == {"answer": 42}
    assert call(dsn, "select pgsched.status(%s)", task_id)["status"] == "completed"


def test_what_cannot_be_waited_for_says_why(dsn: str) -> None:
    with database(dsn) as db:
        task_id = insert_task(db)
    with pytest.raises(psycopg.Error, match=f"task {task_id} has not ended after 00:00:00.05") as caught:
        call(dsn, "select pgsched.wait(%s, '50 ms')", task_id)
    assert caught.value.sqlstate == "PG003"
    for function in ("status", "wait"):
        with pytest.raises(psycopg.errors.NoDataFound, match="task 4711 does not exist"):
            call(dsn, f"select pgsched.{function}(4711)")
    with psycopg.connect(dsn) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="that is repeatable read"):
            connection.execute("select pgsched.wait(%s)", (task_id,))
