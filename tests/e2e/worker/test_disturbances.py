"""Whatever a handler does to its process, the worker goes on: it connects again, and ends when it is told to."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from psycopg.types.json import Jsonb

from tests.support.disturbing_app import FATAL, LOOP, PROCESS, SIGNALS
from tests.support.processes import CHECKOUT, PgschedProcess, PgschedRunner
from tests.support.tables import database, insert_task, task_row
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

Database = psycopg.Connection[dict[str, Any]]
ENDED = ("completed", "dead")
IN_THREADS = ("interrupted", "timers", "sys_exit", "keyboard_interrupt", "folder_removed", "no_environment")
"""Those that are done in a thread, too."""
AT_ONCE = 4
"""So many disturb one worker, one after the other."""


def some(kind: Mapping[str, object]) -> Iterable[list[str]]:
    """The names of a kind, for several workers."""
    names = list(kind)
    return [names[place : place + AT_ONCE] for place in range(0, len(names), AT_ONCE)]


def variables_of(dsn: str) -> dict[str, str]:
    """libpq's variables that lead where a DSN leads: a worker may have no other."""
    names = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "dbname": "PGDATABASE", "password": "PGPASSWORD"}
    return {names[name]: str(value) for name, value in conninfo_to_dict(dsn).items() if name in names}


class Disturbed:
    """A worker that is disturbed, and what it is asked to do meanwhile."""

    def __init__(self, process: PgschedProcess, db: Database) -> None:
        self.process = process
        self.db = db
        self._port = int(re.findall(r'"port": (\d+)', process.wait_for_output(r"^.*metrics_served.*$").group())[0])

    def disturb(self, how: str, task_type: str = "loop") -> None:
        """Run the handler that does it."""
        self.wait_for(insert_task(self.db, task_type, payload=Jsonb({"how": how}), max_attempts=1), how)

    def works(self, how: str) -> None:
        """It connects again, runs a task, and says that it is ready."""
        self.db.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where datname = current_database() and application_name like 'pgsched%'"
        )
        assert self.wait_for(insert_task(self.db, "ordinary", max_attempts=1), how) == "completed"
        wait_until(lambda: self._asks("readyz") == 200, message=f"it is ready after {how}")

    def _asks(self, what: str) -> int:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/{what}", timeout=60) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    def wait_for(self, task_id: int, how: str) -> str:
        """Wait until a task has ended; returns how."""

        def ended() -> str | None:
            assert self.process.returncode is None, f"{how}: {self.process.output}"
            status = task_row(self.db, task_id)["status"]
            return status if status in ENDED else None

        return wait_until(ended, timeout=30, message=f"after {how}: task {task_id} has ended")

    def stops(self, number: signal.Signals = signal.SIGTERM) -> None:
        """It ends in order, and leaves nothing undone."""
        self.process.signal(number)
        assert self.process.wait() == 0, self.process.output
        assert self.db.execute("select id from pgsched.tasks where status = 'running'").fetchall() == []
        assert self.db.execute("select id from pgsched.workers").fetchall() == []


@contextmanager
def disturbed(
    run_pgsched: PgschedRunner, dsn: str, *arguments: str, app: str = "tests.support.disturbing_app:app"
) -> Iterator[Disturbed]:
    """A worker of the disturbing application, which finds its database by the environment alone."""
    process = run_pgsched(
        *("worker", "--app", app, "--poll-interval", "0.2", "--shutdown-timeout", "2", "--metrics-port", "0"),
        *arguments,
        dsn="",
        env=variables_of(dsn),
    )
    process.wait_for_output("worker_started")
    with database(dsn) as db:
        yield Disturbed(process, db)


@pytest.mark.parametrize("names", [*some(PROCESS), *some(LOOP)], ids=lambda names: names[0])
def test_a_worker_goes_on_whatever_its_handlers_do_to_the_process(
    run_pgsched: PgschedRunner, dsn: str, names: list[str]
) -> None:
    with disturbed(run_pgsched, dsn) as worker:
        for how in names:
            worker.disturb(how)
            if how in IN_THREADS:
                worker.disturb(how, "thread")
            worker.works(how)
        state = insert_task(worker.db, "interpreter")
        worker.wait_for(state, "all of them")
        assert task_row(worker.db, state)["result"] == [True, True, True]
        child = insert_task(worker.db, "child")
        assert worker.wait_for(child, "all of them") == "completed", task_row(worker.db, child)["last_error"]
        worker.stops()


@pytest.mark.parametrize("how", SIGNALS)
def test_a_worker_ends_when_it_is_told_to_whatever_its_handlers_do_to_signals(
    run_pgsched: PgschedRunner, dsn: str, how: str
) -> None:
    with disturbed(run_pgsched, dsn) as worker:
        worker.disturb(how)
        if how in IN_THREADS:
            worker.disturb(how, "thread")
        worker.works(how)
        for task_type in ("child", "command"):
            task_id = insert_task(worker.db, task_type, max_attempts=1)
            assert worker.wait_for(task_id, how) == "completed", task_row(worker.db, task_id)["last_error"]
        worker.stops()


