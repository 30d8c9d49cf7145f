"""asyncpg's own connections, those of its pools included."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import asyncpg
import psycopg
from asyncpg.pool import PoolConnectionProxy

from pgsched.db.external import Call, CallAsync
from pgsched.db.external.refusals import kind_of, on_event_loop


@contextmanager
def enlist(connection: Any) -> Iterator[psycopg.Connection[Any] | Call]:
    """Refused: asyncpg's connections are for event loops."""
    raise on_event_loop(connection)
    yield _never  # makes this a generator


@asynccontextmanager
async def enlist_async(connection: Any) -> AsyncIterator[psycopg.AsyncConnection[Any] | CallAsync]:
    """Enlist a connection; outside a transaction the work forms its own."""
    if not isinstance(connection, asyncpg.Connection | PoolConnectionProxy):
        raise TypeError(f"connection must be a connection of asyncpg's, got a {kind_of(connection)}")

    async def call(statement: str, tasks: str) -> list[int]:
        rows = await connection.fetch(statement.replace("%(tasks)s", "$1"), tasks)
        return [int(row[0]) for row in rows]

    async with connection.transaction():
        yield call


def _never(_statement: str, _tasks: str) -> list[int]:
    raise AssertionError("nothing is enlisted")
