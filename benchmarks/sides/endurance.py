"""pgsched: one worker at a steady rate; each minute prints how soon handlers began and how long claims took."""

from __future__ import annotations

import asyncio
import json
import time
from statistics import fmean, median
from typing import Any

from benchmarks.sides.measure import arguments
from pgsched.domain.attempt import Claimed
from pgsched.domain.settings import WorkerSettings
from pgsched.execution.process import settle_collector
from pgsched.execution.registry import Registry
from pgsched.observability import logs
from pgsched.worker.worker import Worker

END_SECONDS = 5.0


async def run(dsn: str, given: dict[str, Any]) -> None:
    """Work for ``minutes``."""
    waits: list[float] = []
    claims: list[float] = []
    registry = Registry()

    async def take(sent: float) -> None:
        waits.append(time.time() - sent)

    registry.register("take", take)
    worker = Worker(dsn=dsn, registry=registry, settings=WorkerSettings(concurrency=100))
    counts = worker.counts.claim

    def claimed(tasks: list[Claimed], seconds: float) -> None:
        claims.append(seconds)
        counts(tasks, seconds)

    worker.shared_claims._on_claim = claimed
    working = asyncio.ensure_future(worker.run())
    begun = time.monotonic()
    for minute in range(1, given["minutes"] + 1):
        await asyncio.sleep(begun + minute * 60 - time.monotonic())
        figures = {
            "minute": minute,
            "tasks": len(waits),
            "p50_ms": 1000 * median(waits),
            "p99_ms": 1000 * sorted(waits)[int(len(waits) * 0.99)],
            "claim_ms": 1000 * fmean(claims),
            "claims": len(claims),
        }
        print(json.dumps(figures), flush=True)
        waits.clear()
        claims.clear()
    await asyncio.sleep(END_SECONDS)  # the parent inserts no more: what waits is begun
    worker.stop()
    await working


if __name__ == "__main__":
    logs.configure("warning")
    settle_collector()
    _given = arguments()
    asyncio.run(run(_given["dsn"], _given))
