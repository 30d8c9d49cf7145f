"""``make bench``: drains a queue of no-op tasks, ours and PgQueuer's in turns, and prints medians and ratios."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psycopg
from psycopg.conninfo import make_conninfo

from pgsched.db.embedded import EmbeddedServer
from tests.bench.sides.measure import Round

# As a small production server: durable, with a checkpoint seldom enough not to fall into a round by chance.
SETTINGS = {
    "shared_buffers": "1GB",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "30min",
    "autovacuum_naptime": "10s",
}
ROUND_SECONDS = 600


@dataclass(frozen=True, kw_only=True)
class Side:
    """A program that drains the queue: its module, and the arguments after DSN and number of tasks."""

    name: str
    module: str
    argument: int
    note: str


SIDES = (
    Side(
        name="pgsched",
        module="tests.bench.sides.ours",
        argument=100,
        note="concurrency 100; history, fencing, leases, metrics",
    ),
    Side(name="PgQueuer", module="tests.bench.sides.pgqueuer", argument=100, note="batch 100; status log, no fencing"),
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--tasks", type=int, default=50_000, help="tasks a round (default: 50,000)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each side (default: 5)")
    parser.add_argument("--out", type=Path, default=Path("bench.json"), help="where the figures are written")
    options = parser.parse_args()
    rounds: dict[str, list[Round]] = {side.name: [] for side in SIDES}
    with (
        tempfile.TemporaryDirectory(prefix="pgsched-bench-", ignore_cleanup_errors=True) as folder,
        EmbeddedServer.start(Path(folder) / "server", options=SETTINGS) as server,
    ):
        for number in range(options.rounds):
            for side in SIDES:
                worked = _run(server.dsn, side, options.tasks)
                rounds[side.name].append(worked)
                print(f"round {number + 1}/{options.rounds}  {side.name:10} {worked.per_second:>10,.0f} tasks/s")
    _show(rounds)
    figures = {
        name: {
            "tasks": options.tasks,
            "per_second": [round(one.per_second) for one in each],
            "wal_bytes_per_task": [round(one.wal_bytes / one.tasks) for one in each],
        }
        for name, each in rounds.items()
    }
    options.out.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    print(f"written to {options.out}")
    return 0


def _run(server_dsn: str, side: Side, tasks: int) -> Round:
    """One round in a process of its own, on a database of its own."""
    with psycopg.connect(server_dsn, autocommit=True) as connection:
        connection.execute("drop database if exists bench with (force)")
        connection.execute("create database bench")
    ended = subprocess.run(
        [sys.executable, "-m", side.module, make_conninfo(server_dsn, dbname="bench"), str(tasks), str(side.argument)],
        stdout=subprocess.PIPE,
        timeout=ROUND_SECONDS,
        check=True,
    )
    return Round(**json.loads(ended.stdout))


def _show(rounds: dict[str, list[Round]]) -> None:
    ours = median(one.per_second for one in rounds["pgsched"])
    print(f"\n{'side':10} {'median':>12} {'lowest':>10} {'highest':>10} {'WAL/task':>9}  pgsched is  what it does")
    for side in SIDES:
        speeds = sorted(one.per_second for one in rounds[side.name])
        wal = median(one.wal_bytes / one.tasks for one in rounds[side.name])
        print(
            f"{side.name:10} {median(speeds):>10,.0f}/s {speeds[0]:>10,.0f} {speeds[-1]:>10,.0f} {wal:>7,.0f} B"
            f" {ours / median(speeds):>9.2f} x  {side.note}"
        )


if __name__ == "__main__":
    sys.exit(main())
