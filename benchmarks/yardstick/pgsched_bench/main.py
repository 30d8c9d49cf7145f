#!/usr/bin/env python3
"""pgsched under the long-horizon contract of hardbyte/postgresql-job-queue-benchmarking.

One process that inserts at a given rate, runs what it inserts, and prints a JSON object a line: first what it is, then
its figures every SAMPLE_EVERY_S seconds. It ends on SIGTERM. The part that every system needs comes first; the file
needs nothing but pgsched and psycopg, so that it can be copied.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import psycopg

from pgsched import App, TaskSpec

WINDOW_SECONDS = int(os.environ.get("PICKUP_WINDOW_S", "30"))
"""What the percentiles of the pick-up cover: half a minute, by the contract."""
OBSERVED = ("queue_depth", "producer_target_rate")
"""Figures of the whole system: only the first process prints them."""


# The contract.


@dataclass(frozen=True)
class Settings:
    """What the harness asks for, by environment variables."""

    dsn: str = field(default_factory=lambda: os.environ["DATABASE_URL"])
    mode: str = field(default_factory=lambda: os.environ.get("PRODUCER_MODE", "fixed"))
    rate: float = field(default_factory=lambda: float(os.environ.get("PRODUCER_RATE", "800")))
    rate_file: str = field(default_factory=lambda: os.environ.get("PRODUCER_RATE_CONTROL_FILE", ""))
    batch: int = field(default_factory=lambda: max(1, int(os.environ.get("PRODUCER_BATCH_MAX", "128"))))
    batch_seconds: float = field(default_factory=lambda: max(1, int(os.environ.get("PRODUCER_BATCH_MS", "10"))) / 1000)
    depth: int = field(default_factory=lambda: int(os.environ.get("TARGET_DEPTH", "1000")))
    workers: int = field(default_factory=lambda: int(os.environ.get("WORKER_COUNT", "32")))
    payload: int = field(default_factory=lambda: int(os.environ.get("JOB_PAYLOAD_BYTES", "256")))
    work_seconds: float = field(default_factory=lambda: int(os.environ.get("JOB_WORK_MS", "1")) / 1000)
    sample_seconds: float = field(default_factory=lambda: float(os.environ.get("SAMPLE_EVERY_S", "5")))
    instance: int = field(default_factory=lambda: int(os.environ.get("BENCH_INSTANCE_ID", "0")))


class Percentiles:
    """Pick-up times of the last seconds, in buckets 1 % apart: the memory does not grow with the rate."""

    def __init__(self) -> None:
        self._seconds: deque[tuple[int, dict[int, int]]] = deque()

    def add(self, milliseconds: float) -> None:
        """Count one."""
        now = int(time.monotonic())
        if not self._seconds or self._seconds[-1][0] != now:
            self._seconds.append((now, {}))
            while self._seconds[0][0] < now - WINDOW_SECONDS:
                self._seconds.popleft()
        counts = self._seconds[-1][1]
        bucket = round(math.log(max(milliseconds, 0.01)) * 100)
        counts[bucket] = counts.get(bucket, 0) + 1

    def read(self, *shares: float) -> list[float]:
        """Return the value below which each share lies; 0 without any."""
        oldest = int(time.monotonic()) - WINDOW_SECONDS
        total: dict[int, int] = {}
        for second, counts in self._seconds:
            if second >= oldest:
                for bucket, n in counts.items():
                    total[bucket] = total.get(bucket, 0) + n
        number = sum(total.values())
        found = []
        for share in shares:
            left, value = share * number, 0.0
            for bucket in sorted(total):
                left -= total[bucket]
                value = math.exp(bucket / 100)
                if left <= 0:
                    break
            found.append(value)
        return found


class System(Protocol):
    """A queue under the contract."""

    @property
    def name(self) -> str:
        """Its name in the records."""

    @property
    def tables(self) -> Sequence[str]:
        """Those that its manifest names."""

    @property
    def version(self) -> str:
        """Of the queue."""

    async def insert(self, payloads: Sequence[dict[str, Any]]) -> None:
        """Insert tasks by the interface that the queue documents for several at once."""

    async def depth(self) -> int:
        """Return the number of tasks that wait."""


class Load:
    """Produces, counts and prints. Handlers call :meth:`handle`."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.stopping = asyncio.Event()
        self._pickups = Percentiles()
        self._enqueued = self._completed = self._depth = 0
        self._target = settings.rate
        self._system = ""

    async def handle(self, created: float) -> None:
        """Do the work of a task that was inserted at this time (``time.time()``)."""
        self._pickups.add((time.time() - created) * 1000)
        if self.settings.work_seconds:
            await asyncio.sleep(self.settings.work_seconds)
        self._completed += 1

    async def run(self, system: System) -> None:
        """Run until SIGTERM."""
        self._system = system.name
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.stopping.set)
        self.print_record(
            {
                "kind": "descriptor",
                "event_tables": list(system.tables),
                "extensions": [],
                "version": system.version,
                "schema_version": "current",
                "db_name": str(psycopg.conninfo.conninfo_to_dict(self.settings.dsn).get("dbname", "")),
                "started_at": _now(),
            }
        )
        parts = [asyncio.create_task(part) for part in (self._produce(system), self._watch(system), self._sample())]
        await self.stopping.wait()
        for one in parts:
            one.cancel()
        await asyncio.gather(*parts, return_exceptions=True)

    async def _produce(self, system: System) -> None:
        padding = "x" * self.settings.payload
        credit, last = 0.0, time.monotonic()
        while True:
            if self.settings.mode == "depth-target":
                self._target = 0.0
                count = min(self.settings.batch, self.settings.depth - self._depth)
                if count <= 0:
                    await asyncio.sleep(0.05)
                    continue
            else:
                await asyncio.sleep(self.settings.batch_seconds)
                self._target = self._rate()
                now = time.monotonic()
                # By the time that has passed, whatever the insert took.
                credit = min(credit + self._target * (now - last), 2 * self._target + self.settings.batch)
                last = now
                count = min(self.settings.batch, int(credit))
                if not count:
                    continue
                credit -= count
            try:
                created = time.time()
                await system.insert([{"created": created, "padding": padding}] * count)
                self._enqueued += count
            except Exception as error:  # noqa: BLE001 - of any driver: the next batch is a new try
                print(f"insert failed: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
                await asyncio.sleep(0.1)

    def _rate(self) -> float:
        if self.settings.rate_file:
            with contextlib.suppress(OSError, ValueError):
                return float(Path(self.settings.rate_file).read_text(encoding="utf-8"))
        return self.settings.rate

    async def _watch(self, system: System) -> None:
        while self.settings.instance == 0:
            with contextlib.suppress(Exception):  # the server is away: the next look finds it
                self._depth = await system.depth()
            await asyncio.sleep(0.2)

    async def _sample(self) -> None:
        every = self.settings.sample_seconds
        await asyncio.sleep(every - time.time() % every)
        enqueued, completed, last = self._enqueued, self._completed, time.monotonic()
        while True:
            await asyncio.sleep(every - time.time() % every)
            now = time.monotonic()
            p50, p95, p99 = self._pickups.read(0.5, 0.95, 0.99)
            figures = (
                ("claim_p50_ms", p50, WINDOW_SECONDS),
                ("claim_p95_ms", p95, WINDOW_SECONDS),
                ("claim_p99_ms", p99, WINDOW_SECONDS),
                ("enqueue_rate", (self._enqueued - enqueued) / (now - last), every),
                ("completion_rate", (self._completed - completed) / (now - last), every),
                ("queue_depth", self._depth, 0),
                ("producer_target_rate", self._target, 0),
            )
            enqueued, completed, last = self._enqueued, self._completed, now
            for metric, value, window in figures:
                if metric not in OBSERVED or self.settings.instance == 0:
                    self.print_record(
                        {
                            "t": _now(),
                            "kind": "adapter",
                            "subject_kind": "adapter",
                            "subject": "",
                            "metric": metric,
                            "value": float(value),
                            "window_s": float(window),
                        }
                    )

    def print_record(self, record: dict[str, Any]) -> None:
        """Print one line for the harness."""
        print(json.dumps({"system": self._system, "instance_id": self.settings.instance, **record}), flush=True)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


# pgsched.

WAITING = """
select count(*) from pgsched.tasks
where queue = 'bench' and next_run_at <= now() and enabled and (locked_until is null or locked_until < now())
"""


class Pgsched:
    """A client and a worker of pgsched on this event loop."""

    name = "pgsched"
    tables = ("pgsched.tasks",)
    version = version("pgsched")

    def __init__(self, load: Load) -> None:
        self.app = App(dsn=load.settings.dsn)
        self._dsn = load.settings.dsn
        self._connection: psycopg.AsyncConnection[Any] | None = None

        @self.app.task("bench_job", queue="bench")
        async def bench_job(created: float, padding: str) -> None:
            await load.handle(created)

    async def insert(self, payloads: Sequence[dict[str, Any]]) -> None:
        specs = [TaskSpec(task_type="bench_job", queue="bench", payload=one) for one in payloads]
        await self.app.async_client().schedule_many(specs)

    async def depth(self) -> int:
        if self._connection is None or self._connection.closed:
            self._connection = await psycopg.AsyncConnection.connect(self._dsn, autocommit=True)
        row = await (await self._connection.execute(WAITING)).fetchone()
        return int(row[0]) if row else 0


async def _has_schema(dsn: str) -> bool:
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        row = await (await connection.execute("select to_regclass('pgsched.tasks') is not null")).fetchone()
    return bool(row and row[0])


async def main() -> None:
    """Run under the contract."""
    settings = Settings()
    if not await _has_schema(settings.dsn):
        migrating = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "pgsched", "--dsn", settings.dsn, "migrate"), stdout=asyncio.subprocess.DEVNULL
        )
        if await migrating.wait():
            raise RuntimeError("pgsched migrate failed")
    if os.environ.get("SCENARIO") == "migrate_only":
        return
    load = Load(settings)
    system = Pgsched(load)
    async with system.app.worker(queues=["bench"], concurrency=settings.workers, lease=10, shutdown_timeout=2):
        await load.run(system)
    await system.app.close_async()


if __name__ == "__main__":
    asyncio.run(main())
