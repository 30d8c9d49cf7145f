"""Child processes that are killed in the middle of their work: one failed attempt each, and the worker lives."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.support.processes import PgschedRunner
from tests.support.tables import database
from tests.support.waiting import wait_until

APP = """
import os, time
from pathlib import Path
from pgsched import App, Context

app = App()


@app.task("work", executor="process", max_attempts=1000, backoff="fixed", backoff_delay=0.01)
def work(ctx: Context) -> str:
    with Path("began").open("a") as file:
        file.write(f"{ctx.id} {ctx.attempt} {os.getpid()}\\n")
    time.sleep(0.05)
    return f"attempt {ctx.attempt}"
"""


@pytest.mark.parametrize(("tasks", "kills"), [(40, 5), pytest.param(120, 15, marks=pytest.mark.long)])
def test_every_kill_of_a_child_is_one_failed_attempt_and_the_worker_lives(
    run_pgsched: PgschedRunner, dsn: str, tmp_path: Path, tasks: int, kills: int
) -> None:
    (tmp_path / "mod.py").write_text(APP)
    rng = random.Random(7)
    with database(dsn) as db:
        db.execute(
            """
            insert into pgsched.tasks (task_type, max_attempts, backoff, backoff_delay)
            select 'work', 1000, 'fixed', interval '10 milliseconds' from generate_series(1, %s)
            """,
            (tasks,),
        )
        worker = run_pgsched("worker", "--app", "mod:app", "--concurrency", "3")
        killed = set[int]()
        for number in range(kills):
            wait_until(lambda n=number: _done(db) >= n * tasks // (kills + 5), message="tasks go on")
            pids = wait_until(lambda: _children(worker.pid) - killed, message="there is a child to kill")
            victim = rng.choice(sorted(pids))
            killed.add(victim)
            os.kill(victim, signal.SIGKILL)
        wait_until(lambda: _done(db) == tasks, message="every task is completed")
        runs = db.execute("select status, error from pgsched.executions where status <> 'completed'").fetchall()
        # A child that was idle, or just being started, when it was struck fails nothing or one attempt; none fails two.
        assert 1 <= len(runs) <= kills, "no kill hit a running task: the test shows nothing"
        for run in runs:
            assert run["status"] == "failed"
            assert "killed by SIGKILL" in run["error"]
        attempts = db.execute("select sum(attempts) as n from pgsched.tasks").fetchone()
        assert attempts is not None
        assert attempts["n"] == tasks + len(runs)
        assert worker.returncode is None
        assert worker.stop() == 0
        assert _children(worker.pid) == set()


def _children(parent: int) -> set[int]:
    """The living children of a worker that run handlers: the spawned ones, not the tracker of resources."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
            if int(fields[1]) == parent and fields[0] != "Z" and b"spawn_main" in (folder / "cmdline").read_bytes():
                found.add(int(folder.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def _done(db: psycopg.Connection[dict[str, Any]]) -> int:
    row = db.execute("select count(*) as n from pgsched.tasks where status = 'completed'").fetchone()
    assert row is not None
    return int(row["n"])
