"""What happens in a phase: each a context that lasts as long as its phase."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import psycopg

from benchmarks.yardstick.replicas import Replicas
from benchmarks.yardstick.scenarios import (
    BACKEND_KILL_SECONDS,
    HIGH_LOAD,
    IDLE_CONNECTIONS,
    KILLS_A_PHASE,
    READERS,
    Kind,
)
from benchmarks.yardstick.server import DATABASE, Server

TERMINATE = """
select pg_terminate_backend(pid) from pg_stat_activity
where datname = %s and pid <> pg_backend_pid() and state in ('active', 'idle in transaction')
"""
RESTART_SECONDS = 1.0


class Stage:
    """The cell that a phase disturbs."""

    def __init__(self, *, server: Server, dsn: str, replicas: Replicas, rate_file: Path, rate: int, table: str) -> None:
        self._server = server
        self._dsn = dsn
        self._replicas = replicas
        self._rate_file = rate_file
        self._rate = rate
        self._table = table

    def phase(self, kind: Kind, seconds: float) -> AbstractContextManager[None]:
        """Return the context of a phase of this kind."""
        match kind:
            case "kill-worker":
                return self._at_once(lambda: self._replicas.kill(0))
            case "start-worker":
                return self._at_once(lambda: self._replicas.start(0, wait=False))
            case "postgres-restart":
                return self._beside(lambda over: self._restart(over, seconds / 2))
            case "repeated-kill":
                return self._beside(lambda over: self._kill_again(over, seconds / KILLS_A_PHASE))
            case "pg-backend-kill":
                return self._beside(self._terminate)
            case "pool-exhaustion":
                return self._connections()
            case "idle-in-tx":
                return self._transaction()
            case "high-load":
                return self._high_load()
            case "active-readers":
                return self._readers()
            case _:
                return contextlib.nullcontext()

    def set_rate(self, rate: float) -> None:
        """Tell the producers."""
        self._rate_file.write_text(str(rate), encoding="utf-8")

    @contextlib.contextmanager
    def _at_once(self, act: Callable[[], None]) -> Iterator[None]:
        act()
        yield

    @contextlib.contextmanager
    def _beside(self, *acts: Callable[[threading.Event], None]) -> Iterator[None]:
        """Run acts in threads, until the phase is over; an error of one ends the cell."""
        over, errors = threading.Event(), list[BaseException]()

        def run(act: Callable[[threading.Event], None]) -> None:
            try:
                act(over)
            except BaseException as error:  # noqa: BLE001 - raised below
                errors.append(error)

        threads = [threading.Thread(target=run, args=(act,), daemon=True) for act in acts]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            over.set()
            for thread in threads:
                thread.join(60)
        if errors:
            raise errors[0]

    def _restart(self, over: threading.Event, seconds: float) -> None:
        self._server.stop()
        over.wait(seconds)
        self._server.start()

    def _kill_again(self, over: threading.Event, period: float) -> None:
        while not over.wait(period - RESTART_SECONDS):
            self._replicas.kill(0)
            over.wait(RESTART_SECONDS)
            self._replicas.start(0, wait=False)

    def _terminate(self, over: threading.Event) -> None:
        with psycopg.connect(self._server.dsn, autocommit=True) as connection:
            while not over.wait(BACKEND_KILL_SECONDS):
                connection.execute(TERMINATE, (DATABASE,))

    @contextlib.contextmanager
    def _connections(self) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            for _ in range(IDLE_CONNECTIONS):
                try:
                    stack.enter_context(contextlib.closing(psycopg.connect(self._dsn, autocommit=True)))
                except psycopg.OperationalError:
                    break  # as many as the server accepts
            yield

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        with psycopg.connect(self._dsn) as connection:
            connection.execute("select txid_current()")
            yield
            connection.rollback()

    @contextlib.contextmanager
    def _high_load(self) -> Iterator[None]:
        self.set_rate(self._rate * HIGH_LOAD)
        try:
            yield
        finally:
            self.set_rate(self._rate)

    def _readers(self) -> AbstractContextManager[None]:
        def read(over: threading.Event) -> None:
            with psycopg.connect(self._dsn) as connection:
                connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
                while not over.wait(0.1):
                    connection.execute(f"select count(*) from {self._table}".encode()).fetchall()
                connection.rollback()

        return self._beside(*[read] * READERS)
