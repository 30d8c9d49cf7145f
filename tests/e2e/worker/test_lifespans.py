"""Lifespans in real processes: SIGTERM closes them, one that fails is one line and exit code 1."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.processes import PgschedRunner
from tests.support.tables import database, insert_task

APP = """
import time
from contextlib import asynccontextmanager
from pgsched import App, Context

app = App()

@app.lifespan
@asynccontextmanager
async def clients():
    {opening}
    print("opened", flush=True)
    yield {{"number": 7}}
    print("closed", flush=True)

@app.task("work", executor={executor!r})
def work(ctx: Context):
    print("begun", flush=True)
    time.sleep(0.5)
    print("ended", flush=True)
    return ctx.state["number"]
"""


def write(folder: Path, *, opening: str = "pass", executor: str = "auto") -> None:
    (folder / "tasks.py").write_text(APP.format(opening=opening, executor=executor))


def column(dsn: str, name: str) -> Any:
    with database(dsn) as db:
        (row,) = db.execute(f"select {name} from pgsched.tasks").fetchall()
    return row[name]


def test_sigterm_lets_handlers_end_and_then_closes(run_pgsched: PgschedRunner, dsn: str) -> None:
    write(run_pgsched.folder)
    with database(dsn) as db:
        insert_task(db, task_type="work")
    worker = run_pgsched("worker", "--app", "tasks:app")
    worker.wait_for_output("begun")
    assert worker.stop() == 0
    assert worker.stdout.split() == ["opened", "begun", "ended", "closed"]
    assert column(dsn, "result") == 7


def test_an_error_at_opening_is_one_line_and_exit_code_1(run_pgsched: PgschedRunner) -> None:
    write(run_pgsched.folder, opening='raise OSError("no route to host")')
    worker = run_pgsched("worker", "--app", "tasks:app")
    assert worker.wait() == 1
    (line,) = worker.stderr.splitlines()
    assert "the lifespan tasks.clients could not be opened: OSError: no route to host (" in line


def test_child_processes_open_none_and_say_so(run_pgsched: PgschedRunner, dsn: str) -> None:
    write(run_pgsched.folder, executor="process")
    with database(dsn) as db:
        insert_task(db, task_type="work", max_attempts=1)
    worker = run_pgsched("worker", "--app", "tasks:app")
    worker.wait_for_output("ended")
    assert worker.stop() == 0
    assert worker.stdout.split().count("opened") == 1
    assert "child processes have none" in column(dsn, "last_error")
