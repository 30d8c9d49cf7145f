"""One connection for one loop or thread: opened at first use, discarded after any error, opened again.

A session that met an error is not trusted with another statement: whatever state the server, a pooler or a failover
left it in, the next statement starts on a new connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from time import monotonic
from typing import Any

import psycopg
from psycopg import AsyncCursor
from psycopg.pq import TransactionStatus

from pgsched.db.connection import (
    AsyncDbConnection,
    DbConnection,
    connect,
    connect_async,
    settle_transaction,
    settled,
    transaction,
)
from pgsched.db.error_mapping import SilentDatabase, fault_of
from pgsched.db.sql_files import load_statement
from pgsched.domain.errors import DatabaseUnavailable

STATEMENT_TIMEOUT = 30.0
"""Seconds after which an unresponsive server is abandoned."""

Rows = list[tuple[Any, ...]]


def bound_lock_wait(seconds: float, *, once: bool) -> tuple[Any, dict[str, Any]]:
    """Return the statement that bounds the wait for row locks: of the session, or ``once``, of the transaction."""
    return load_statement("bound_lock_wait"), {"milliseconds": f"{1000 * seconds:.0f}", "pooled": once}


class Session:
    """An asynchronous connection that reconnects. Not for use by two coroutines at once."""

    def __init__(
        self, *, dsn: str, name: str, tuned: bool = False, timeout: float = STATEMENT_TIMEOUT, lock_timeout: float = 0.0
    ) -> None:
        """``tuned``: for claim and finish. ``lock_timeout``: seconds that a statement waits for a lock; 0: no limit."""
        self._dsn = dsn
        self._name = name
        self._tuned = tuned
        self._lock_timeout = lock_timeout
        self.timeout = timeout
        """Seconds after which an unresponsive server is abandoned."""
        self.asked_at: float | None = None
        """Since when an answer is awaited, by the monotonic clock; None when there is no query. From any thread."""
        self.opened = 0
        """The number of connections opened so far."""
        self._connection: AsyncDbConnection | None = None

    @property
    def connected(self) -> bool:
        """Whether a connection is open, as far as is known without using it."""
        return self._connection is not None and not self._connection.closed

    async def execute(self, statement: Any, parameters: dict[str, Any]) -> AsyncCursor[tuple[Any, ...]]:
        """Run one statement and return its cursor, rows included.

        Raises DatabaseUnavailable when the statement could not be run or its answer was lost, RefusedByDatabase when
        the server rejected its values.
        """
        async with self._guarded() as connection:
            if connection.pooled:
                return (await self._execute_pooled(connection, [(statement, parameters)]))[0]
            return await connection.execute(statement, parameters, prepare=True, binary=True)

    async def fetch(self, statement: Any, /, **parameters: Any) -> Rows:
        """Run one statement and return its rows; otherwise like :meth:`execute`."""
        cursor = await self.execute(statement, parameters)
        return await cursor.fetchall() if cursor.description else []

    async def execute_all(self, commands: Sequence[tuple[Any, dict[str, Any]]]) -> list[AsyncCursor[tuple[Any, ...]]]:
        """Run several statements in one transaction and one round trip; otherwise like :meth:`execute`."""
        async with self._guarded() as connection:
            if connection.pooled:
                return await self._execute_pooled(connection, commands)
            async with connection.pipeline(), connection.transaction():
                return [
                    await connection.execute(statement, parameters, prepare=True, binary=True)
                    for statement, parameters in commands
                ]

    @asynccontextmanager
    async def transaction(self, *, timeout: float | None = None) -> AsyncIterator[AsyncDbConnection]:
        """Lend the connection for several statements in one transaction, which an error rolls back.

        ``timeout``: time limit for all of it, in seconds. Raises like :meth:`execute`.
        """
        async with self._guarded(timeout) as connection, connection.transaction():
            yield connection

    async def open(self) -> AsyncDbConnection:
        """Return the connection, opening it when there is none."""
        if self._connection is None or self._connection.closed:
            self._connection = await connect_async(self._dsn, application_name=self._name)
            self.opened += 1
            if not self._connection.pooled:
                await self._set_up(self._connection)
        return self._connection

    async def close(self) -> None:
        """Close the connection; the next statement opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def _set_up(self, connection: AsyncDbConnection) -> None:
        """Apply the settings that this session relies on; behind a pooler for one transaction."""
        if self._tuned:
            await connection.execute(load_statement("tune_pooled" if connection.pooled else "tune_session"))
        if self._lock_timeout:
            await connection.execute(*bound_lock_wait(self._lock_timeout, once=connection.pooled))

    async def _execute_pooled(
        self, connection: AsyncDbConnection, commands: Sequence[tuple[Any, dict[str, Any]]]
    ) -> list[AsyncCursor[tuple[Any, ...]]]:
        """Behind a pooler settings last for one transaction, and what follows a commit in one message may be lost."""
        async with connection.transaction():
            async with connection.pipeline():
                await settle_transaction(connection)
                await self._set_up(connection)
            return [await connection.execute(statement, parameters, binary=True) for statement, parameters in commands]

    @asynccontextmanager
    async def _guarded(self, timeout: float | None = None) -> AsyncIterator[AsyncDbConnection]:
        timeout = timeout or self.timeout
        self.asked_at = monotonic()
        try:
            async with asyncio.timeout(timeout):
                yield await self.open()
        except psycopg.Error as error:
            await self.close()
            raise fault_of(error) from error
        except TimeoutError as error:
            await self.close()
            raise SilentDatabase(f"no answer within {timeout:g} s") from error
        except BaseException:
            await self.close()
            raise
        finally:
            self.asked_at = None


