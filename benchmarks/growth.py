"""``python -m benchmarks.growth``: what grows with workers, connections, distance and disks, into docs/scaling.md.

Each point is measured by ``pgsched bench`` on a fresh database. Three points calibrate the model of
``pgsched.bench.forecast``; it is judged by all the others, which it has not seen.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import psycopg

from benchmarks import figures, growth_tables, tables
from benchmarks.databases import SETTINGS, Databases
from benchmarks.delay import delayed
from benchmarks.model import Sizes
from benchmarks.producers import Inserts, insert
from benchmarks.waits import LIBRARY, Waits
from pgsched.bench.forecast import Costs, Forecast, Site, forecast
from pgsched.bench.measure import Bench, Plan
from pgsched.bench.report import Report
from pgsched.db.embedded.server import EmbeddedServer

PAGE = Path("docs/scaling.md")
MARK = "growth"
WAIT_SECONDS = 0.01
DRAIN_SECONDS = 2.0
FEWEST, MOST = 300, 100_000
CALIBRATION_TASKS = {0.0: 60_000, WAIT_SECONDS: 20_000}
SERVER_SETTINGS = SETTINGS | {"max_connections": "400", "commit_siblings": "0", "shared_preload_libraries": LIBRARY}
DISKS = {
    "the disk": {"fsync": "on", "commit_delay": "0"},
    "no sync": {"fsync": "off", "commit_delay": "0"},
    "5 ms more": {"fsync": "on", "commit_delay": "5000"},
}
"""A slow disk is simulated by commit_delay: each flush of the WAL sleeps before it syncs."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """One site to measure."""

    group: str
    processes: int = 1
    concurrency: int = 100
    handler: float = 0.0
    round_trip: float = 0.0
    disk: str = "the disk"
    calibrates: bool = False


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What one point did in one round."""

    point: Point
    report: Report
    busiest: Sequence[tuple[str, float]]
    statements: float
    """Per task, while they were drained."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A point, in the median of its rounds, beside its prediction."""

    point: Point
    site: Site
    found: Forecast
    rate: float
    pickup: float
    singles: float
    worker_cores: float
    server_cores: float
    wal: float
    statements: float
    busiest: Sequence[tuple[str, float]]


def points(*, quick: bool) -> list[Point]:
    """Every point, those that calibrate first."""
    most = (1, 2) if quick else (1, 2, 4, 8, 16)
    few = (1,) if quick else (1, 2, 4)
    grid = [Point(group="workers", processes=n) for n in most]
    grid += [Point(group="workers", processes=n, concurrency=c) for n in few for c in (1, 10, 500)]
    waiting = [
        Point(group="waiting", processes=n, concurrency=c, handler=WAIT_SECONDS)
        for n, c in ((1, 1), (1, 10), (1, 100), (1, 500), (2, 100), (4, 100))[: 2 if quick else 6]
    ]
    far = [
        Point(group="distance", concurrency=c, round_trip=trip)
        for trip in (0.0002, 0.001, 0.005)[: 1 if quick else 3]
        for c in (100, 1)
    ]
    far += [Point(group="distance", concurrency=10, handler=WAIT_SECONDS, round_trip=0.005)]
    disks = [Point(group="disk", disk=disk) for disk in DISKS if disk != "the disk"]
    disks += [
        Point(group="disk", disk=disk, concurrency=100, handler=WAIT_SECONDS) for disk in DISKS if disk != "the disk"
    ]
    calibrating = [Point(group="workers"), Point(group="waiting", concurrency=500, handler=WAIT_SECONDS)]
    rest = [one for one in dict.fromkeys(grid + waiting + far + disks) if one not in calibrating]
    return [*(replace(one, calibrates=True) for one in calibrating), *rest]


