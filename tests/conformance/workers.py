"""Worker processes of either language, with the same handlers and the same options."""

from __future__ import annotations

import ast
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import UUID

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.types.json import Jsonb

from tests.support.processes import CHECKOUT
from tests.support.tables import database
from tests.support.waiting import wait_until

LANGUAGES = ("python", "typescript")
LEASE = 1.0
HERE = Path(__file__).parent
CLIENT = CHECKOUT / "clients" / "typescript"
Row = dict[str, Any]

TABLES = """
create table effects (
  id bigint generated always as identity, task_id bigint, attempt integer, token bigint, what text,
  at timestamptz default clock_timestamp());
create table gates (task_id bigint)
"""


def url_of(dsn: str) -> str:
    """A DSN as every driver reads it: user, host (perhaps a folder), port and database in their places."""
    parts = conninfo_to_dict(dsn)
    given = {name: quote(str(parts.get(name) or ""), safe="") for name in ("user", "password", "host", "dbname")}
    place = f"{given['host']}:{parts.get('port') or 5432}/{given['dbname']}"
    return f"postgresql://{given['user']}:{given['password']}@{place}"


class WorkerProcess:
    """One worker, in a process group of its own, with its output in a file."""

    def __init__(self, command: Sequence[str], folder: Path, name: str, env: dict[str, str]) -> None:
        self.log = folder / f"{name}.log"
        with self.log.open("wb") as output:
            self._process = subprocess.Popen(
                command,
                cwd=folder,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.pid = self._process.pid

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_for(self, pattern: str) -> None:
        """Wait until the output matches; fail at once when the process ends before."""

        def found() -> bool:
            ended = self._process.poll() is not None
            match = re.search(pattern, self.output)
            assert match or not ended, f"the worker ended before it wrote {pattern!r}:\n{self.output}"
            return match is not None

        wait_until(found, message=f"a worker writes {pattern!r}")

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    def wait(self) -> int:
        """The exit code, minus the signal for a killed process."""
        return self._process.wait(60)

    def stop(self) -> int:
        """Ask it to end, and return its exit code."""
        self.signal(signal.SIGTERM)
        return self.wait()


class Stage:
    """A database, and workers of one language on it."""

    def __init__(self, dsn: str, folder: Path, language: str, connection: psycopg.Connection[Row]) -> None:
        self.dsn = dsn
        self.language = language
        self.db = connection
        self._folder = folder
        self._workers: list[WorkerProcess] = []
        connection.execute(TABLES)

    def start(
        self,
        *,
        lease: float = LEASE,
        concurrency: int = 10,
        queues: Sequence[str] = ("default",),
        shutdown_timeout: float = 30,
    ) -> WorkerProcess:
        """Start a worker and wait until it works."""
        worker = self.launch(lease=lease, concurrency=concurrency, queues=queues, shutdown_timeout=shutdown_timeout)
        worker.wait_for("worker_started")
        return worker

    def launch(
        self,
        *,
        lease: float = LEASE,
        concurrency: int = 10,
        queues: Sequence[str] = ("default",),
        shutdown_timeout: float = 30,
    ) -> WorkerProcess:
        """Start a worker, which may refuse to."""
        env = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        if self.language == "python":
            options = [f"--lease={lease:g}", f"--concurrency={concurrency}", f"--shutdown-timeout={shutdown_timeout:g}"]
            options += [f"--queue={queue}" for queue in queues]
            command = [
                sys.executable,
                "-m",
                "pgsched",
                "worker",
                "--app",
                "handlers:app",
                "--poll-interval=0.2",
                *options,
            ]
            env |= {"PGSCHED_DSN": self.dsn, "PYTHONPATH": os.pathsep.join([str(CHECKOUT), str(HERE)])}
        else:
            parts = conninfo_to_dict(self.dsn)
            connection = {
                "host": parts["host"],
                "port": int(parts.get("port") or 5432),
                "user": parts.get("user"),
                "password": parts.get("password"),
                "database": parts["dbname"],
            }
            given = {
                "connection": {name: value for name, value in connection.items() if value is not None},
                "lease": lease,
                "concurrency": concurrency,
                "queues": list(queues),
                "shutdownTimeout": shutdown_timeout,
                "pollInterval": 0.2,
            }
            command = ["node", str(HERE / "handlers.mjs"), json.dumps(given)]
        worker = WorkerProcess(command, self._folder, f"worker-{len(self._workers) + 1}", env)
        self._workers.append(worker)
        return worker

    def kill_all(self) -> None:
        for worker in self._workers:
            worker.kill()

    # Tasks.

    def insert(self, task_type: str, payload: Row | None = None, **columns: Any) -> int:
        """Schedule a task by SQL; returns its id."""
        given = {"task_type": task_type, "payload": Jsonb(payload or {})} | columns
        arguments = ", ".join(f"{name} => %({name})s" for name in given)
        row = self.db.execute(f"select pgsched.schedule({arguments}) as id", given).fetchone()
        assert row is not None
        return int(row["id"])

    def open_gate(self, task_id: int) -> None:
        """Let handlers of a task that are held go on."""
        self.db.execute("insert into gates values (%s)", (task_id,))

    def open_gate_elsewhere(self, task_id: int) -> None:
        """In a transaction of its own."""
        with database(self.dsn) as connection:
            connection.execute("insert into gates values (%s)", (task_id,))

    def insert_elsewhere(self, task_type: str) -> int:
        """In a transaction of its own."""
        with database(self.dsn) as connection:
            row = connection.execute("select pgsched.schedule(%s) as id", (task_type,)).fetchone()
        assert row is not None
        return int(row["id"])

    def task(self, task_id: int) -> Row:
        row = self.db.execute("select * from pgsched.tasks where id = %s", (task_id,)).fetchone()
        assert row is not None
        return row

    def ended(self, task_id: int, status: str = "completed") -> Row:
        """Wait until a task has ended; returns its row."""
        over = ("completed", "dead", "cancelled")
        wait_until(lambda: self.task(task_id)["status"] in over, message=f"task {task_id} ends")
        row = self.task(task_id)
        assert row["status"] == status, row
        return row

    def effects(self, task_id: int, what: str | None = None) -> list[Row]:
        """What the handlers of a task have done, in order."""
        rows = self.db.execute("select * from effects where task_id = %s order by id", (task_id,)).fetchall()
        return [row for row in rows if what is None or row["what"] == what]

    def wait_for_effect(self, task_id: int, what: str, *, number: int = 1) -> None:
        wait_until(lambda: len(self.effects(task_id, what)) >= number, message=f"task {task_id} has {what}")

    def wait_for_lease(self, task_id: int) -> UUID:
        """Wait until a worker has a lease on a task: a Python worker takes its time. Returns the worker."""
        wait_until(lambda: self.task(task_id)["locked_by"], message=f"task {task_id} is leased")
        worker = self.task(task_id)["locked_by"]
        assert isinstance(worker, UUID)
        return worker

    def history(self, task_id: int) -> list[Row]:
        """The attempts at a task, in the order of their claims."""
        statement = "select * from pgsched.executions where task_id = %s order by fencing_token, finished_at"
        return self.db.execute(statement, (task_id,)).fetchall()

    def statuses(self, task_id: int) -> list[tuple[str, int]]:
        """The status and the number of each of them."""
        return [(row["status"], row["attempt"]) for row in self.history(task_id)]


@contextlib.contextmanager
def stage(dsn: str, folder: Path, language: str) -> Iterator[Stage]:
    """A stage whose workers are killed at the end."""
    with database(dsn) as connection:
        made = Stage(dsn, folder, language, connection)
        try:
            yield made
        finally:
            made.kill_all()


def cases() -> dict[str, str]:
    """What each test of test_workers.py shows, by its name: the first line of its docstring."""
    module = ast.parse((HERE / "test_workers.py").read_text(encoding="utf-8"))
    tests = [one for one in module.body if isinstance(one, ast.FunctionDef) and one.name.startswith("test_")]
    return {one.name: (ast.get_docstring(one) or "").split("\n")[0] for one in tests}


def conformance_table(results: Mapping[tuple[str, str], str]) -> str:
    """The table of docs/worker_protocol.md, from the outcomes by test and language."""
    lines = ["| what every worker does | Python | TypeScript |", "|---|---|---|"]
    for name, meaning in cases().items():
        cells = [results.get((name, language), "not run") for language in LANGUAGES]
        lines.append(f"| {' | '.join([meaning, *cells])} |")
    return "\n".join(lines)
