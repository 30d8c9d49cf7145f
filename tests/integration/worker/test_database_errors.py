"""A database that goes away and comes back: nothing is lost, nothing is written twice."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
import pytest

from pgsched.db.connection import connect_async
from pgsched.db.error_mapping import RefusedByDatabase
from pgsched.db.session import Session
from pgsched.domain.errors import DatabaseUnavailable
from pgsched.worker.claimer import Claimer
from tests.support.engine import engine, handlers, rows, running_worker
from tests.support.tables import database, insert_task
from tests.support.waiting import wait_until_async

OURS = "application_name like 'pgsched%%' and datname = current_database() and pid <> pg_backend_pid()"


def cut_off(db: psycopg.Connection[dict[str, Any]], which: str = OURS) -> int:
    """Terminate connections as a failover would; returns how many."""
    return len(rows(db, f"select pg_terminate_backend(pid) from pg_stat_activity where {which}".replace("%%", "%")))


async def test_when_every_connection_is_cut_again_and_again_all_tasks_complete_once(dsn: str) -> None:
    async def handler() -> None:
        await asyncio.sleep(0)

    with database(dsn) as db:
        # Rows whose claim was cut off before its answer came wait for their lease.
        async with running_worker(dsn, handlers(mail=handler), poll_interval=0.2, lease=1) as worker:
            await wait_until_async(lambda: worker.counts.listener_connected, message="it works")
            for _ in range(4):
                db.execute(
                    "insert into pgsched.tasks (task_type, max_attempts) "
                    "select 'mail', 100 from generate_series(1, 500)"
                )
                await wait_until_async(lambda: cut_off(db), message="there is a connection to cut")
            await wait_until_async(
                lambda: not rows(db, "select from pgsched.tasks where status <> 'completed' limit 1"),
                message="every task is completed",
            )
            assert worker.counts.database_errors > 0
        assert rows(
            db,
            "select count(*) as runs, count(distinct task_id) as tasks from pgsched.executions "
            "where status = 'completed'",
        ) == [{"runs": 2000, "tasks": 2000}]
        assert rows(db, "select max(execution_count) as most from pgsched.tasks") == [{"most": 1}]


async def test_rows_run_when_the_connection_breaks_right_after_their_claim(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = 0

    async def break_once(self: Claimer, now: float, *, came: bool) -> None:
        nonlocal broken
        if came and not broken:
            broken += 1
            raise DatabaseUnavailable("the connection broke after the claim")

    monkeypatch.setattr(Claimer, "_stay_awake", break_once)
    with database(dsn) as db:
        db.execute("insert into pgsched.tasks (task_type) select 'mail' from generate_series(1, 20)")
        async with running_worker(dsn, concurrency=20, poll_interval=3600):
            await wait_until_async(
                lambda: not rows(db, "select from pgsched.tasks where status <> 'completed' limit 1"),
                message="every task is completed",
            )
    assert broken == 1


async def test_handlers_run_on_while_the_connections_are_cut(dsn: str) -> None:
    began, go_on = asyncio.Event(), asyncio.Event()

    async def handler() -> str:
        began.set()
        await go_on.wait()
        return "uninterrupted"

    with database(dsn) as db:
        insert_task(db)
        async with running_worker(dsn, handlers(mail=handler)):
            await began.wait()
            assert cut_off(db)
            go_on.set()
            await wait_until_async(
                lambda: rows(db, "select from pgsched.tasks where status = 'completed'"), message="it completes"
            )
        assert rows(db, "select result, attempts, fencing_token from pgsched.tasks") == [
            {"result": "uninterrupted", "attempts": 1, "fencing_token": 1}
        ]


async def test_a_worker_that_cannot_reach_the_database_at_the_start_says_so(dsn: str) -> None:
    with pytest.raises(DatabaseUnavailable, match="nowhere"):
        async with running_worker("host=/nowhere dbname=x") as worker:
            await wait_until_async(lambda: worker.counts.database_errors, timeout=0.2)


async def test_the_heartbeat_comes_back_on_a_new_connection(dsn: str) -> None:
    with database(dsn) as db:
        async with engine(dsn) as one:
            one.worker.heartbeat.run_once()
            assert cut_off(db, "application_name = 'pgsched heartbeat' and datname = current_database()")
            with pytest.raises((psycopg.Error, DatabaseUnavailable)):
                one.worker.heartbeat.run_once()
            one.worker.heartbeat.run_once()


# One session.


async def test_a_session_heals_after_its_connection_was_cut(dsn: str) -> None:
    session = Session(dsn=dsn, name="pgsched test")
    with database(dsn) as db:
        await session.execute("select 1", {})
        assert cut_off(db, "application_name = 'pgsched test'")
        with pytest.raises(DatabaseUnavailable):
            await session.execute("select 1", {})
        assert not session.connected
        cursor = await session.execute("select 2", {})
        assert await cursor.fetchone() == (2,)
    await session.close()


async def test_a_server_that_does_not_answer_is_given_up(dsn: str) -> None:
    session = Session(dsn=dsn, name="pgsched test", timeout=0.05)
    with pytest.raises(DatabaseUnavailable, match=r"no answer within 0\.05 s"):
        await session.execute("select pg_sleep(60)", {})
    assert not session.connected


async def test_values_that_the_server_refuses_are_told_from_a_server_that_is_away(dsn: str) -> None:
    session = Session(dsn=dsn, name="pgsched test")
    with pytest.raises(RefusedByDatabase):
        await session.execute("select %(value)s::text::jsonb", {"value": '"\\u0000"'})
    await session.close()


async def test_several_statements_are_written_together_or_not_at_all(dsn: str) -> None:
    session = Session(dsn=dsn, name="pgsched test")
    insert = "insert into pgsched.queues (name) values (%(name)s)"
    with database(dsn) as db, pytest.raises(RefusedByDatabase):
        await session.execute_all([(insert, {"name": "a"}), (insert, {"name": ""})])
    with database(dsn) as db:
        assert rows(db, "select name from pgsched.queues") == []
    await session.close()


async def test_a_password_is_in_no_error() -> None:
    with pytest.raises(DatabaseUnavailable) as failed:
        await connect_async("postgresql://me:topsecret@localhost:1/x")
    assert "topsecret" not in str(failed.value)
    assert "localhost:1/x" in str(failed.value)
