"""pgsched under a steady rate of rows: the size of the table, and how soon tasks start."""

from __future__ import annotations

import asyncio
import time
from statistics import median
from typing import Any

import psycopg

from benchmarks.sides.measure import arguments, report
from pgsched.domain.settings import WorkerSettings
from pgsched.execution.process import settle_collector
from pgsched.execution.registry import Registry
from pgsched.observability import logs
from pgsched.worker.worker import Worker

INSERTS_A_SECOND = 20
INSERT = "insert into pgsched.tasks (task_type) select 'noop' from generate_series(1, %s)"
SIZES = """
    select pg_relation_size('pgsched.tasks') / 1e6, pg_relation_size('pgsched.tasks_due') / 1e6, n_dead_tup,
      autovacuum_count, pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')
    from pg_stat_user_tables where relid = 'pgsched.tasks'::regclass
    """


async def run(dsn: str, given: dict[str, Any]) -> dict[str, float]:
    """One round: ``per_second`` rows for ``seconds``, after the statements of ``storage`` changed the table."""
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        for statement in given["storage"]:
            await connection.execute(statement.encode())
        before = await _sizes(connection)
        registry = Registry()

        async def noop() -> None:
            return None

        registry.register("noop", noop)
        worker = Worker(dsn=dsn, registry=registry, settings=WorkerSettings(concurrency=100))
        working = asyncio.ensure_future(worker.run())
        await asyncio.sleep(1)
        waits = await _feed(connection, given["per_second"], given["seconds"])
        while len(worker.leased_tasks):  # noqa: ASYNC110 - what waits is no event
            await asyncio.sleep(0.01)
        after = await _sizes(connection)
        worker.stop()
        await working
    return {
        "wait_ms": median(waits),
        "wait_p99_ms": sorted(waits)[round(len(waits) * 0.99) - 1],
        "table_mb": after[0] - before[0],
        "index_mb": after[1] - before[1],
        "dead_rows": after[2],
        "vacuums": after[3] - before[3],
        "wal_bytes_per_task": (after[4] - before[4]) / (given["per_second"] * given["seconds"]),
    }


async def _feed(connection: psycopg.AsyncConnection[Any], per_second: int, seconds: float) -> list[float]:
    """Insert on time; return how long, in ms, each insert's rows took until the last of them was finished."""
    begun = time.perf_counter()
    waits = []
    for turn in range(round(seconds * INSERTS_A_SECOND)):
        await asyncio.sleep(max(begun + turn / INSERTS_A_SECOND - time.perf_counter(), 0))
        inserted = time.perf_counter()
        await connection.execute(INSERT.encode(), (per_second // INSERTS_A_SECOND,))
        while True:
            cursor = await connection.execute(
                b"select exists (select from pgsched.tasks"
                b" where next_run_at <= now() and enabled and queue = 'default')"
            )
            row = await cursor.fetchone()
            if not (row and row[0]) or time.perf_counter() - begun > (turn + 1) / INSERTS_A_SECOND:
                break
            await asyncio.sleep(0.002)
        waits.append((time.perf_counter() - inserted) * 1000)
    return waits


async def _sizes(connection: psycopg.AsyncConnection[Any]) -> tuple[float, ...]:
    await asyncio.sleep(1.5)  # a session reports its counts with a delay
    cursor = await connection.execute(SIZES.encode())
    row = await cursor.fetchone()
    return tuple(map(float, row)) if row else (0.0,) * 5


if __name__ == "__main__":
    logs.configure("warning")
    settle_collector()
    _given = arguments()
    report(asyncio.run(run(_given["dsn"], _given)))
