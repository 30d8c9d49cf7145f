"""Rows of psql, Node and Python start at once where notifications come through, and by the poll where they do not."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from pgsched.client.async_client import AsyncClient
from pgsched.client.client import Client
from pgsched.db.embedded.server import packaged_binaries
from tests.e2e.relay import relay_to
from tests.support.processes import PgschedRunner
from tests.support.tables import database, task_row
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

APP = """
from pgsched.app import App

app = App()


@app.task("greet")
async def greet(name: str) -> str:
    return f"Hello, {name}!"
"""
STATEMENT = "insert into pgsched.tasks (task_type, payload) values ('greet', '{\"name\": \"%s\"}') returning id"
Program = Callable[[str], int]
Connection = psycopg.Connection[dict[str, Any]]


def by_psql(dsn: str) -> int:
    psql = [str(packaged_binaries() / "psql"), "--no-psqlrc", "--quiet", "--tuples-only", "--no-align"]
    return int(_output([*psql, "--command", STATEMENT % "psql", dsn], os.environ))


def by_plain_psycopg(dsn: str) -> int:
    with psycopg.connect(dsn) as connection:
        (inserted,) = connection.execute(STATEMENT % "psycopg").fetchall()  # type: ignore[arg-type]
    return int(inserted[0])


def by_client(dsn: str) -> int:
    with Client(dsn) as client:
        return client.schedule("greet", {"name": "Client"})


def by_async_client(dsn: str) -> int:
    async def schedule() -> int:
        async with AsyncClient(dsn) as client:
            return await client.schedule("greet", {"name": "AsyncClient"})

    return asyncio.run(schedule())


@pytest.fixture(scope="session")
def node_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Node program, with its driver installed beside it."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed, so no Node program can insert a row")
    folder = tmp_path_factory.mktemp("node")
    for file in (Path(__file__).parent / "node").iterdir():
        shutil.copy(file, folder)
    install = ["npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts"]
    done = subprocess.run(install, cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"npm could not install the driver:\n{done.stderr}"
    return folder / "insert.js"


def by_node(program: Path, dsn: str) -> int:
    given = {name: str(value) for name, value in conninfo_to_dict(dsn).items() if value is not None}
    variables = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "password": "PGPASSWORD"}
    named = {variable: given[name] for name, variable in variables.items() if name in given}
    environment = os.environ | named | {"PGDATABASE": given["dbname"]}
    return int(_output(["node", str(program)], environment))


@pytest.fixture
def books(dsn: str, tmp_path: Path) -> Iterator[Connection]:
    (tmp_path / "mod.py").write_text(APP)
    with database(dsn) as connection:
        yield connection


PROGRAMS: tuple[Program, ...] = (by_psql, by_plain_psycopg, by_client, by_async_client)


def test_rows_start_without_waiting_for_the_poll(run_pgsched: PgschedRunner, dsn: str, books: Connection) -> None:
    run_pgsched("worker", "--app", "mod:app", "--poll-interval", "60")
    for program in PROGRAMS:
        assert_wakes_the_worker(books, program, dsn)


def test_row_of_node_starts_without_waiting_for_the_poll(
    run_pgsched: PgschedRunner, dsn: str, books: Connection, node_program: Path
) -> None:
    run_pgsched("worker", "--app", "mod:app", "--poll-interval", "60")
    assert_wakes_the_worker(books, partial(by_node, node_program), dsn)


def test_rows_start_with_the_next_poll_where_no_notification_comes(
    run_pgsched: PgschedRunner, dsn: str, books: Connection
) -> None:
    with relay_to(dsn) as relay:
        worker = run_pgsched("worker", "--app", "mod:app", "--poll-interval", "0.5", dsn=relay.dsn)
        for program in PROGRAMS:
            kept_back = relay.kept_back
            assert_wakes_the_worker(books, program, dsn)
            assert relay.kept_back > kept_back, "nobody notified the worker: the test shows nothing"
        assert worker.stop() == 0, worker.output


def assert_wakes_the_worker(books: Connection, insert: Program, dsn: str) -> None:
    wait_until_fast_asleep(books)
    task_id = insert(dsn)
    wait_until(lambda: task_row(books, task_id)["status"] == "completed", message=f"the row of {insert} is run")
    assert_ran_once(books, task_id)


def wait_until_fast_asleep(books: Connection) -> None:
    """Wait until the worker has slept for two seconds: its second looks are over, the next is that of the poll."""
    asleep = """
        select from pgsched.workers
        where sleeping_until between now() + interval '1 second' and now() + interval '58 seconds'
    """
    wait_until(lambda: books.execute(asleep).rowcount == 1, message="the worker sleeps")


def assert_ran_once(books: Connection, task_id: int) -> None:
    of_task = "select * from pgsched.executions where task_id = %s"
    (execution,) = books.execute(of_task, (task_id,)).fetchall()
    assert (execution["task_id"], execution["status"], execution["attempt"]) == (task_id, "completed", 1)
    row = task_row(books, task_id)
    assert row["result"] == f"Hello, {row['payload']['name']}!"


def _output(command: list[str], environment: Any) -> str:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout
