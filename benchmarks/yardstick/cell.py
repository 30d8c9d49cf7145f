"""One scenario with one queue: the load, the disturbance, and what came out."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psycopg

from benchmarks.yardstick.disturbances import Stage
from benchmarks.yardstick.replicas import ROOT, Replicas, Sample
from benchmarks.yardstick.scenarios import Scenario
from benchmarks.yardstick.server import Server
from benchmarks.yardstick.systems import Adapter

SAMPLE_SECONDS = 1
DRAIN_SECONDS = 12.0
"""How long the tasks that are left may take when no more are inserted: longer than any lease here."""
MIGRATE_SECONDS = 60
RECOVERED = 0.9
DEAD_ROWS = "select coalesce(sum(n_dead_tup), 0) from pg_stat_user_tables"


@dataclass(frozen=True, kw_only=True)
class Result:
    """One cell."""

    system: str
    scenario: str
    broken: str | None = None
    """Why there are no figures."""
    baseline: float = 0.0
    """Tasks a second before the stress, median of the samples."""
    stress: float = 0.0
    recovery: float = 0.0
    recovery_seconds: float | None = None
    """From the end of the stress to nine tenths of the baseline; None: not within the recovery."""
    baseline_p95: float = 0.0
    """Pick-up, in ms."""
    stress_p95: float = 0.0
    dead_rows: int = 0
    """At the end of the stress, by PostgreSQL's statistics."""
    left: int = 0
    """Tasks that wait or run long after the last insert."""
    ended: Sequence[str] = ()
    """Processes that ended by themselves."""
    killed: int = 0
    """Processes that did not end by SIGTERM."""


def run(server: Server, adapter: Adapter, scenario: Scenario, seconds: float) -> Result:
    """Run a cell. Most phases take ``seconds``."""
    dsn = server.fresh()
    with tempfile.TemporaryDirectory(prefix="pgsched-yardstick-") as folder:
        rate_file = Path(folder) / "rate"
        rate_file.write_text(str(scenario.rate), encoding="utf-8")
        environment = {
            "DATABASE_URL": dsn,
            "SCENARIO": "long_horizon",
            "PRODUCER_MODE": "fixed",
            "PRODUCER_RATE": str(scenario.rate),
            "PRODUCER_RATE_CONTROL_FILE": str(rate_file),
            "PRODUCER_BATCH_MAX": "128",
            "WORKER_COUNT": str(scenario.workers),
            "JOB_WORK_MS": "1",
            "SAMPLE_EVERY_S": str(SAMPLE_SECONDS),
            "PICKUP_WINDOW_S": str(max(2, round(seconds / 2))),
        }
        subprocess.run(
            adapter.command,
            env={**os.environ, **environment, "SCENARIO": "migrate_only", "PYTHONPATH": str(ROOT)},
            cwd=ROOT,
            capture_output=True,
            check=True,
            timeout=MIGRATE_SECONDS,
        )
        replicas = Replicas(adapter, environment, Path(folder) / "log")
        stage = Stage(
            server=server, dsn=dsn, replicas=replicas, rate_file=rate_file, rate=scenario.rate, table=adapter.table
        )
        killed = 0
        try:
            for instance in range(scenario.replicas):
                replicas.start(instance)
            spans, dead_rows = _phases(stage, replicas, scenario, seconds, dsn)
            stage.set_rate(0)
            left = _drain(dsn, adapter, replicas)
        finally:
            killed = replicas.stop()
        return _result(adapter, scenario, replicas, spans, dead_rows, left, killed)


Span = tuple[float, float]


def _phases(stage: Stage, replicas: Replicas, scenario: Scenario, seconds: float, dsn: str) -> tuple[list[Span], int]:
    spans, dead_rows = [], 0
    for place, phase in enumerate(scenario.phases):
        lasts = seconds * phase.times
        begun = time.monotonic()
        with stage.phase(phase.kind, lasts):
            while (left := begun + lasts - time.monotonic()) > 0:
                time.sleep(min(left, 0.2))
                replicas.look()
            if place == scenario.stress[-1] and not scenario.chaos:
                dead_rows = _number(dsn, DEAD_ROWS)
        spans.append((begun, time.monotonic()))
    return spans, dead_rows


def _drain(dsn: str, adapter: Adapter, replicas: Replicas) -> int:
    deadline, left = time.monotonic() + DRAIN_SECONDS, 1
    while left and time.monotonic() < deadline:
        time.sleep(0.25)
        replicas.look()
        with contextlib.suppress(psycopg.OperationalError):
            left = _number(dsn, adapter.unfinished)
    return left


def _number(dsn: str, statement: str) -> int:
    with psycopg.connect(dsn, autocommit=True) as connection:
        row = connection.execute(statement.encode()).fetchone()
    return int(row[0]) if row else 0


def _result(
    adapter: Adapter,
    scenario: Scenario,
    replicas: Replicas,
    spans: Sequence[Span],
    dead_rows: int,
    left: int,
    killed: int,
) -> Result:
    samples, stress = replicas.samples, scenario.stress
    stressed = (spans[stress[0]][0], spans[stress[-1]][1])
    rates = totals(samples, "completion_rate")
    baseline = _middle(rates, spans[1])
    return Result(
        system=adapter.name,
        scenario=scenario.name,
        baseline=baseline,
        stress=_middle(rates, stressed),
        recovery=_middle(rates, spans[-1]),
        recovery_seconds=recovery_seconds(rates, spans[-1], baseline),
        baseline_p95=_worst(samples, spans[1]),
        stress_p95=_worst(samples, stressed),
        dead_rows=dead_rows,
        left=left,
        ended=tuple(replicas.ended),
        killed=killed,
    )


def totals(samples: Sequence[Sample], metric: str) -> dict[int, float]:
    """Sum a rate over the processes, by whole second. A sample covers the second before it."""
    found: dict[int, float] = {}
    for one in samples:
        if one.metric == metric:
            second = int(one.at - SAMPLE_SECONDS / 2)
            found[second] = found.get(second, 0.0) + one.value
    return found


def recovery_seconds(rates: dict[int, float], span: Span, baseline: float) -> float | None:
    """Return the seconds from the start of the span to the first rate of nine tenths of the baseline."""
    for second in sorted(rates):
        if span[0] - 1 < second <= span[1] and rates[second] >= RECOVERED * baseline > 0:
            return max(second - span[0], 0.0)
    return None


def _middle(rates: dict[int, float], span: Span) -> float:
    """The median over every whole second of the span; a second without a sample counts as 0."""
    seconds = range(int(span[0]) + 1, int(span[1]))
    return median(rates.get(second, 0.0) for second in seconds) if seconds else 0.0


def _worst(samples: Sequence[Sample], span: Span) -> float:
    return max(
        (one.value for one in samples if one.metric == "claim_p95_ms" and span[0] < one.at <= span[1]), default=0
    )
