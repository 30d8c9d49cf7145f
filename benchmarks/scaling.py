"""``python -m benchmarks.scaling``: what one server does by processes and concurrency, into docs/scaling.md.

Measures by ``pgsched bench`` on a server of its own, each case on a fresh database, the cases in turns.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import psycopg

from benchmarks import figures, tables
from benchmarks.databases import SETTINGS, Databases
from benchmarks.model import Sizes
from benchmarks.words import number
from pgsched.bench.measure import Bench, Plan
from pgsched.bench.report import Report
from pgsched.db.embedded.server import EmbeddedServer

PAGE = Path("docs/scaling.md")
CASES = tuple(Plan(processes=processes) for processes in (1, 2, 4)) + tuple(
    Plan(concurrency=concurrency) for concurrency in (10, 500)
)
FIRST = CASES[0]


def main() -> int:
    """Measure every case and write the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--write-docs", action="store_true", help=f"put the table into {PAGE}")
    options = parser.parse_args()
    measured: dict[Plan, list[Report]] = {case: [] for case in CASES}
    with (
        tempfile.TemporaryDirectory(prefix="pgsched-bench-", ignore_cleanup_errors=True) as name,
        EmbeddedServer.start(Path(name) / "server", options=SETTINGS) as server,
    ):
        databases = Databases(server.dsn, Path(name) / "server" / "server.log", Sizes())
        for turn in range(options.rounds):
            for case in CASES:
                dsn = databases.fresh("empty")
                plan = replace(case, tasks=options.tasks, seconds=options.seconds)
                bench = Bench(dsn, plan, lambda _text: None)
                try:
                    measured[case].append(bench.run())
                finally:
                    bench.clean()
                last = measured[case][-1]
                print(
                    f"{turn + 1}: {case.processes} × {case.concurrency}: {last.as_dict()}", file=sys.stderr, flush=True
                )
        with psycopg.connect(server.dsn) as connection:
            machine = figures.this_machine(connection.info.parameter_status("server_version") or "")
    text = table(measured, options.tasks, machine)
    print(text)
    if options.write_docs:
        PAGE.write_text(tables.put_into(PAGE.read_text(encoding="utf-8"), text), encoding="utf-8")
    return 0


def table(measured: dict[Plan, list[Report]], tasks: int, machine: dict[str, str]) -> str:
    """Markdown: a row for each case, then what the first one says of a task."""
    lines = [f"| processes × concurrency | tasks/s of {tasks:,} no-op tasks, lowest to highest | memory of a process |"]
    lines.append("|---|---|---|")
    for case, reports in measured.items():
        rates = [one.drain_per_second for one in reports]
        memory = [one.worker_megabytes for one in reports if one.worker_megabytes is not None]
        lines.append(
            f"| {case.processes} × {case.concurrency} | {number(median(rates))} ({number(min(rates))} to "
            f"{number(max(rates))}) | {number(max(memory))} MB |"
        )
    first = measured[FIRST]
    rows = (
        ("single inserts on one connection", "a second", [one.single_per_second for one in first]),
        ("rows by `schedule_many`", "a second", [one.bulk_per_second for one in first]),
        ("pick-up by an idle worker, median", "ms", [one.pickup_p50 or 0.0 for one in first]),
        ("pick-up, 99th percentile", "ms", [one.pickup_p99 or 0.0 for one in first]),
        ("WAL of a drained task, its insert not counted", "bytes", [one.wal_per_task for one in first]),
        ("disk for a million finished tasks: table", "MB", [one.disk_tasks for one in first]),
        ("… its indexes", "MB", [one.disk_indexes for one in first]),
        ("… history with its indexes", "MB", [one.disk_history for one in first]),
        ("… together", "MB", [one.disk_per_million / 1e6 for one in first]),
    )
    lines += ["", "| | median | lowest to highest |", "|---|---|---|"]
    lines += [f"| {what} | {number(median(values))} {unit} | {_span(values)} |" for what, unit, values in rows]
    rounds = f"median of {len(first)} rounds" if len(first) > 1 else "one round"
    when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    lines += [
        "",
        f"Measured {when}, {rounds}, {machine['cpu']}, PostgreSQL {machine['postgresql']}, Python {machine['python']}.",
    ]
    return "\n".join(lines)


def _span(values: Sequence[float]) -> str:
    return f"{number(min(values))} to {number(max(values))}"


if __name__ == "__main__":
    sys.exit(main())
