"""Procrastinate: one worker on psycopg; it keeps its jobs and their events, and no fencing token."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import procrastinate

from benchmarks.sides.measure import arguments, drain, nothing_left, report, settle

OVER = nothing_left("select exists (select from procrastinate_jobs where status in ('todo', 'doing'))")


async def run(dsn: str, given: dict[str, Any]) -> dict[str, float]:
    """One round. Its speed does not depend on the number of tasks; it is given fewer, as it says in the table."""
    tasks: int = given["tasks"]
    handled, count = asyncio.Event(), 0
    app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=dsn))

    @app.task(name="noop")
    async def noop() -> None:
        nonlocal count
        count += 1
        if count == tasks:
            handled.set()

    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        for start in range(0, tasks, 1_000):
            await noop.batch_defer_async(*[{} for _ in range(min(1_000, tasks - start))])
        working: list[asyncio.Future[None]] = []

        def work() -> asyncio.Future[None]:
            running = app.run_worker_async(concurrency=given["concurrency"], install_signal_handlers=False)
            working.append(asyncio.ensure_future(running))
            return working[0]

        await settle(dsn)
        metrics = await drain(dsn, tasks, work, handled, OVER)
        working[0].cancel()
        await asyncio.gather(*working, return_exceptions=True)
    return metrics


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    _given = arguments()
    report(asyncio.run(run(_given["dsn"], _given)))
