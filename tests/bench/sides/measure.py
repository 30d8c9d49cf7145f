"""What every side shares: the database of a round, and the watch that says when a queue is drained."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable
from dataclasses import asdict, dataclass
from time import perf_counter

import psycopg

LOOK_SECONDS = 0.005


@dataclass(frozen=True, kw_only=True)
class Round:
    """One round of one side."""

    tasks: int
    seconds: float
    wal_bytes: int

    @property
    def per_second(self) -> float:
        return self.tasks / self.seconds


async def drain(dsn: str, tasks: int, work: Awaitable[object], handled: asyncio.Event, left: str) -> Round:
    """Start ``work`` and time it until every handler has run and the statement ``left`` finds nothing left.

    The second condition makes the side write its outcomes: what a worker still holds in memory is not done.
    """
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as watch:
        await watch.execute("vacuum analyze")
        await watch.execute("checkpoint")
        before = await _wal(watch)
        begun = perf_counter()
        running = asyncio.ensure_future(work)
        handling = asyncio.ensure_future(handled.wait())
        await asyncio.wait([running, handling], return_when=asyncio.FIRST_COMPLETED)
        if not handled.is_set():
            running.result()
            raise RuntimeError("the worker ended before the queue was drained")
        while await _finds(watch, left):  # noqa: ASYNC110 - another process's table is no event
            await asyncio.sleep(LOOK_SECONDS)
        seconds = perf_counter() - begun
        wal_bytes = await _wal(watch) - before
    return Round(tasks=tasks, seconds=seconds, wal_bytes=wal_bytes)


def report(round_: Round) -> None:
    """Print the round for the parent."""
    json.dump(asdict(round_), sys.stdout)


async def _finds(connection: psycopg.AsyncConnection[tuple[object, ...]], statement: str) -> bool:
    cursor = await connection.execute(statement)  # type: ignore[call-overload]
    row = await cursor.fetchone()
    return bool(row and row[0])


async def _wal(connection: psycopg.AsyncConnection[tuple[object, ...]]) -> int:
    cursor = await connection.execute("select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint")
    row = await cursor.fetchone()
    return int(str(row[0])) if row else 0
