"""Handlers for workers of queues with limits: they say when they ran."""

from __future__ import annotations

import asyncio
import os
import time

import psycopg

from pgsched import App, Context

app = App()


class _Marks:
    """One connection for all handlers of the process."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._connection: psycopg.AsyncConnection[tuple[object, ...]] | None = None

    async def put(self, task_id: int, change: int) -> None:
        async with self._lock:
            if self._connection is None:
                self._connection = await psycopg.AsyncConnection.connect(os.environ["PGSCHED_DSN"], autocommit=True)
            await self._connection.execute(
                "insert into marks (task_id, change) values (%s, %s)", (task_id, change), prepare=True
            )


_marks = _Marks()


@app.task("marked")
async def marked(seconds: float, ctx: Context) -> list[float]:
    """Writes into the database that it runs, and then that it does not; returns when it began and ended."""
    begun = time.time()
    await _marks.put(ctx.id, 1)
    await asyncio.sleep(seconds)
    await _marks.put(ctx.id, -1)
    return [begun, time.time()]


@app.task("timed")
async def timed(seconds: float = 0.0) -> float:
    """Returns when it began, by the clock of the machine."""
    begun = time.time()
    if seconds:
        await asyncio.sleep(seconds)
    return begun
