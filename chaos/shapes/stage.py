"""Where an odd shape takes place: a database, a worker, ordinary tasks, and somebody who measures."""

from __future__ import annotations

import contextlib
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg

from chaos.faults.trial import FAULTS_OF_PGSCHED
from chaos.shapes.beside import Ordinary, fared
from chaos.shapes.model import PAGE_SECONDS, OddShape, Row, Window
from chaos.shapes.processes import look, resident
from pgsched.db.migrations.runner import migrate
from tests.support.processes import PgschedProcess
from tests.support.servers import fast_folder
from tests.support.tables import database
from tests.support.waiting import wait_until

PER_SECOND = 40.0
"""Ordinary tasks."""
MB = 1024**2


class Stage:
    """What a shape may use while it runs."""

    def __init__(self, *, dsn: str, folder: Path, quiet_seconds: float) -> None:
        self.dsn, self.folder, self.quiet_seconds = dsn, folder, quiet_seconds
        self.environment: dict[str, str] = {}
        """Of the worker; for :meth:`OddShape.set_up` to change."""
        self.worker: PgschedProcess | None = None
        self.ordinary = Ordinary(dsn, per_second=PER_SECOND)
        self.worker_quiet = self.worker_peak = self.server_peak = 0
        self.longest_transaction = 0.0
        self.connections_peak = 0
        self.address = ""
        """Where the dashboard is served; empty until it is asked for."""
        self._web: PgschedProcess | None = None
        self._over = threading.Event()
        self._sampler = threading.Thread(target=self._sample, name="samples", daemon=True)

    # For shapes.

    def execute(self, statement: str, *values: object) -> list[dict[str, Any]]:
        """Run a statement in a session of its own; returns its rows."""
        with database(self.dsn) as connection:
            cursor = connection.execute(statement, values or None)
            return cursor.fetchall() if cursor.description else []

    def number(self, statement: str, *values: object) -> int:
        """Run a statement that returns one number."""
        return int(next(iter(self.execute(statement, *values)[0].values())))

    def wait_for(self, statement: str, *, timeout: float = 600) -> None:
        """Wait until a statement returns true; fail when the worker ends before."""

        def over() -> bool:
            assert self.worker is None or self.worker.returncode is None, f"the worker ended: {self.worker.output}"
            return bool(next(iter(self.execute(statement)[0].values())))

        wait_until(over, timeout=timeout, message=statement)

    def command(self, *arguments: str, module: str = "pgsched", timeout: float = 600) -> PgschedProcess:
        """Run a command to its end; fail if it fails."""
        process = PgschedProcess(
            arguments,
            folder=self.folder,
            name=f"command-{time.monotonic_ns()}",
            dsn=self.dsn,
            env=self.environment,
            module=module,
        )
        with process:
            code = process.wait(timeout=timeout)
        assert code == 0, f"{process} ended with {code}: {process.output[-2000:]}"
        return process

    def serve(self) -> str:
        """Serve the dashboard; returns its address."""
        if self._web is None:
            self._web = PgschedProcess(["web", "--port", "0"], folder=self.folder, name="web", dsn=self.dsn)
            self.address = self._web.wait_for_output(r"http://[0-9.]+:\d+").group()
        return self.address

    def page_seconds(self, path: str) -> float:
        """Seconds that a page takes, the better of two, because the first one compiles templates."""
        times = []
        with httpx.Client(base_url=self.serve(), timeout=120) as client:
            for _ in range(2):
                begun = time.perf_counter()
                answer = client.get(path)
                times.append(time.perf_counter() - begun)
                assert answer.status_code == 200, f"{path} answers {answer.status_code}: {answer.text[:300]}"
        return min(times)

    # For the run.

    def start(self, shape: OddShape) -> None:
        """Start the worker and the measuring."""
        self.worker = PgschedProcess(
            ["worker", "--app", shape.app, *shape.worker_options],
            folder=self.folder,
            name="worker",
            dsn=self.dsn,
            env=self.environment,
        )
        self.worker.wait_for_output("worker_started", timeout=120)
        self._sampler.start()

    def stop(self) -> Iterator[str]:
        """End the worker; yield what was wrong with it."""
        worker = self.worker
        if worker is None:
            return
        if worker.returncode is None:
            worker.signal(signal.SIGTERM)
        if code := worker.wait(timeout=60):
            yield f"the worker ended with {code}"
        for word in FAULTS_OF_PGSCHED:
            if word in worker.output:
                place = worker.output.index(word)
                yield f"the worker wrote {word!r}: {worker.output[place : place + 600]}"

    def close(self) -> None:
        """Leave no process behind."""
        self._over.set()
        if self._sampler.is_alive():
            self._sampler.join()
        for process in (self.worker, self._web):
            if process is not None:
                process.kill()

    def _sample(self) -> None:
        with database(self.dsn) as connection:
            while not self._over.wait(0.25):
                assert self.worker is not None
                self.worker_peak = max(self.worker_peak, resident(self.worker.pid))
                with contextlib.suppress(psycopg.OperationalError):
                    server = look(connection)
                    self.server_peak = max(self.server_peak, server.largest)
                    self.longest_transaction = max(self.longest_transaction, server.longest_transaction)
                    self.connections_peak = max(self.connections_peak, server.connections)


