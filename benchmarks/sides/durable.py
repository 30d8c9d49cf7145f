"""pgsched: durable runs of some steps each, then one run of many steps that is resumed again and again."""

from __future__ import annotations

import asyncio
import time
from statistics import median
from typing import Any

import psycopg

from benchmarks.sides.measure import arguments, report, settle
from pgsched import App, DurableContext
from pgsched.execution.process import settle_collector
from pgsched.observability import logs

INSERT = "insert into pgsched.tasks (task_type) select 'steps' from generate_series(1, %s)"
RESUMES = 25


async def run(dsn: str, given: dict[str, Any]) -> dict[str, float]:
    """One round."""
    app = App(dsn=dsn, capture_logs=None)
    left = given["runs"]
    over = asyncio.Event()

    async def number(value: int) -> int:
        return value

    @app.task("steps", durable=True)
    async def steps(ctx: DurableContext) -> None:
        nonlocal left
        for place in range(given["steps"]):
            await ctx.step("number", number, place, key=str(place))
        left -= 1
        if not left:
            over.set()

    went_on: list[float] = []

    @app.task("resumed", durable=True)
    async def resumed(ctx: DurableContext) -> None:
        for place in range(given["recorded"]):
            await ctx.step("number", number, place, key=str(place))
        for place in range(RESUMES):
            await ctx.wait_for("go", key=str(place))
            if len(went_on) == place:  # else it is only asked for again
                went_on.append(time.perf_counter())

    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        await connection.execute(INSERT, (given["runs"],))
        await settle(dsn)
        begun = time.perf_counter()
        async with app.worker(concurrency=given["concurrency"]):
            await over.wait()
        seconds = time.perf_counter() - begun
        cursor = await connection.execute("insert into pgsched.tasks (task_type) values ('resumed') returning id")
        row = await cursor.fetchone()
        assert row is not None
        async with app.worker(concurrency=1):  # no slot is free while it runs, so a wait suspends it at once
            waits = [await _resume(connection, row[0], went_on, place) for place in range(RESUMES)]
    return {"steps_per_second": given["runs"] * given["steps"] / seconds, "resume_ms": 1000 * median(waits)}


async def _resume(connection: psycopg.AsyncConnection[Any], task: int, went_on: list[float], place: int) -> float:
    blocked = "select from pgsched.tasks where id = %s and status = 'blocked'"
    while not (await connection.execute(blocked, (task,))).rowcount:  # noqa: ASYNC110 - the table tells nobody
        await asyncio.sleep(0.01)
    sent = time.perf_counter()
    await connection.execute("select pgsched.emit(%s::bigint, 'go')", (task,))
    while len(went_on) <= place:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    return went_on[place] - sent


if __name__ == "__main__":
    logs.configure("warning")
    settle_collector()
    _given = arguments()
    report(asyncio.run(run(_given["dsn"], _given)))
