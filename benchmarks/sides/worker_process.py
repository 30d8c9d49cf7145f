"""``pgsched worker`` as users start it, for sides that measure it from outside."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from pgsched.bench import workers

START_SECONDS = 60.0


@contextmanager
def worker(dsn: str, *, concurrency: int = 100, processes: int = 1) -> Iterator[subprocess.Popen[bytes]]:
    """Run a worker until the block ends; it is ready when the block begins."""
    started = workers.worker(dsn, app="benchmarks.handlers:app", concurrency=concurrency, processes=processes)
    with started as process:
        with psycopg.connect(dsn, autocommit=True) as connection:
            wait_until(connection, "select count(*) = %s from pgsched.workers", processes, longest=START_SECONDS)
        yield process


def wait_until(
    connection: psycopg.Connection[tuple[object, ...]], question: str, *parameters: object, longest: float = 900.0
) -> None:
    """Ask until the answer is true."""
    deadline = time.monotonic() + longest
    while True:
        row = connection.execute(question.encode(), parameters or None).fetchone()
        if row and row[0]:
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {longest:g} s: {question}")
        time.sleep(0.02)
