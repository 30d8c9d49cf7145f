"""Worker processes of :mod:`chaos.chaos_app`, the tasks they run and the files they talk through."""

from __future__ import annotations

import signal
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, LiteralString
from uuid import UUID

import psycopg
from prometheus_client.parser import text_string_to_metric_families
from psycopg.types.json import Jsonb

from chaos.chaos_app import BEGUN, NOTED
from tests.support.processes import PgschedProcess, PgschedRunner
from tests.support.waiting import wait_until

APP = "chaos.chaos_app:app"

Connection = psycopg.Connection[dict[str, Any]]


class Fleet:
    """Some workers with the same options."""

    def __init__(self, run: PgschedRunner, *options: str) -> None:
        self._run = run
        self._options = options
        self.workers: list[PgschedProcess] = []

    def start(self, count: int = 1) -> PgschedProcess:
        """Start a number of workers and return the last one."""
        for _ in range(count):
            self.workers.append(self._run("worker", "--app", APP, *self._options))
        return self.workers[-1]

    def kill(self, number: int) -> None:
        """SIGKILL one worker."""
        self.workers[number].kill()

    def restart(self, number: int) -> None:
        """Replace a worker that was killed."""
        self.workers[number] = self._run("worker", "--app", APP, *self._options)

    def wait_until_started(self) -> None:
        """Wait until every worker claims."""
        for worker in self.workers:
            worker.wait_for_output("worker_started")

    def stop(self) -> list[int]:
        """SIGTERM every worker; returns their exit codes. One that has not started yet would die of the signal."""
        self.wait_until_started()
        for worker in self.workers:
            worker.signal(signal.SIGTERM)
        return [worker.wait() for worker in self.workers]


def insert(connection: Connection, count: int, *task_types: str, **payload: Any) -> list[int]:
    """Insert tasks, of the types in turn, in one statement; returns their ids once the server acknowledged it."""
    rows = connection.execute(
        """
        insert into pgsched.tasks (task_type, payload)
        select (%(types)s::text[])[1 + number %% cardinality(%(types)s::text[])],
          case when %(numbered)s then jsonb_build_object('number', number) else %(payload)s end
        from generate_series(0, %(count)s - 1) as number
        returning id
        """,
        {
            "types": list(task_types),
            "numbered": task_types[0].startswith("brief"),
            "payload": Jsonb(payload),
            "count": count,
        },
    ).fetchall()
    return [row["id"] for row in rows]


def completed(connection: Connection) -> int:
    """How many tasks are completed."""
    return _count(connection, "select count(*) as n from pgsched.tasks where status = 'completed'")


def unfinished(connection: Connection) -> int:
    """How many tasks are not."""
    return _count(connection, "select count(*) as n from pgsched.tasks where next_run_at is not null")


def lost_attempts(connection: Connection, folder: Path) -> int:
    """How many attempts of noted types have begun and left no outcome, while nothing runs.

    The history does not know them all: what was locked when its worker died, or leased in advance, leaves no trace.
    """
    ended = "select count(*) as n from pgsched.executions where status <> 'lost' and task_type = any(%s)"
    row = connection.execute(ended, (list(NOTED),)).fetchone()
    assert row is not None
    return (folder / BEGUN).stat().st_size - int(row["n"])


def holds_tasks(connection: Connection, pid: int) -> bool:
    """Whether the worker with this process id has a lease on a task, or had when it was killed."""
    row = connection.execute(
        """
        select exists (
          select from pgsched.tasks t join pgsched.workers w on w.id = t.locked_by
          where w.pid = %s and t.status = 'running') as held
        """,
        (pid,),
    ).fetchone()
    assert row is not None
    return bool(row["held"])


def _count(connection: Connection, statement: LiteralString) -> int:
    row = connection.execute(statement).fetchone()
    assert row is not None
    return int(row["n"])


def workers(connection: Connection) -> dict[UUID, int]:
    """The registered workers: their ids and pids."""
    return {row["id"]: row["pid"] for row in connection.execute("select id, pid from pgsched.workers")}


def wait_for_completed(connection: Connection, count: int, *, timeout: float = 120) -> None:
    """Wait until this many tasks are completed."""
    wait_until(lambda: completed(connection) >= count, timeout=timeout, message=f"{count} tasks are completed")


def wait_until_done(connection: Connection, *, timeout: float = 120) -> None:
    """Wait until no task is left to run."""
    wait_until(lambda: not unfinished(connection), timeout=timeout, message="no task is left to run")


def wait_for_handlers(folder: Path, ids: list[int], *, attempt: int = 1) -> None:
    """Wait until the handlers of these tasks run."""
    missing = {f"started-{task_id}-{attempt}" for task_id in ids}
    wait_until(
        lambda: missing <= {path.name for path in folder.glob("started-*")},
        message=f"attempt {attempt} of {len(ids)} tasks has begun",
    )


def open_gate(folder: Path, *, attempt: int | None = None) -> None:
    """Let gated handlers end: every attempt, or only those with this number."""
    (folder / ("go" if attempt is None else f"go-{attempt}")).touch()


class Scrape:
    """``--metrics-port 0`` of one process."""

    def __init__(self, process: PgschedProcess) -> None:
        found = process.wait_for_output(r'"port": (\d+)')
        self._url = f"http://127.0.0.1:{found[1]}"

    def get(self, path: str) -> tuple[int, str]:
        """The status and the text of a page."""
        try:
            with urllib.request.urlopen(self._url + path, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def total(self, name: str) -> float:
        """The sum of all samples with this name."""
        status, text = self.get("/metrics")
        assert status == 200, text
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name
        )
