"""A commit that no synchronous standby has yet, and that can be seen because its wait was cancelled."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from uuid import UUID

import psycopg
import pytest

from chaos.faults.own_server import OwnServer
from pgsched.db.adapt import BigInts
from pgsched.db.error_mapping import SilentDatabase
from pgsched.db.migrations.runner import migrate
from pgsched.db.session import Session
from pgsched.db.sql_files import load_statement
from tests.support.waiting import wait_until

WORKER = UUID(int=7)
FOUND = {"find_recorded": [(1, 1)], "find_locked_ends": [(1, False, True)]}
INSERT = """
insert into pgsched.executions (
  task_id, task_type, queue, attempt, fencing_token, worker_id, status, started_at, finished_at)
values (1, 'steady', 'default', 1, 1, %s, 'completed', now(), now())
"""


@pytest.fixture
def lonely() -> Iterator[psycopg.Connection]:
    """A server that waits for a standby which is not there; this connection does not."""
    with OwnServer() as server:
        migrate(server.dsn)
        with psycopg.connect(server.dsn, autocommit=True) as connection:
            connection.execute("set synchronous_commit = local")
            _wait_for_standby(connection, "absent")
            yield connection


def _wait_for_standby(connection: psycopg.Connection, names: str) -> None:
    connection.execute(f"alter system set synchronous_standby_names = '{names}'")
    connection.execute("select pg_reload_conf()")


async def test_an_outcome_that_no_standby_has_is_not_taken_for_recorded(lonely: psycopg.Connection) -> None:
    """Without the message in these statements it is, and a failover then takes it away."""
    dsn = f"host={lonely.info.host} port={lonely.info.port} user={lonely.info.user} dbname={lonely.info.dbname}"
    with psycopg.connect(dsn, autocommit=True) as writer:
        thread = threading.Thread(target=writer.execute, args=(INSERT, (WORKER,)))
        thread.start()
        waits = "select pg_cancel_backend(pid) from pg_stat_activity where pid = %s and wait_event = 'SyncRep'"
        pid = writer.info.backend_pid
        wait_until(lambda: lonely.execute(waits, (pid,)).fetchone(), message="the commit waits for a standby")
        thread.join()
    assert lonely.execute("select count(*) from pgsched.executions").fetchone() == (1,), "it can be seen"
    session = Session(dsn=dsn, name="pgsched finish", timeout=0.5)
    given = {"worker": WORKER, "ids": BigInts([1]), "tokens": BigInts([1])}
    try:
        for query in FOUND:
            with pytest.raises(SilentDatabase):
                await session.fetch(load_statement(query), **given)
        _wait_for_standby(lonely, "")
        for query, rows in FOUND.items():
            assert await session.fetch(load_statement(query), **given) == rows
    finally:
        await session.close()
