"""Ordinary tasks at a steady rate, and how they fared in a stretch of time."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

import psycopg

from chaos.shapes.model import Window
from tests.support.tables import database

INSERT = "insert into pgsched.tasks (task_type, queue) values ('ordinary', 'ordinary')"
FARED = """
    select count(*) as n,
      percentile_cont(0.5) within group (order by waited) as p50,
      percentile_cont(0.99) within group (order by waited) as p99
    from (
      select extract(epoch from e.started_at - e.scheduled_for) * 1000 as waited
      from pgsched.executions e
      where e.task_type = 'ordinary' and e.status = 'completed'
        and e.scheduled_for >= to_timestamp(%s) and e.scheduled_for < to_timestamp(%s)) w
"""


class Ordinary:
    """Inserts ordinary tasks, each in a transaction of its own, until the block ends."""

    def __init__(self, dsn: str, *, per_second: float) -> None:
        self._dsn, self._pause = dsn, 1 / per_second
        self._over = threading.Event()
        self._goes_on = threading.Event()
        self._goes_on.set()
        self._thread = threading.Thread(target=self._feed, name="ordinary tasks", daemon=True)
        self.inserted = 0
        self.failure: BaseException | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def end(self) -> None:
        """Insert no more."""
        self._over.set()
        self._goes_on.set()
        self._thread.join()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Insert none until the block ends."""
        self._goes_on.clear()
        try:
            yield
        finally:
            self._goes_on.set()

    def _feed(self) -> None:
        due = time.monotonic()
        try:
            with psycopg.connect(self._dsn, autocommit=True) as connection:
                while not self._over.wait(max(due - time.monotonic(), 0)):
                    if not self._goes_on.is_set():
                        self._goes_on.wait()
                        due = time.monotonic()
                    connection.execute(INSERT)
                    self.inserted += 1
                    due += self._pause
        except psycopg.Error as error:
            self.failure = error


def fared(dsn: str, begun: float, ended: float) -> Window:
    """The ordinary tasks that were inserted between two moments (``time.time()``)."""
    with database(dsn) as connection:
        row: dict[str, Any] = connection.execute(FARED, (begun, ended)).fetchone() or {}
    if not row.get("n"):
        return Window()
    return Window(rate=round(row["n"] / (ended - begun), 1), p50=round(row["p50"], 1), p99=round(row["p99"], 1))
