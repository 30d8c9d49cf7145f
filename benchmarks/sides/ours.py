"""pgsched: one worker process drains a full queue; history, fencing, leases, metrics on."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from decimal import Decimal
from statistics import median
from typing import Any
from uuid import UUID

import psycopg
from pydantic import BaseModel

from benchmarks.sides.claimant import PROBES, claimant
from benchmarks.sides.measure import arguments, drain, report, settle
from pgsched.db.session import Session
from pgsched.db.worker import claims
from pgsched.domain.settings import WorkerSettings
from pgsched.execution.process import settle_collector
from pgsched.execution.registry import Registry
from pgsched.observability import logs
from pgsched.worker import retention
from pgsched.worker.worker import Worker

INSERT = "insert into pgsched.tasks (task_type) select 'noop' from generate_series(1, %s)"
QUEUE_GIVEN = "insert into pgsched.tasks (task_type, queue) select 'noop', 'default' from generate_series(1, %s)"
WITH_PAYLOAD = "insert into pgsched.tasks (task_type, payload) select 'noop', %s::jsonb from generate_series(1, %s)"
SUSPENDED = """
    with restoring as (select set_config('pgsched.restoring', 'on', true))
    insert into pgsched.tasks (task_type, status, next_run_at)
    select 'order', 'blocked', null from restoring, generate_series(1, %s)
"""
RUNS = """
    insert into pgsched.durable_runs (task_id, tick_number, began_at, awaits, wakes_at)
    select id, 1, now(), '{event:approved}', now() + interval '2 days' from pgsched.tasks where status = 'blocked'
"""
LEAVING = "insert into pgsched.queues (name, retention) values ('default', '0')"
CLAIMS = 25
CLAIMED_ROWS = 100


class Order(BaseModel):
    """A payload with types."""

    number: int
    placed: datetime
    total: Decimal
    customer: str


async def run(dsn: str, given: dict[str, Any]) -> dict[str, float]:
    """One round. ``handler`` is one of those below; ``touched`` leaves no page for a full image to be written of,
    ``prune`` lets the worker delete at once what the settings say, ``leaving`` lets tasks leave with their finish."""
    tasks: int = given["tasks"]
    touched = bool(given.get("touched"))
    handled = asyncio.Event()
    registry = Registry()
    registry.register("noop", _handler(given.get("handler", "noop"), tasks, handled))
    if touched:
        await _execute(dsn, "checkpoint")
    if "payload" in given:
        await _execute(dsn, WITH_PAYLOAD, json.dumps(given["payload"]), tasks)
    else:
        await _execute(dsn, QUEUE_GIVEN if given.get("queue_given") else INSERT, tasks)
    if given.get("suspended"):
        await _execute(dsn, SUSPENDED, given["suspended"])
        await _execute(dsn, RUNS)
    if given.get("leaving"):
        await _execute(dsn, LEAVING)
    metrics: dict[str, float] = {}
    if given.get("prune"):
        retention.FIRST_SECONDS = 0
    worker = Worker(dsn=dsn, registry=registry, settings=WorkerSettings(concurrency=given.get("concurrency", 100)))
    working: list[asyncio.Future[None]] = []

    def work() -> asyncio.Future[None]:
        working.append(asyncio.ensure_future(worker.run()))
        return working[0]

    async def over(_connection: psycopg.AsyncConnection[Any]) -> bool:
        return not len(worker.leased_tasks)  # a hold is let go of when its outcome is committed

    async with _old_snapshot(dsn) if given.get("old_snapshot") else contextlib.nullcontext():
        if not touched:
            await settle(dsn)
        images = await _full_page_images(dsn)
        metrics |= await drain(dsn, tasks, work, handled, over)
    counted = (family for family in worker.counts.collect() if family.name == "pgsched_pruned")
    metrics["pruned"] = sum(sample.value for family in counted for sample in family.samples)
    worker.stop()
    await working[0]
    metrics["full_page_images"] = await _full_page_images(dsn) - images
    await _check(dsn, tasks, worker.identity.id)
    if given.get("claims"):
        await settle(dsn)
        metrics["claim_ms"] = median(await claim_times(dsn))
    return metrics


def _handler(kind: str, tasks: int, handled: asyncio.Event) -> Callable[..., Any]:
    count = 0

    def note() -> None:
        nonlocal count
        count += 1
        if count == tasks:
            handled.set()

    async def noop() -> None:
        note()

    async def sleep() -> None:
        await asyncio.sleep(0.01)
        note()

    loop = asyncio.get_running_loop()
    left = iter(range(tasks - 1))  # next() is one operation of the interpreter, whichever thread it is in

    def plain() -> None:
        if next(left, None) is None:
            loop.call_soon_threadsafe(handled.set)

    async def long() -> None:
        await asyncio.sleep(0.1)
        note()

    async def untyped(order: Any) -> None:
        note()

    async def typed(order: Order) -> None:
        note()

    return {"noop": noop, "sleep": sleep, "long": long, "plain": plain, "untyped": untyped, "typed": typed}[kind]


async def _execute(dsn: str, statement: str, *parameters: object) -> None:
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        await connection.execute(statement.encode(), parameters or None)


@contextlib.asynccontextmanager
async def _old_snapshot(dsn: str) -> AsyncIterator[None]:
    """A report that somebody began and does not end: vacuum may not remove a row that died since."""
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        await connection.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ)
        await connection.execute("select from pgsched.tasks limit 1")
        yield


async def claim_times(dsn: str) -> list[float]:
    """How long claims of 100 rows take, in ms: there are as many that are due, and they are deleted afterwards."""
    session = Session(dsn=dsn, name="bench claim", tuned=True)
    identity = claimant(CLAIMED_ROWS)
    times = []
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as producer:
        for _ in range(CLAIMS):
            await producer.execute(INSERT.encode(), (CLAIMED_ROWS,))
            begun = time.perf_counter()
            claimed = (await claims.claim(session, identity, PROBES, CLAIMED_ROWS)).tasks
            times.append((time.perf_counter() - begun) * 1000)
            if len(claimed) != CLAIMED_ROWS:
                raise RuntimeError(f"a claim took {len(claimed)} rows")
            ids = [task.id for task in claimed]
            await producer.execute(b"delete from pgsched.tasks where id = any(%s)", (ids,))
    await session.close()
    return times


async def _full_page_images(dsn: str) -> int:
    """Of the whole server so far. Exact once the connections that wrote are closed: they report late while open."""
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        await asyncio.sleep(0.2)
        cursor = await connection.execute("select wal_fpi from pg_stat_wal")
        row = await cursor.fetchone()
    return int(row[0]) if row else 0


async def _check(dsn: str, tasks: int, worker: UUID) -> None:
    """Not timed: every task is in the history exactly once, and none is left."""
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        cursor = await connection.execute(
            "select count(*), count(distinct task_id),"
            " (select count(*) from pgsched.tasks"
            "  where queue = 'default' and next_run_at <= now() and created_by is null)"
            " from pgsched.executions where status = 'completed' and worker_id = %s",
            (worker,),
        )
        row = await cursor.fetchone()
    if row != (tasks, tasks, 0):
        raise RuntimeError(f"{tasks} tasks, but (executions, tasks executed, left) are {row}")


if __name__ == "__main__":
    logs.configure("warning")
    settle_collector()  # as `pgsched worker` does
    _given = arguments()
    report(asyncio.run(run(_given["dsn"], _given)))