def run_shape(shape: OddShape, size: int, *, dsn: str, quiet_seconds: float = 5.0) -> Row:
    """Run a shape in an empty database."""
    migrate(dsn)
    with (
        tempfile.TemporaryDirectory(prefix="pgsched-shapes-", dir=fast_folder(), ignore_cleanup_errors=True) as folder,
        contextlib.closing(Stage(dsn=dsn, folder=Path(folder), quiet_seconds=quiet_seconds)) as stage,
    ):
        return _run(shape, size, stage)


def _run(shape: OddShape, size: int, stage: Stage) -> Row:
    shape.set_up(stage, size)
    stage.execute("analyze")
    stage.start(shape)
    assert stage.worker is not None
    with stage.ordinary as ordinary:
        moments = [*_stretch(stage.quiet_seconds)]
        memory = resident(stage.worker.pid)
        stage.longest_transaction, stage.worker_quiet, stage.worker_peak = 0.0, memory, memory
        begun = time.time()
        shape.run(stage, size)
        ended = time.time()
        peak, server, longest = stage.worker_peak, stage.server_peak, stage.longest_transaction
        after = [*_stretch(stage.quiet_seconds)]
    stage.wait_for(
        "select not exists (select from pgsched.tasks where task_type = 'ordinary' and status <> 'completed')"
    )
    windows = [fared(stage.dsn, *both) for both in (moments, (begun, ended), after)]
    shape.broken += _unusual(ordinary, windows)
    pages = {path: stage.page_seconds(path) for path in shape.paths(stage)}
    slow = {path: seconds for path, seconds in pages.items() if seconds > PAGE_SECONDS}
    shape.broken += [f"{path} takes {seconds:.1f} s" for path, seconds in slow.items()]
    shape.broken += [*shape.check(stage, size), *stage.stop()]
    return Row(
        shape=shape.name,
        size=size,
        full=size == shape.size,
        seconds=round(ended - begun, 2),
        worker_mb=round((peak - memory) / MB, 1),
        worker_before_mb=round(memory / MB, 1),
        server_mb=round(server / MB, 1),
        longest_transaction=round(longest, 2),
        page_ms=round(max(pages.values(), default=0.0) * 1000, 1),
        before=windows[0],
        during=windows[1],
        after=windows[2],
        told=shape.told,
        broken=shape.broken,
    )


def _stretch(seconds: float) -> Iterator[float]:
    yield time.time()
    time.sleep(seconds)
    yield time.time()


def _unusual(ordinary: Ordinary, windows: list[Window]) -> Iterator[str]:
    if ordinary.failure is not None:
        yield f"an ordinary task could not be inserted: {ordinary.failure}"
    if not all(window.rate for window in (windows[0], windows[2])):
        yield "no ordinary task ran before or after"
