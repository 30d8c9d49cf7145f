"""PgQueuer under the same contract: its queue manager on asyncpg and uvloop, its documented bulk insert."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from importlib.metadata import version
from typing import Any

import asyncpg
import pgqueuer
import uvloop
from pgqueuer import AsyncpgDriver, AsyncpgPoolDriver, Job, PgQueuer, Queries
from psycopg.conninfo import conninfo_to_dict

from benchmarks.yardstick.pgsched_bench.main import Load, Settings

HEARTBEAT_SECONDS = 10.0
RESTART_SECONDS = 1.0
WAITING = "select count(*) from pgqueuer where status = 'queued'"


class Pgqueuer:
    """The producer's side, on a pool of its own."""

    name = "PgQueuer"
    tables = ("public.pgqueuer",)
    version = version("pgqueuer")

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self._queries = Queries(AsyncpgPoolDriver(pool))

    async def insert(self, payloads: Sequence[dict[str, Any]]) -> None:
        count = len(payloads)
        given = [json.dumps(one).encode() for one in payloads]
        await self._queries.enqueue(["bench_job"] * count, list(given), [0] * count)

    async def depth(self) -> int:
        return int(await self._pool.fetchval(WAITING))


async def main() -> None:
    """Run under the contract. PgQueuer's own supervisor starts its worker again when it fails."""
    settings = Settings()
    place = conninfo_to_dict(settings.dsn)
    where = {"host": place["host"], "port": place["port"], "user": place["user"], "database": place["dbname"]}
    if os.environ.get("SCENARIO") == "migrate_only":
        connection = await asyncpg.connect(**where)
        await Queries(AsyncpgDriver(connection)).install()
        return
    load = Load(settings)

    @asynccontextmanager
    async def worker() -> AsyncIterator[PgQueuer]:
        connection = await asyncpg.connect(**where)
        try:
            manager = PgQueuer(AsyncpgDriver(connection))

            @manager.entrypoint("bench_job")
            async def bench_job(job: Job) -> None:
                await load.handle(json.loads(job.payload or b"{}")["created"])

            yield manager
        finally:
            await connection.close()

    async def work() -> None:
        while not load.stopping.is_set():  # it also returns after a failure of its listener
            await pgqueuer.run(
                worker,
                batch_size=max(settings.workers // 2, 1),  # its limit to running jobs must be twice as large at least
                max_concurrent_tasks=settings.workers,
                heartbeat_timeout=timedelta(seconds=HEARTBEAT_SECONDS),
                dequeue_timeout=timedelta(seconds=1),
                shutdown_on_listener_failure=True,
                restart_on_failure=True,
                restart_delay=timedelta(seconds=RESTART_SECONDS),
                shutdown=load.stopping,
            )
            await asyncio.sleep(RESTART_SECONDS)

    pool = await asyncpg.create_pool(**where, min_size=1, max_size=4)
    working = asyncio.create_task(work())
    await load.run(Pgqueuer(pool))
    await asyncio.wait([working], timeout=3)


if __name__ == "__main__":
    logging.disable(logging.ERROR)
    uvloop.run(main())
