"""pgsched: one worker process, full history, fencing, leases, metrics and logging on."""

from __future__ import annotations

import asyncio
import sys

import psycopg

from pgsched import logs
from pgsched.config import WorkerSettings
from pgsched.db.migrate import migrate
from pgsched.registry import Registry
from pgsched.worker.service import Worker
from tests.bench.sides.measure import Round, drain, report

LEFT = "select exists (select from pgsched.tasks where next_run_at is not null and enabled)"


async def run(dsn: str, tasks: int, concurrency: int) -> Round:
    handled, count = asyncio.Event(), 0

    async def noop() -> None:
        nonlocal count
        count += 1
        if count == tasks:
            handled.set()

    registry = Registry()
    registry.register("noop", noop)
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        await connection.execute(
            "insert into pgsched.tasks (task_type) select 'noop' from generate_series(1, %s)", (tasks,)
        )
    worker = Worker(dsn=dsn, registry=registry, settings=WorkerSettings(concurrency=concurrency))
    working = asyncio.ensure_future(worker.run())
    worked = await drain(dsn, tasks, working, handled, LEFT)
    worker.stop()
    await working
    return worked


if __name__ == "__main__":
    logs.configure("warning")
    migrate(sys.argv[1])
    report(asyncio.run(run(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
