"""One soak: a worker, the web server, visitors, and a row for each hour."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import psycopg

from chaos.faults.trial import FAULTS_OF_PGSCHED
from chaos.shapes.beside import Ordinary, fared
from chaos.shapes.processes import look, resident
from chaos.soak.hours import MB, Hour, sizes
from chaos.soak.load import PREPARE, Load
from chaos.soak.visitors import Visitors
from pgsched.db.migrations.runner import migrate
from tests.support.processes import PgschedProcess
from tests.support.tables import database

ORDINARY_PER_SECOND = 10.0
DONE_SECONDS = 120.0
WORKER = (
    "worker",
    "--app",
    "chaos.soak.app:app",
    "--concurrency",
    "50",
    "--queue",
    "ordinary",
    "--queue",
    "work",
    "--queue",
    "limited",
)


class Peaks:
    """The most memory of each process in an hour, sampled in a thread."""

    def __init__(self, dsn: str, worker: PgschedProcess, web: PgschedProcess) -> None:
        self._dsn, self._processes = dsn, {"worker": worker, "web": web}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self.most: dict[str, int] = {}

    def start(self) -> None:
        """Sample until the end."""
        self._thread.start()

    def end(self) -> None:
        """Sample no more."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def take(self) -> dict[str, int]:
        """The most since the last call, by name."""
        most, self.most = self.most, {}
        return most

    def _sample(self) -> None:
        with database(self._dsn) as connection:
            while not self._over.wait(0.5):
                server = look(connection)
                now = {name: resident(process.pid) for name, process in self._processes.items()}
                now |= {"server": server.largest, "connections": server.connections}
                for name, value in now.items():
                    self.most[name] = max(value, self.most.get(name, 0))


def soak(
    *,
    dsn: str,
    folder: Path,
    tasks: int,
    hours: int,
    tell: Callable[[Hour], None],
    environment: Mapping[str, str] | None = None,
) -> tuple[list[Hour], list[str]]:
    """Run it in an empty database; returns the hours, and what else was wrong."""
    migrate(dsn)
    with contextlib.ExitStack() as stack:
        connection = stack.enter_context(database(dsn))
        connection.execute(PREPARE)
        processes = []
        for name, arguments in (("worker", WORKER), ("web", ("web", "--port", "0"))):
            process = PgschedProcess(arguments, folder=folder, name=name, dsn=dsn, env=environment or {})
            processes.append(stack.enter_context(process))
        worker, web = processes
        address = web.wait_for_output(r"http://[0-9.]+:\d+").group()
        worker.wait_for_output("worker_started")
        peaks = Peaks(dsn, worker, web)
        stack.callback(peaks.end)
        visitors = stack.enter_context(Visitors(address))
        ordinary = stack.enter_context(Ordinary(dsn, per_second=ORDINARY_PER_SECOND))
        peaks.start()
        load, rows = Load(connection), []
        for row in _hours(dsn, load, peaks, visitors, tasks, hours):
            rows.append(row)
            tell(row)
        ordinary.end()
        wrong = [] if load.wait_until_done(timeout=DONE_SECONDS) else ["tasks are left at the end"]
        wrong += visitors.failures[:5]
        wrong += [] if ordinary.failure is None else [f"an ordinary task could not be inserted: {ordinary.failure}"]
        wrong += _unexpected(connection)
        wrong += _ended(worker)
    return rows, wrong


def _hours(dsn: str, load: Load, peaks: Peaks, visitors: Visitors, tasks: int, hours: int) -> Iterator[Hour]:
    with database(dsn) as connection:
        runs = sizes(connection)["runs"]
        for number in range(1, hours + 1):
            pages, events, begun = visitors.pages, visitors.events, time.time()
            peaks.take()
            load.insert_until(tasks * number // hours)
            ended, most, now = time.time(), peaks.take(), sizes(connection)
            window = fared(dsn, begun, ended)
            yield Hour(
                number=number,
                tasks=int(now["runs"] - runs),
                seconds=round(ended - begun, 1),
                p50=window.p50,
                p99=window.p99,
                worker_mb=round(most.get("worker", 0) / MB, 1),
                web_mb=round(most.get("web", 0) / MB, 1),
                server_mb=round(most.get("server", 0) / MB, 1),
                connections=most.get("connections", 0),
                tasks_mb=round(now["tasks"] / MB, 1),
                tasks_indexes_mb=round(now["tasks_indexes"] / MB, 1),
                executions_mb=round(now["executions"] / MB, 1),
                executions_indexes_mb=round(now["executions_indexes"] / MB, 1),
                dead_tuples=int(now["dead"]),
                pages=visitors.pages - pages,
                events=visitors.events - events,
            )
            runs = now["runs"]


def _unexpected(connection: psycopg.Connection[dict[str, object]]) -> Iterator[str]:
    dead = connection.execute(
        "select task_type, count(*) as n from pgsched.tasks where status in ('dead', 'cancelled') group by 1"
    ).fetchall()
    for row in dead:
        yield f"{row['n']} tasks of type {row['task_type']} are dead or cancelled"
    twice = connection.execute(
        "select count(*) as n from (select from pgsched.executions where status = 'completed'"
        " group by task_id, scheduled_for having count(*) > 1) e"
    ).fetchone()
    if twice is not None and twice["n"]:
        yield f"{twice['n']} ticks were completed twice"


def _ended(worker: PgschedProcess) -> Iterator[str]:
    worker.signal(signal.SIGTERM)
    if code := worker.wait(timeout=60):
        yield f"the worker ended with {code}"
    for word in FAULTS_OF_PGSCHED[1:]:  # a handler that fails is shown with its traceback
        if word in worker.output:
            yield f"the worker wrote {word!r}"
