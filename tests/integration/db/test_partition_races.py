"""Partitions of the history are made while workers write it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import psycopg

from tests.support.tables import database
from tests.support.waiting import wait_until

SLOW_INSERT = """
insert into pgsched.executions (task_id, task_type, queue, attempt, fencing_token, status, started_at, finished_at)
select 1, 'mail', 'default', 1, 1, 'completed', now(), now() from (select pg_sleep(0.6)) slept
"""
INSERTING = "select from pg_stat_activity where state = 'active' and query ~ 'pg_sleep.0.6' and pid <> pg_backend_pid()"


def test_a_partition_for_today_refuses_no_row_that_is_being_written(dsn: str) -> None:
    """So it is after a clock that leapt ahead, and after a week in which no worker ran."""
    today = f"executions_{datetime.now(UTC):%Y%m%d}"

    def insert() -> None:
        with psycopg.connect(dsn) as writer:
            writer.execute(SLOW_INSERT)

    def made(db: psycopg.Connection[dict[str, Any]]) -> int:
        row = db.execute("select pgsched.make_partitions(0) as n").fetchone()
        assert row is not None
        return int(row["n"])

    with database(dsn) as db, ThreadPoolExecutor() as pool:
        db.execute(f"drop table pgsched.{today}".encode())
        writing = pool.submit(insert)
        wait_until(lambda: db.execute(INSERTING).fetchall(), message="a row is being written")
        assert made(db) == 0, "it waits for nobody: the next time"
        writing.result()
        assert made(db) == 1
        assert db.execute(f"select count(*) as n from pgsched.{today}".encode()).fetchone() == {"n": 1}
        row = db.execute("select current_setting('lock_timeout') as waits").fetchone()
        assert row == {"waits": "0"}
