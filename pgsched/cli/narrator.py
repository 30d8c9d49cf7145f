"""Narrates ``pgsched dev --demo``: what was scheduled, what to try, what has finished."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Self

from pgsched.cli.output import say
from pgsched.client.client import Client
from pgsched.demo import Scheduled, schedule_demonstration
from pgsched.domain.errors import PgschedError

_LOOK_EVERY = 0.1  # seconds

_TRY_IT = """
Schedule one yourself, from psql or from any program that can insert a row:

  {psql} \\
    -c "insert into pgsched.tasks (task_type, payload) values ('greet', '{{\\"name\\": \\"psql\\"}}')"

What happens now:
"""


class Narrator:
    """Schedules the demonstration on entry, and announces its first completed task."""

    def __init__(self, dsn: str, *, psql: str) -> None:
        self._client = Client(dsn)
        self._psql = psql
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        began = time.monotonic()
        tasks = schedule_demonstration(self._client)
        say("\nScheduled, each as one row of the table pgsched.tasks:\n")
        for task in tasks:
            say(f"  task {task.id:<4} {task.task_type:<7} {task.plan}")
        say(_TRY_IT.format(psql=self._psql))
        self._thread = threading.Thread(target=self._watch, args=(tasks[0], began), daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()
        self._client.close()

    def _watch(self, first: Scheduled, began: float) -> None:
        while not self._over.wait(_LOOK_EVERY):
            try:
                done = self._client.get(first.id).status == "completed"
            except PgschedError:  # the worker reports what is wrong with the database
                return
            if done:
                say(f"          first task done, {time.monotonic() - began:.1f} s after it was scheduled")
                return
