"""What every side shares: its arguments, the watch that says when a queue is drained, and the report."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any

import psycopg

LOOK_SECONDS = 0.002


def arguments() -> dict[str, Any]:
    """What the parent asked for."""
    given = json.loads(sys.argv[1])
    if not isinstance(given, dict):
        raise TypeError("the argument must be a JSON object")
    return given


def report(metrics: dict[str, float]) -> None:
    """Print the metrics for the parent."""
    json.dump(metrics, sys.stdout)


async def drain(
    dsn: str,
    tasks: int,
    work: Callable[[], Awaitable[object]],
    handled: asyncio.Event,
    over: Callable[[psycopg.AsyncConnection[Any]], Awaitable[bool]],
) -> dict[str, float]:
    """Start ``work`` and time it until every handler has run and ``over`` says that all outcomes are written.

    The second condition is what makes it a fair comparison: what a worker still holds in memory is not done.
    ``work`` is a function, so that nothing of it can run before the clock does.
    """
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as watch:
        wal_before = await _wal(watch)
        if handled.is_set():
            raise RuntimeError("the queue was drained before the clock ran")
        begun = perf_counter()
        running = asyncio.ensure_future(work())
        handling = asyncio.ensure_future(handled.wait())
        await asyncio.wait([running, handling], return_when=asyncio.FIRST_COMPLETED)
        if not handled.is_set():
            running.result()
            raise RuntimeError("the worker ended before the queue was drained")
        while not await over(watch):  # noqa: ASYNC110 - what another process does is no event
            await asyncio.sleep(LOOK_SECONDS)
        seconds = perf_counter() - begun
        wal_after = await _wal(watch)
    return {
        "per_second": tasks / seconds,
        "seconds": seconds,
        "wal_bytes_per_task": (wal_after - wal_before) / tasks,
    }


async def settle(dsn: str) -> None:
    """Clean up after the inserts and write everything to disk, so that neither falls into the time that counts."""
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        await connection.execute("vacuum analyze")
        await connection.execute("checkpoint")


def nothing_left(statement: str) -> Callable[[psycopg.AsyncConnection[Any]], Awaitable[bool]]:
    """A drain is over when this statement answers false."""

    async def over(connection: psycopg.AsyncConnection[Any]) -> bool:
        cursor = await connection.execute(statement.encode())
        row = await cursor.fetchone()
        return not (row and row[0])

    return over


async def _wal(connection: psycopg.AsyncConnection[Any]) -> int:
    cursor = await connection.execute("select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint")
    row = await cursor.fetchone()
    return int(row[0]) if row else 0
