"""SQLAlchemy's sessions and connections, sync and async, whichever driver is below."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from typing import Any

import psycopg
import sqlalchemy
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, async_scoped_session
from sqlalchemy.orm import Session, scoped_session

from pgsched.db.external import Call, CallAsync
from pgsched.db.external.refusals import kind_of, on_event_loop, on_threads

_ASYNC = (AsyncConnection, AsyncSession, async_scoped_session)
_SYNC = (sqlalchemy.Connection, Session, scoped_session)


@contextmanager
def enlist(connection: Any) -> Iterator[psycopg.Connection[Any] | Call]:
    """Enlist the connection of a Session or a Connection, starting its transaction if necessary."""
    if isinstance(connection, _ASYNC):
        raise on_event_loop(connection)
    if not isinstance(connection, _SYNC):
        raise TypeError(f"connection must be a Session or a Connection of SQLAlchemy's, got a {kind_of(connection)}")
    ours = connection if isinstance(connection, sqlalchemy.Connection) else connection.connection()
    with nullcontext() if _begin(ours) else ours.begin_nested():
        below = ours.connection.driver_connection
        if isinstance(below, psycopg.Connection):
            yield below
        else:
            yield lambda statement, tasks: _call(ours, statement, tasks)


@asynccontextmanager
async def enlist_async(connection: Any) -> AsyncIterator[psycopg.AsyncConnection[Any] | CallAsync]:
    """Enlist the connection of an AsyncSession or an AsyncConnection; otherwise like :func:`enlist`."""
    if isinstance(connection, _SYNC):
        raise on_threads(connection)
    if not isinstance(connection, _ASYNC):
        raise TypeError(
            f"connection must be an AsyncSession or an AsyncConnection of SQLAlchemy's, got a {kind_of(connection)}"
        )
    ours = connection if isinstance(connection, AsyncConnection) else await connection.connection()
    alone = await ours.run_sync(_begin)
    async with nullcontext() if alone else ours.begin_nested():
        below = (await ours.get_raw_connection()).driver_connection
        if isinstance(below, psycopg.AsyncConnection):
            yield below
        else:
            yield lambda statement, tasks: ours.run_sync(_call, statement, tasks)


def _begin(connection: sqlalchemy.Connection) -> bool:
    """Start the transaction if necessary; returns whether the connection autocommits, without savepoints."""
    if connection.dialect.name != "postgresql":
        raise TypeError(f"connection must be one to PostgreSQL, got one of the dialect {connection.dialect.name!r}")
    if not connection.in_transaction():
        connection.begin()  # as its first statement would do, so that it knows about the transaction
    return bool(getattr(connection.connection.dbapi_connection, "autocommit", False))


def _call(connection: sqlalchemy.Connection, statement: str, tasks: str) -> list[int]:
    text = sqlalchemy.text(statement.replace("%(tasks)s", "(:tasks)"))
    return [int(task_id) for (task_id,) in connection.execute(text, {"tasks": tasks})]
