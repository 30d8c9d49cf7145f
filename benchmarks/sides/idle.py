"""pgsched: how many statements a worker sends that has nothing to do, heartbeat included."""

from __future__ import annotations

import time
from pathlib import Path

import psycopg

from benchmarks.sides.measure import arguments, report
from benchmarks.sides.worker_process import worker

SETTLE_SECONDS = 6.0
"""The second looks after falling asleep are over by then."""


def run(dsn: str, log: Path, seconds: int) -> dict[str, float]:
    """One round: the server logs every statement of the worker's connections, and the lines are counted."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("alter database bench set log_statement = 'all'")
    with worker(dsn):
        time.sleep(SETTLE_SECONDS)
        before = _statements(log)
        time.sleep(seconds)
        after = _statements(log)
    return {"statements_per_second": (after - before) / seconds}


def _statements(log: Path) -> int:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return sum(
        line.startswith("bench|pgsched") and ("LOG:  statement:" in line or "LOG:  execute" in line) for line in lines
    )


if __name__ == "__main__":
    _given = arguments()
    report(run(_given["dsn"], Path(_given["log"]), _given["seconds"]))
