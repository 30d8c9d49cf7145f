"""Operators pause, resume and drain a real worker process, which obeys, tells so, and ends with code 0."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pgsched import Client, TransitionRefused, WorkerNotFound
from tests.support.processes import PgschedRunner
from tests.support.tables import add_worker, database, insert_task
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

APP = """
import pathlib, time
from pgsched import App

app = App(version="2030.1")

@app.task("quick")
def quick(): ...

@app.task("slow")
def slow(until: str):
    while not pathlib.Path(until).exists():
        time.sleep(0.02)
    return "done"
"""
Db = psycopg.Connection[dict[str, Any]]


@pytest.fixture
def app(tmp_path: Path) -> str:
    (tmp_path / "mod.py").write_text(APP)
    return "mod:app"


def status(db: Db, id: int) -> str:
    row = db.execute("select status from pgsched.tasks where id = %s", [id]).fetchone()
    assert row is not None
    return str(row["status"])


def states(client: Client) -> list[tuple[str | None, str | None]]:
    return [(one.state, one.request) for one in client.workers()]


def test_a_paused_worker_claims_nothing_until_it_is_resumed(run_pgsched: PgschedRunner, dsn: str, app: str) -> None:
    run_pgsched("worker", "--app", app, dsn=dsn).wait_for_output("worker_started")
    with database(dsn) as db, Client(dsn) as client:
        (one,) = client.workers()
        assert (one.state, one.code_version) == ("active", "2030.1")
        assert one.pgsched_version
        assert client.pause_worker(one.id, requested_by="ada") is True
        assert client.pause_worker(one.id) is False
        wait_until(lambda: states(client) == [("paused", "pause")], message="it tells that it is paused")
        (one,) = client.workers()
        assert one.requested_by == "ada"
        assert one.requested_at is not None
        id = insert_task(db, "quick")
        threading.Event().wait(1.5)  # a worker that was not paused had run it long since
        assert status(db, id) == "pending"
        assert client.resume_worker(one.id) is True
        wait_until(lambda: status(db, id) == "completed", message="it claims again")
        wait_until(lambda: states(client) == [("active", None)], message="it tells that it works")


def test_a_draining_worker_finishes_what_it_has_and_ends_with_code_0(
    run_pgsched: PgschedRunner, dsn: str, app: str, tmp_path: Path
) -> None:
    worker = run_pgsched("worker", "--app", app, "--shutdown-timeout", "0.1", dsn=dsn)
    worker.wait_for_output("worker_started")
    with database(dsn) as db, Client(dsn) as client:
        slow = insert_task(db, "slow", payload=f'{{"until": "{tmp_path}/go"}}')
        wait_until(lambda: client.running_tasks(), message="the slow task runs")
        (one,) = client.workers()
        assert [run.id for run in client.running_tasks(one.id)] == [slow]
        client.drain_worker(str(one.id))
        wait_until(lambda: states(client) == [("draining", "drain")], message="it tells that it drains")
        left = insert_task(db, "quick")
        threading.Event().wait(1.0)
        assert worker.returncode is None  # longer than the time of a shutdown
        (tmp_path / "go").touch()
        assert worker.wait(timeout=30) == 0
        assert (status(db, slow), status(db, left)) == ("completed", "pending")
        assert client.workers() == []


def test_a_parent_starts_no_other_process_for_one_that_was_drained(
    run_pgsched: PgschedRunner, dsn: str, app: str
) -> None:
    parent = run_pgsched("worker", "--app", app, "--processes", "2", dsn=dsn)
    with Client(dsn) as client:
        first, second = wait_until(
            lambda: found if len(found := client.workers()) == 2 else [], message="two processes work"
        )
        client.drain_worker(first.id)
        wait_until(lambda: [one.id for one in client.workers()] == [second.id], message="one has ended")
        threading.Event().wait(2.5)  # the parent looks every second
        assert [one.id for one in client.workers()] == [second.id]
        assert "process_died" not in parent.stderr
        client.drain_worker(second.id)
        assert parent.wait(timeout=30) == 0


def test_requests_to_no_worker_and_to_one_that_takes_none_are_refused(dsn: str) -> None:
    with database(dsn) as db, Client(dsn) as client:
        with pytest.raises(WorkerNotFound, match=r"^worker 00000000-0000-0000-0000-000000000001 is not registered$"):
            client.pause_worker("00000000-0000-0000-0000-000000000001")
        add_worker(db, queues=["default"], task_types=["quick"])
        (one,) = client.workers()
        with pytest.raises(TransitionRefused, match="takes no requests: it runs an older version of pgsched"):
            client.drain_worker(one.id)
