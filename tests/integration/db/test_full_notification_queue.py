"""The server's notification queue, full because somebody listens and stays in a transaction: nobody fails for it."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import errors

from pgsched import Client
from pgsched.db.embedded.server import EmbeddedServer
from pgsched.db.migrations.runner import migrate
from pgsched.db.sql_files import load_statement, statement_names
from tests.support import servers
from tests.support.tables import add_worker, database, insert_task, set_running

DB = psycopg.Connection[dict[str, Any]]
PAGES = 64
"""The least that a server takes: 512 kB. Without the setting, which came with PostgreSQL 17, it is 8 GB."""


@pytest.fixture(scope="module")
def small_queue() -> Iterator[str]:
    """A server whose notification queue is soon full."""
    folder = Path(tempfile.mkdtemp(prefix="pgsched-notify-", dir=servers.fast_folder()))
    try:
        with EmbeddedServer.start(folder, options=servers.FAST | {"max_notify_queue_pages": str(PAGES)}) as server:
            migrate(server.dsn)
            yield server.dsn
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def full_queue(dsn: str) -> Iterator[None]:
    """Let somebody listen in a transaction of theirs, and notify until nothing more fits."""
    with psycopg.connect(dsn, autocommit=True) as listener, database(dsn) as db:
        listener.execute("listen x")
        listener.execute("begin")
        listener.execute("select 1")
        with suppress(errors.ProgramLimitExceeded):
            while True:
                db.execute("select pg_notify('x', repeat('y', 7000))")
        yield


def sleeping_worker(db: DB) -> None:
    add_worker(db, queues=["default"], task_types=["mail"])
    db.execute("update pgsched.workers set sleeping_until = now() + interval '1 hour'")


def test_inserts_edits_cancels_and_requests_go_on_beside_a_full_queue(small_queue: str) -> None:
    with database(small_queue) as db, Client(small_queue) as client:
        db.execute("insert into pgsched.queues (name, events) values ('default', true)")
        sleeping_worker(db)
        running = insert_task(db)
        set_running(db, running)
        with full_queue(small_queue):
            later = client.schedule("mail", {}, delay="1h")
            client.schedule("mail", {})
            db.execute("update pgsched.tasks set next_run_at = now() where id = %s", (later,))
            client.cancel(running)
            db.execute("update pgsched.queues set paused = true")
            db.execute("update pgsched.queues set paused = false")
            db.execute("select pgsched.pause_worker(id) from pgsched.workers where state is not null")
        db.execute("delete from pgsched.workers")
        db.execute("delete from pgsched.queues")


def test_without_the_guard_an_insert_fails_at_its_commit(small_queue: str) -> None:
    with psycopg.connect(small_queue) as owner, database(small_queue) as db:
        sleeping_worker(db)
        guard = owner.execute("select pg_get_functiondef('pgsched.notify'::regproc)").fetchone()
        assert guard is not None
        db.execute(re.sub(r"(?s)if pg_catalog.*?then(.*?)end if;", r"\1", guard[0]))
        try:
            with full_queue(small_queue), pytest.raises(errors.ProgramLimitExceeded, match="NOTIFY queue"):
                insert_task(db)
        finally:
            db.execute(guard[0])
            db.execute("delete from pgsched.workers")


def test_a_queue_that_has_room_takes_notifications(db: DB, dsn: str) -> None:
    sleeping_worker(db)
    with psycopg.connect(dsn, autocommit=True) as listener:
        listener.execute("listen pgsched")
        insert_task(db)
        (notification,) = listener.notifies(timeout=10, stop_after=1)
        assert notification.payload == "default"


def test_nothing_notifies_past_the_guard(db: DB) -> None:
    past = db.execute(
        "select proname from pg_proc where pronamespace = 'pgsched'::regnamespace and prosrc ~* '\\mpg_notify\\M'"
    ).fetchall()
    assert [row["proname"] for row in past] == ["notify"]
    assert [name for name in statement_names() if re.search(r"\bpg_notify\b", load_statement(name))] == []
