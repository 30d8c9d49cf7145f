"""Procrastinate under the same contract: its worker and its documented bulk insert, with the task of its guide that
retries the jobs of dead workers."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import procrastinate
import psycopg

from benchmarks.yardstick.pgsched_bench.main import Load, Settings

STALLED_SECONDS = 10.0
RESTART_SECONDS = 1.0
WAITING = "select count(*) from procrastinate_jobs where status = 'todo' and queue_name = 'bench'"


class Procrastinate:
    """The app, its task and its producer."""

    name = "Procrastinate"
    tables = ("public.procrastinate_jobs", "public.procrastinate_events")
    version = version("procrastinate")

    def __init__(self, load: Load) -> None:
        self.app = app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=load.settings.dsn))
        self._dsn = load.settings.dsn
        self._connection: psycopg.AsyncConnection[Any] | None = None

        @app.task(queue="bench", name="bench_job")
        async def bench_job(created: float, padding: str) -> None:
            await load.handle(created)

        @app.periodic(cron="* * * * * */2")
        @app.task(name="retry_stalled_jobs", queue="bench", queueing_lock="retry_stalled_jobs", pass_context=True)
        async def retry_stalled_jobs(context: procrastinate.JobContext, timestamp: int) -> None:
            for job in await app.job_manager.get_stalled_jobs(seconds_since_heartbeat=STALLED_SECONDS):
                await app.job_manager.retry_job(job)

        self._deferrer = bench_job.configure(queue="bench")

    async def insert(self, payloads: Sequence[dict[str, Any]]) -> None:
        await self._deferrer.batch_defer_async(*payloads)

    async def depth(self) -> int:
        if self._connection is None or self._connection.closed:
            self._connection = await psycopg.AsyncConnection.connect(self._dsn, autocommit=True)
        row = await (await self._connection.execute(WAITING.encode())).fetchone()
        return int(row[0]) if row else 0


async def main() -> None:
    """Run under the contract. A worker that fails is started again, as a supervisor would do."""
    settings = Settings()
    load = Load(settings)
    system = Procrastinate(load)

    async def work() -> None:
        while not load.stopping.is_set():
            try:
                await system.app.run_worker_async(
                    queues=["bench"],
                    concurrency=settings.workers,
                    fetch_job_polling_interval=0.05,
                    install_signal_handlers=False,
                    update_heartbeat_interval=2,
                    stalled_worker_timeout=STALLED_SECONDS,
                    shutdown_graceful_timeout=2,
                )
            except Exception as error:  # noqa: BLE001 - whatever it is, a supervisor does not ask
                print(f"the worker failed: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
            await asyncio.sleep(RESTART_SECONDS)

    async with system.app.open_async():
        if os.environ.get("SCENARIO") == "migrate_only":
            await system.app.schema_manager.apply_schema_async()
            return
        working = asyncio.create_task(work())
        await load.run(system)
        working.cancel()
        await asyncio.wait([working], timeout=3)


if __name__ == "__main__":
    logging.disable(logging.ERROR)
    asyncio.run(main())
