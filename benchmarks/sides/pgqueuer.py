"""PgQueuer: one queue manager on asyncpg and uvloop, as its command line runs it.

It keeps a log of statuses and no fencing token.
"""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg  # type: ignore[import-untyped]
import uvloop
from pgqueuer import AsyncpgDriver, Job, PgQueuer, Queries
from psycopg.conninfo import conninfo_to_dict

from benchmarks.sides.measure import arguments, drain, nothing_left, report, settle

OVER = nothing_left("select exists (select from pgqueuer)")


async def run(dsn: str, given: dict[str, Any]) -> dict[str, float]:
    """One round with one ``batch`` size."""
    tasks: int = given["tasks"]
    handled, count = asyncio.Event(), 0
    place = conninfo_to_dict(dsn)
    connection = await asyncpg.connect(
        host=place["host"], port=place["port"], user=place["user"], database=place["dbname"]
    )
    driver = AsyncpgDriver(connection)
    await Queries(driver).install()
    manager = PgQueuer(driver)

    @manager.entrypoint("noop")
    async def noop(job: Job) -> None:
        nonlocal count
        count += 1
        if count == tasks:
            handled.set()

    queries = Queries(driver)
    for start in range(0, tasks, 10_000):
        size = min(10_000, tasks - start)
        await queries.enqueue(["noop"] * size, [None] * size, [0] * size)
    working: list[asyncio.Future[None]] = []

    def work() -> asyncio.Future[None]:
        working.append(asyncio.ensure_future(manager.run(batch_size=given["batch"])))
        return working[0]

    await settle(dsn)
    metrics = await drain(dsn, tasks, work, handled, OVER)
    manager.shutdown.set()
    working[0].cancel()
    await asyncio.gather(*working, return_exceptions=True)
    return metrics


if __name__ == "__main__":
    _given = arguments()
    report(uvloop.run(run(_given["dsn"], _given)))
