"""``python -m benchmarks.schedules``: how late tasks start, and how long a minute takes that 20,000 schedules share.

Runs one real worker process on an embedded server; figures come from the history, not from the worker.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

import psycopg

from benchmarks.databases import SETTINGS
from pgsched.db.embedded.server import EmbeddedServer
from pgsched.db.migrations.runner import migrate

HANDLERS = """
from pgsched import App

app = App()


@app.task("noop")
async def noop() -> None:
    pass
"""
EDGES = (1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 100)
"""Of the histogram, in ms."""


@contextmanager
def worker(dsn: str, folder: Path) -> Iterator[None]:
    """One worker process with the default settings but for 100 slots."""
    (folder / "bench_handlers.py").write_text(HANDLERS, encoding="utf-8")
    command = [sys.executable, "-m", "pgsched", "--log-level", "warning", "worker", "--app", "bench_handlers:app"]
    paths = [str(folder), str(Path.cwd())]
    process = subprocess.Popen(
        [*command, "--concurrency", "100"],
        env={**os.environ, "PGSCHED_DSN": dsn, "PYTHONPATH": os.pathsep.join(paths)},
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait(60)


def punctuality(connection: psycopg.Connection[tuple[float]], tasks: int, seconds: int) -> None:
    """Spread one-time tasks evenly over some time, and show how late they started."""
    connection.execute(
        "insert into pgsched.tasks (task_type, scheduled_for)"
        " select 'noop', now() + interval '2 seconds' + n * %s * interval '1 second' / %s"
        " from generate_series(1, %s) n",
        (seconds, tasks, tasks),
    )
    _wait(connection, "select count(*) from pgsched.executions", tasks, seconds + 30)
    late = [
        row[0]
        for row in connection.execute(
            "select extract(epoch from started_at - scheduled_for)::float8 * 1000 from pgsched.executions order by 1"
        )
    ]
    print(f"{tasks} one-time tasks over {seconds} s, started late by (ms):")
    print("  " + ", ".join(f"p{share:g} {_at(late, share):.1f}" for share in (50, 90, 99, 99.9)), f"max {late[-1]:.1f}")
    low = 0.0
    for edge in (*EDGES, float("inf")):
        count = sum(low <= one < edge for one in late)
        print(f"  {low:>5g} to {edge:>4g}  {count:>6}  {'#' * round(60 * count / len(late))}")
        low = edge


def thunder(connection: psycopg.Connection[tuple[float]], schedules: int) -> None:
    """Let many schedules be due in the same minute, and show how long it takes until all have run and are booked."""
    connection.execute("truncate pgsched.tasks, pgsched.executions")
    begun = monotonic()
    connection.execute(
        "insert into pgsched.tasks (task_type, cron_expression, timezone)"
        " select 'noop', '* * * * *', (array['UTC', 'Europe/Berlin', 'America/New_York', 'Asia/Kolkata'])[1 + n %% 4]"
        " from generate_series(1, %s) n",
        (schedules,),
    )
    print(f"{schedules} new schedules inserted, each with its first tick, in {monotonic() - begun:.1f} s")
    _wait(
        connection,
        "select count(*) from pgsched.tasks where execution_count >= 1 and next_run_at > now() and status = 'pending'",
        schedules,
        150,
    )
    row = connection.execute(
        "select extract(epoch from max(e.finished_at) - min(e.scheduled_for))::float8,"
        " extract(epoch from max(t.updated_at) - min(e.scheduled_for))::float8,"
        " percentile_cont(0.5) within group (order by extract(epoch from e.started_at - e.scheduled_for)::float8)"
        " from pgsched.executions e join pgsched.tasks t on t.id = e.task_id where t.execution_count = 1"
    ).fetchone()
    if row is not None:
        ran, booked, middle = row  # type: ignore[misc]
        print(f"{schedules} schedules of one minute, seconds after the tick:")
        print(f"  half had started {middle:.2f}, the last ended {ran:.2f}, all were booked again {booked:.2f}")


def _wait(connection: psycopg.Connection[tuple[float]], count: str, wanted: int, longest: float) -> float:
    begun = monotonic()
    while True:
        row = connection.execute(count).fetchone()
        if row and row[0] >= wanted:
            return monotonic() - begun
        if monotonic() - begun > longest:
            raise TimeoutError(f"{row and row[0]} of {wanted} after {longest} s")
        sleep(0.25)


def _at(ordered: list[float], share: float) -> float:
    return ordered[min(int(len(ordered) * share / 100), len(ordered) - 1)]


def main() -> int:
    """Run both and print what they show."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.schedules", description=__doc__)
    parser.add_argument("--tasks", type=int, default=1000, help="one-time tasks (default: 1000)")
    parser.add_argument("--seconds", type=int, default=60, help="spread over so long (default: 60)")
    parser.add_argument("--schedules", type=int, default=20_000, help="in the same minute (default: 20,000)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pgsched-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        with EmbeddedServer.start(folder / "server", options=SETTINGS) as server:
            migrate(server.dsn)
            with psycopg.connect(server.dsn, autocommit=True) as connection, worker(server.dsn, folder):
                punctuality(connection, options.tasks, options.seconds)
                thunder(connection, options.schedules)
    return 0


if __name__ == "__main__":
    sys.exit(main())