class Sessions:
    """At most ``size`` sessions that tasks of an event loop share: each user has one exclusively."""

    def __init__(self, make: Callable[[], Session], *, size: int) -> None:
        self._make = make
        self._free = asyncio.Semaphore(size)
        self._idle: list[Session] = []
        self._closed = False

    async def fetch(self, commands: Sequence[tuple[Any, dict[str, Any]]]) -> list[Rows]:
        """Run statements that return rows, in one transaction and one round trip; returns the rows of each.

        Raises like :meth:`Session.execute`.
        """
        async with self._free:
            session = self._idle.pop() if self._idle else self._make()
            try:
                if len(commands) == 1:
                    cursors = [await session.execute(*commands[0])]
                else:
                    cursors = await session.execute_all(commands)
            except DatabaseUnavailable:
                await self._close_idle()  # the others may have been lost in the same way
                raise
            finally:
                self._idle.append(session)
                if self._closed:
                    await session.close()
            return [await cursor.fetchall() if cursor.description else [] for cursor in cursors]

    async def close(self) -> None:
        """Close unused sessions; those in use are closed afterwards."""
        self._closed = True
        await self._close_idle()

    async def _close_idle(self) -> None:
        idle, self._idle = self._idle, []
        for session in idle:
            await session.close()


class ThreadSession:
    """Like :class:`Session`, for a thread."""

    def __init__(
        self, *, dsn: str, name: str, timeout: float, explain: Callable[[psycopg.Error], Exception] = fault_of
    ) -> None:
        """``timeout``: seconds after which a silent server is abandoned. ``explain`` converts errors."""
        self._dsn = dsn
        self._name = name
        self._timeout = timeout
        self._explain = explain
        self._connection: DbConnection | None = None

    @contextmanager
    def settled(self) -> Iterator[DbConnection]:
        """Lend the connection for one statement."""
        with self._guarded() as connection, settled(connection):
            yield connection

    @contextmanager
    def transaction(self, *, undo: bool = False) -> Iterator[None]:
        """Let several statements form one transaction; rolled back after an error, or on request."""
        with self._guarded() as connection, transaction(connection, undo=undo):
            yield

    def close(self) -> None:
        """Close the connection; the next statement opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    @contextmanager
    def _guarded(self) -> Iterator[DbConnection]:
        if self._connection is None or self._connection.closed:
            self._connection = connect(self._dsn, application_name=self._name, answer_timeout=self._timeout)
        connection = self._connection
        try:
            yield connection
        except psycopg.Error as error:
            if connection.info.transaction_status in (TransactionStatus.IDLE, TransactionStatus.UNKNOWN):
                self.close()  # otherwise whoever started the transaction ends it first
            raise self._explain(error) from None


def by_column(rows: Sequence[tuple[Any, ...]], *names: str) -> dict[str, list[Any]]:
    """Return the columns of rows by these names, as arrays for unnest()."""
    return {name: [row[place] for row in rows] for place, name in enumerate(names)}