def main() -> int:
    """Measure every point, judge the model, write the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=1.0, help="of single inserts, and of pick-ups, at each point")
    parser.add_argument("--quick", action="store_true", help="few points: checks that everything runs")
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")
    parser.add_argument("--write-docs", action="store_true", help=f"put the tables into {PAGE}")
    options = parser.parse_args()
    measured: list[Measured] = []
    inserted: list[Inserts] = []
    begun = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="pgsched-bench-", ignore_cleanup_errors=True) as name,
        EmbeddedServer.start(Path(name) / "server", options=SERVER_SETTINGS) as server,
    ):
        with psycopg.connect(server.dsn, autocommit=True) as connection:
            connection.execute(f"create extension {LIBRARY}".encode())
        databases = Databases(server.dsn, Path(name) / "server" / "server.log", Sizes())
        waited = asyncio.run(_true_wait())
        for turn in range(options.rounds):
            for point in points(quick=options.quick):
                tasks = _tasks_for(point, measured, waited)
                measured.append(_measure(databases, point, tasks=tasks, seconds=options.seconds))
                _tell(turn, measured[-1], time.monotonic() - begun)
            for connections in (1, 2) if options.quick else (1, 2, 4, 8, 16, 32):
                inserted.append(insert(databases.fresh("empty"), connections, 1 if options.quick else 3))
                print(f"{turn + 1}: {inserted[-1]}", file=sys.stderr, flush=True)
        with psycopg.connect(server.dsn) as connection:
            machine = figures.this_machine(connection.info.parameter_status("server_version") or "")
    judged = [judge(point, measured, waited) for point in points(quick=options.quick)]
    sync = median(one.report.sync_p50 for one in measured if one.point.disk == "the disk") / 1000
    producers = growth_tables.producers(inserted, sync, cores=judged[0].site.cores)
    text = growth_tables.text(judged, producers, machine, options.rounds, datetime.now(UTC))
    print(text)
    print(f"{time.monotonic() - begun:.0f} s", file=sys.stderr)
    if options.json is not None:
        kept = [{"point": vars(one.point), "report": one.report.as_dict()} for one in measured]
        options.json.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    if options.write_docs:
        PAGE.write_text(tables.put_into(PAGE.read_text(encoding="utf-8"), text, MARK), encoding="utf-8")
    return 0


def calibration(measured: Sequence[Measured], *, waiting: bool) -> Costs | None:
    """Return the median of each cost in the rounds that calibrate; None before the first."""
    found = [
        one.report.costs
        for one in measured
        if one.point.calibrates and bool(one.point.handler) == waiting and one.report.costs is not None
    ]
    if not found:
        return None
    return Costs(**{one.name: median(getattr(costs, one.name) for costs in found) for one in fields(Costs)})


def judge(point: Point, measured: Sequence[Measured], waited: float) -> Judged:
    """Put what a point did beside what the model says."""
    own = [one for one in measured if one.point == point]
    reports = [one.report for one in own]
    costs = calibration(measured, waiting=bool(point.handler))
    if costs is None:
        raise RuntimeError("the calibration has no processor times: is the server on this machine?")
    site = replace(
        reports[0].site,
        round_trip=median(one.site.round_trip for one in reports),
        sync=median(one.site.sync for one in reports),
        handler=waited if point.handler else 0.0,
    )
    rates = [one.drain_per_second for one in reports]
    middle = own[rates.index(sorted(rates)[len(rates) // 2])]
    used = middle.report.drain_per_second / 1000
    return Judged(
        point=point,
        site=site,
        found=forecast(costs, site),
        rate=median(rates),
        pickup=median(one.pickup_p50 or 0.0 for one in reports) / 1000,
        singles=median(one.single_per_second for one in reports),
        worker_cores=used * (middle.report.worker_processor or 0.0),
        server_cores=used * (middle.report.server_processor or 0.0),
        wal=middle.report.wal_per_task,
        statements=middle.statements,
        busiest=middle.busiest,
    )


def _measure(databases: Databases, point: Point, *, tasks: int, seconds: float) -> Measured:
    direct = databases.fresh("empty")
    waits = Waits(databases.server_dsn)

    def tell(step: str) -> None:
        if step.startswith("draining"):
            waits.start()
        elif step.startswith("measuring how"):
            waits.stop()

    plan = Plan(
        tasks=tasks,
        seconds=seconds,
        processes=point.processes,
        concurrency=point.concurrency,
        handler=point.handler,
    )
    try:
        _set(databases.server_dsn, DISKS[point.disk])
        with delayed(direct, point.round_trip) as dsn:
            bench = Bench(dsn, plan, tell)
            try:
                report = bench.run()
            finally:
                bench.clean()
    finally:
        waits.stop()
        _set(databases.server_dsn, DISKS["the disk"])
    statements = waits.statements / report.tasks
    return Measured(point=point, report=report, busiest=waits.busiest(), statements=statements)


def _set(dsn: str, settings: dict[str, str]) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        for name, value in settings.items():
            connection.execute(f"alter system set {name} = {value}".encode())
        connection.execute("select pg_reload_conf()")
    time.sleep(0.1)


async def _true_wait() -> float:
    """How long a handler waits that sleeps for WAIT_SECONDS: timers of an event loop are later than that."""
    begun = time.perf_counter()
    for _ in range(50):
        await asyncio.sleep(WAIT_SECONDS)
    return (time.perf_counter() - begun) / 50


def _tasks_for(point: Point, measured: Sequence[Measured], waited: float) -> int:
    """So many that the drain takes about DRAIN_SECONDS."""
    costs = calibration(measured, waiting=bool(point.handler))
    if point.calibrates or costs is None:
        return CALIBRATION_TASKS[point.handler]
    cores = next(one.report.cores for one in measured)
    site = Site(
        cores=cores,
        processes=point.processes,
        concurrency=point.concurrency,
        handler=waited if point.handler else 0.0,
    )
    return max(FEWEST, min(MOST, int(forecast(costs, site).rate * DRAIN_SECONDS)))


def _tell(turn: int, one: Measured, seconds: float) -> None:
    report = one.report
    print(
        f"{turn + 1}: {seconds:4.0f} s: {one.point}: {report.tasks:,} tasks, {report.drain_per_second:,.0f}/s, "
        f"pick-up {report.pickup_p50} ms, round trip {report.round_trip_p50:.2f} ms, sync {report.sync_p50:.2f} ms, "
        f"{report.worker_processor}, {report.server_processor} ms a task, {one.busiest}",
        file=sys.stderr,
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