@pytest.mark.parametrize("processes", ["1", "2"])
def test_hanging_up_ends_a_worker_in_order(run_pgsched: PgschedRunner, dsn: str, processes: str) -> None:
    with disturbed(run_pgsched, dsn, "--processes", processes) as worker:
        slow = insert_task(worker.db, "slow", payload=Jsonb({"seconds": 0.5}))
        wait_until(lambda: task_row(worker.db, slow)["status"] == "running", message="it runs")
        worker.stops(signal.SIGHUP)
        assert task_row(worker.db, slow)["status"] == "completed"


def test_a_worker_that_was_started_by_nohup_does_not_hear_of_hanging_up(dsn: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            ["nohup", sys.executable, "-m", "pgsched", "worker", "--app", "tests.support.disturbing_app:app"],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(CHECKOUT), "PGSCHED_DSN": dsn},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
        )
    try:
        wait_until(lambda: "worker_started" in log.read_text(), timeout=30, message="it works")
        process.send_signal(signal.SIGHUP)
        with database(dsn) as db:
            task_id = insert_task(db, "ordinary")
            wait_until(lambda: task_row(db, task_id)["status"] == "completed", message="it goes on")
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert log.read_text().count("worker_stopping") == 1
    finally:
        process.kill()


APP = """
import _thread, os, signal, sys, threading
from pgsched import App

def raising(*_):
    raise SystemExit(3)

for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
    signal.signal(number, signal.SIG_IGN)
signal.signal(signal.SIGALRM, raising)
signal.setitimer(signal.ITIMER_REAL, 0.5, 0.01)
signal.setitimer(signal.ITIMER_PROF, 0.1)
threading.Thread(target=_thread.interrupt_main).start()
sys.setrecursionlimit(60)
os.closerange(0, 3)

app = App()

@app.task("ordinary")
async def ordinary(): ...

@app.task("child", executor="process")
def child(): ...
"""


@pytest.mark.parametrize("processes", [1, 2])
def test_a_worker_goes_on_whatever_its_application_does_to_the_process_when_it_is_imported(
    run_pgsched: PgschedRunner, dsn: str, tmp_path: Path, processes: int
) -> None:
    (tmp_path / "mod.py").write_text(APP)
    worker = run_pgsched("worker", "--app", "mod:app", "--processes", str(processes))
    with database(dsn) as db:
        wait_until(
            lambda: len(db.execute("select from pgsched.workers").fetchall()) == processes,
            timeout=30,
            message="all processes work",
        )
        for task_type in ("ordinary", "child"):
            task_id = insert_task(db, task_type)
            wait_until(lambda: task_row(db, task_id)["status"] == "completed", message=f"{task_type} ran")  # noqa: B023
        assert worker.stop() == 0
        assert db.execute("select id from pgsched.workers").fetchall() == []


def test_a_second_signal_ends_a_worker_whose_loop_is_blocked_at_once(run_pgsched: PgschedRunner, dsn: str) -> None:
    with disturbed(run_pgsched, dsn) as worker:
        task_id = insert_task(worker.db, "loop", payload=Jsonb({"how": "loop_blocked_for_ever"}))
        wait_until(lambda: task_row(worker.db, task_id)["status"] == "running", message="it runs")

        def ended() -> bool:
            if worker.process.returncode is None:
                worker.process.signal(signal.SIGINT)  # two that come at the same moment count as one
            return worker.process.returncode is not None

        wait_until(ended, message="it ends")
        assert worker.process.returncode == 1


@pytest.mark.parametrize("how", FATAL)
def test_a_process_that_a_handler_ends_costs_an_attempt_and_is_replaced(
    run_pgsched: PgschedRunner, dsn: str, how: str
) -> None:
    arguments = ("--processes", "2", "--lease", "1", "--concurrency", "1")
    with disturbed(run_pgsched, dsn, *arguments) as worker:
        fatal = insert_task(worker.db, "loop", payload=Jsonb({"how": how}), max_attempts=1)
        worker.process.wait_for_output("process_died")
        assert worker.wait_for(insert_task(worker.db, "ordinary"), how) == "completed"
        assert worker.wait_for(fatal, how) == "dead"
        lost = worker.db.execute("select status from pgsched.executions where task_id = %s", (fatal,)).fetchall()
        assert [one["status"] for one in lost] == ["lost"]
        worker.process.stop()


def test_handlers_that_log_are_heard_after_another_threw_the_root_handlers_away(
    run_pgsched: PgschedRunner, dsn: str
) -> None:
    def heard() -> bool:
        worker.wait_for(insert_task(worker.db, "captured"), "no_log_handlers")
        return bool(worker.db.execute("select from pgsched.execution_logs where message = 'of the handler'").fetchall())

    with disturbed(run_pgsched, dsn) as worker:
        worker.disturb("no_log_handlers")
        wait_until(heard, message="a line is kept")
        worker.stops()
