"""Two workers share tasks of a slow handler: the time until all are done, and how evenly they were shared."""

from __future__ import annotations

import asyncio
from time import perf_counter

import psycopg

from benchmarks.sides.measure import arguments, report
from pgsched.observability import logs
from tests.support.engine import handlers, running_worker

SECONDS = 0.05
"""Of each task."""
SLOTS = 5
SETTLE_SECONDS = 2.0
"""Both workers sleep by then."""
LOOK_SECONDS = 0.005


async def run(dsn: str, tasks: int) -> dict[str, float]:
    """One round."""

    async def slow() -> None:
        await asyncio.sleep(SECONDS)

    registry = handlers(slow=slow)
    async with (
        running_worker(dsn, registry, concurrency=SLOTS),
        running_worker(dsn, registry, concurrency=SLOTS),
        await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection,
    ):
        await asyncio.sleep(SETTLE_SECONDS)
        begun = perf_counter()
        await connection.execute(
            "insert into pgsched.tasks (task_type) select 'slow' from generate_series(1, %s)", (tasks,)
        )
        done: list[int] = []
        while sum(done) < tasks:
            await asyncio.sleep(LOOK_SECONDS)
            cursor = await connection.execute("select count(*) from pgsched.executions group by worker_id")
            done = [int(count) for (count,) in await cursor.fetchall()]
        seconds = perf_counter() - begun
    return {"seconds": seconds, "busier_percent": 100 * max(done) / tasks}


if __name__ == "__main__":
    logs.configure("warning")
    _given = arguments()
    report(asyncio.run(run(_given["dsn"], _given["tasks"])))
