"""Processes whose database says nothing any more, without closing anything: they end when they are told to."""

from __future__ import annotations

import re
import signal
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

from chaos.fleet import APP, Connection, Fleet, insert, open_gate, wait_for_handlers, wait_until_done
from chaos.invariants import assert_all_completed
from chaos.proxy import Proxy
from tests.support.processes import PgschedRunner

SHUTDOWN_TIMEOUT = 0.5
LEAVE_SECONDS = 15
"""So much longer than its shutdown timeout a worker may take, as docs/operations.md says."""


@pytest.fixture
def proxy(dsn: str) -> Iterator[Proxy]:
    if not str(conninfo_to_dict(dsn).get("host")).startswith("/"):
        pytest.skip("the proxy needs a server on a unix socket")
    with Proxy(dsn) as proxy:
        yield proxy


def test_worker_ends_in_time_and_loses_nothing(
    proxy: Proxy, run_pgsched: PgschedRunner, books: Connection, tmp_path: Path
) -> None:
    options = ("--lease", "4", "--poll-interval", "0.2", "--shutdown-timeout", str(SHUTDOWN_TIMEOUT))
    worker = run_pgsched("worker", "--app", APP, *options, dsn=proxy.dsn)
    worker.wait_for_output("worker_started")
    books.execute("create table accounts (id int primary key, balance int)")
    books.execute("create table transfers (task_id bigint, amount int)")
    books.execute("insert into accounts values (1, 0), (2, 0)")
    acknowledged = insert(books, 4, "gated", "gated_plain")
    wait_for_handlers(tmp_path, acknowledged)
    # Some of these wait for an answer on a connection of their own when the silence falls.
    transfers = insert(books, 60, "transfer", "transfer_plain", source=1, target=2, amount=1)
    proxy.tell("silent")
    worker.signal(signal.SIGTERM)
    assert worker.wait(timeout=SHUTDOWN_TIMEOUT + LEAVE_SECONDS) == 0, worker.output
    assert "Traceback" not in worker.output
    proxy.tell("pass")
    open_gate(tmp_path)
    fleet = Fleet(run_pgsched, *options)
    fleet.start()
    wait_until_done(books)
    assert_all_completed(books, acknowledged + transfers)
    assert books.execute("select sum(amount) as n from transfers").fetchall() == [{"n": 60}]
    assert fleet.stop() == [0]


def test_worker_that_is_told_to_stop_while_it_starts_ends_in_time(proxy: Proxy, run_pgsched: PgschedRunner) -> None:
    worker = run_pgsched("worker", "--app", APP, dsn=proxy.dsn, env={"PGSCHED_SHUTDOWN_TIMEOUT": "0.5"})
    proxy.tell("silent")  # wherever it is by now: before its first connection, or in the middle of its first words
    worker.signal(signal.SIGTERM)
    assert worker.wait(timeout=SHUTDOWN_TIMEOUT + LEAVE_SECONDS) in (0, -signal.SIGTERM), worker.output


def test_web_face_ends_in_time_with_a_request_under_way(proxy: Proxy, run_pgsched: PgschedRunner) -> None:
    web = run_pgsched("web", "--port", "0", dsn=proxy.dsn)
    found = web.wait_for_output(r"http://127\.0\.0\.1:\d+")
    url = f"{found[0]}/api/v1/tasks"
    with urllib.request.urlopen(url, timeout=10) as answer:
        assert answer.status == 200
    proxy.tell("silent")

    def ask() -> None:
        with suppress(OSError, urllib.error.URLError):
            urllib.request.urlopen(url, timeout=30).read()

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(0.5)
    assert asking.is_alive(), "the request was answered: there is no silence"
    web.signal(signal.SIGTERM)
    assert web.wait(timeout=LEAVE_SECONDS) == 0, web.output
    asking.join(5)


def test_command_says_in_one_line_that_nobody_answers(proxy: Proxy, run_pgsched: PgschedRunner) -> None:
    proxy.tell("silent")
    command = run_pgsched("task", "list", dsn=proxy.dsn + "&connect_timeout=2")
    assert command.wait(timeout=LEAVE_SECONDS) == 1
    assert re.fullmatch(r"pgsched: cannot connect to PostgreSQL at 127\.0\.0\.1:\d+/\S+: .*timeout.*\n", command.output)
