"""pgsched: the most memory that a worker takes while it works off a backlog of large tasks."""

from __future__ import annotations

import time

import psycopg

from benchmarks.sides.measure import arguments, report
from benchmarks.sides.worker_process import wait_until, worker
from pgsched.bench.workers import peak_megabytes


def run(dsn: str, tasks: int) -> dict[str, float]:
    """One round: the whole backlog is worked off."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("checkpoint")
        begun = time.perf_counter()
        with worker(dsn) as process:
            wait_until(
                connection,
                "select not exists (select from pgsched.tasks where queue = 'default' and priority = 5 and enabled"
                " and next_run_at is not null)",
            )
            seconds = time.perf_counter() - begun
            peak = peak_megabytes(process.pid)
        row = connection.execute("select count(*) from pgsched.executions where status = 'completed'").fetchone()
    if row != (tasks,):
        raise RuntimeError(f"{tasks} tasks, but (completed,) is {row}")
    if peak is None:
        raise RuntimeError("the kernel does not say how much memory the worker took")
    return {"peak_mb": peak, "per_second": tasks / seconds}


if __name__ == "__main__":
    _given = arguments()
    report(run(_given["dsn"], _given["tasks"]))
