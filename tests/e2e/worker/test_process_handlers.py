"""Handlers in child processes under a real worker: its signals, its death, the processes that are left."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.support.processes import PgschedProcess, PgschedRunner
from tests.support.tables import database, insert_task, task_row
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

APP = """
import logging, os, time
from pathlib import Path
from pgsched import App, Context

app = App()


@app.task("gated", executor="process")
def gated(ctx: Context) -> list[int]:
    logging.getLogger("shop").info("begun")
    Path(f"pid-{ctx.id}-{ctx.attempt}").write_text(str(os.getpid()))
    while not Path("go").exists():
        time.sleep(0.005)
    return [os.getpid(), os.getppid()]


@app.task("stuck", executor="process")
def stuck(ctx: Context) -> None:
    Path(f"pid-{ctx.id}-{ctx.attempt}").write_text(str(os.getpid()))
    while True:
        try:
            time.sleep(60)
        except BaseException:
            pass


@app.task("frozen", executor="process")
def frozen(ctx: Context) -> None:
    Path(f"pid-{ctx.id}-{ctx.attempt}").write_text(str(os.getpid()))
    sum(range(10**13))
"""


@pytest.fixture(autouse=True)
def mod(tmp_path: Path) -> None:
    (tmp_path / "mod.py").write_text(APP)


def child_of(folder: Path, task_id: int, attempt: int = 1) -> int:
    """Wait until the handler runs; returns its process."""
    file = folder / f"pid-{task_id}-{attempt}"
    return int(wait_until(lambda: file.exists() and file.read_text(), message="the handler runs"))


def wait_for_end(pid: int) -> None:
    def gone() -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
        except (FileNotFoundError, ProcessLookupError):
            return True

    wait_until(gone, message=f"process {pid} has ended")


def start(run_pgsched: PgschedRunner, *options: str) -> PgschedProcess:
    worker = run_pgsched("worker", "--app", "mod:app", *options)
    worker.wait_for_output("worker_started")
    return worker


def status(db: psycopg.Connection[dict[str, Any]], task_id: int) -> str:
    return str(task_row(db, task_id)["status"])


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_worker_runs_a_handler_in_a_child_and_stops_with_it(
    run_pgsched: PgschedRunner, dsn: str, tmp_path: Path, processes: str
) -> None:
    worker = start(run_pgsched, "--processes", processes)
    with database(dsn) as db:
        task_id = insert_task(db, "gated")
        pid = child_of(tmp_path, task_id)
        worker.signal(signal.SIGTERM)
        worker.wait_for_output("worker_stopping")
        (tmp_path / "go").touch()
        assert worker.wait() == 0, "an orderly stop waits for the child"
        row = task_row(db, task_id)
        assert (row["status"], row["result"][0]) == ("completed", pid)
        assert (row["result"][1] == worker.pid) == (processes == "1")
        lines = db.execute("select message from pgsched.execution_logs").fetchall()
        assert [line["message"] for line in lines] == ["begun"]
    wait_for_end(pid)


def test_ctrl_c_does_not_kill_a_handler_in_its_task(run_pgsched: PgschedRunner, dsn: str, tmp_path: Path) -> None:
    worker = start(run_pgsched)
    with database(dsn) as db:
        task_id = insert_task(db, "gated")
        child_of(tmp_path, task_id)
        worker.signal(signal.SIGINT, group=True)
        worker.wait_for_output("worker_stopping")
        (tmp_path / "go").touch()
        assert worker.wait() == 0
        assert (status(db, task_id), task_row(db, task_id)["attempts"]) == ("completed", 1)


@pytest.mark.parametrize("task_type", ["gated", "stuck", "frozen"])
def test_children_end_with_a_worker_that_is_killed(
    run_pgsched: PgschedRunner, dsn: str, tmp_path: Path, task_type: str
) -> None:
    worker = start(run_pgsched)
    with database(dsn) as db:
        pid = child_of(tmp_path, insert_task(db, task_type))
    os.kill(worker.pid, signal.SIGKILL)
    wait_for_end(pid)


def test_what_a_child_does_not_end_in_time_is_given_back(run_pgsched: PgschedRunner, dsn: str, tmp_path: Path) -> None:
    worker = start(run_pgsched, "--shutdown-timeout", "0")
    with database(dsn) as db:
        task_id = insert_task(db, "stuck")
        pid = child_of(tmp_path, task_id)
        assert worker.stop() == 0
        wait_for_end(pid)
        row = task_row(db, task_id)
        assert (row["status"], row["attempts"], row["locked_by"]) == ("pending", 0, None)


def test_two_signals_end_the_worker_and_its_children_at_once(
    run_pgsched: PgschedRunner, dsn: str, tmp_path: Path
) -> None:
    worker = start(run_pgsched)
    with database(dsn) as db:
        pid = child_of(tmp_path, insert_task(db, "stuck"))
    worker.signal(signal.SIGTERM)
    worker.wait_for_output("worker_stopping")
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 1
    wait_for_end(pid)


def test_capture_logs_may_be_switched_off(run_pgsched: PgschedRunner, dsn: str, tmp_path: Path) -> None:
    (tmp_path / "go").touch()
    start(run_pgsched, "--capture-logs", "off")
    with database(dsn) as db:
        task_id = insert_task(db, "gated")
        wait_until(lambda: status(db, task_id) == "completed", message="it is completed")
        assert db.execute("select from pgsched.execution_logs").fetchall() == []
