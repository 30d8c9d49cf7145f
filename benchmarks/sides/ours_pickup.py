"""pgsched: how soon an idle worker begins a task after its INSERT was committed."""

from __future__ import annotations

import random
import time

import psycopg

from benchmarks.sides.measure import arguments, report
from benchmarks.sides.worker_process import wait_until, worker
from pgsched.bench.report import percentile

PAUSES = (0.05, 0.25)
"""Seconds between two tasks, by chance: the worker is idle when the next one comes."""


def run(dsn: str, pickups: int) -> dict[str, float]:
    """One round: the inserting process and the worker are two, and share the machine's monotonic clock."""
    sent: dict[int, int] = {}
    committed: dict[int, int] = {}
    chance = random.Random(1)
    with worker(dsn), psycopg.connect(dsn, autocommit=True) as connection:
        time.sleep(2)
        for _ in range(pickups):
            time.sleep(chance.uniform(*PAUSES))
            begun = time.monotonic_ns()
            row = connection.execute(
                "insert into pgsched.tasks (task_type) values ('stamp') returning id", prepare=True
            ).fetchone()
            ended = time.monotonic_ns()
            if row is not None:
                sent[row[0]], committed[row[0]] = begun, ended
        wait_until(connection, "select not exists (select from pgsched.tasks where status <> 'completed')", longest=60)
        rows = connection.execute("select id, result::text::bigint from pgsched.tasks order by id").fetchall()
    return delays([(sent[id], committed[id], started) for id, started in rows])


def delays(times: list[tuple[int, int, int]]) -> dict[str, float]:
    """Percentiles of (sent, committed, started); a start may come before the commit's answer is read: 0 then."""
    after_commit = [max(started - committed, 0) / 1e6 for _, committed, started in times]
    after_send = [(started - sent) / 1e6 for sent, _, started in times]
    return {
        "p50_ms": percentile(after_commit, 0.5),
        "p99_ms": percentile(after_commit, 0.99),
        "sent_p50_ms": percentile(after_send, 0.5),
        "sent_p99_ms": percentile(after_send, 0.99),
    }


if __name__ == "__main__":
    _given = arguments()
    report(run(_given["dsn"], _given["pickups"]))
