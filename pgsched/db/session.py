"""One connection for one loop or thread: opened at first use, thrown away when anything went wrong, opened again.

A session that met an error is not trusted with another statement: whatever state the server, a pooler or a failover
left it in, the next statement begins on a new connection.
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
"""Seconds after which a server that does not answer is given up."""

Rows = list[tuple[Any, ...]]


class Session:
    """An asynchronous connection that heals. Not for use by two coroutines at once."""

    def __init__(
        self, *, dsn: str, name: str, tuned: bool = False, timeout: float = STATEMENT_TIMEOUT, lock_timeout: float = 0.0
    ) -> None:
        """``tuned``: for claim and finish. ``lock_timeout``: seconds that a statement waits for a lock; 0: no limit."""
        self._dsn = dsn
        self._name = name
        self._tuned = tuned
        self._lock_milliseconds = f"{1000 * lock_timeout:.0f}"
        self.timeout = timeout
        """Seconds after which a server that does not answer is given up."""
        self.asked_at: float | None = None
        """Since when an answer is waited for, by the monotonic clock; None while nothing is asked. From any thread."""
        self.opened = 0
        """How many connections were opened so far."""
        self._connection: AsyncDbConnection | None = None

    @property
    def connected(self) -> bool:
        """Whether a connection is open, as far as is known without asking it."""
        return self._connection is not None and not self._connection.closed

    async def execute(self, statement: Any, parameters: dict[str, Any]) -> AsyncCursor[tuple[Any, ...]]:
        """Run one statement and return its cursor, rows included.

        Raises DatabaseUnavailable when the statement could not be run or its answer was lost, RefusedByDatabase when
        the server refused it for its values.
        """
        async with self._guarded() as connection:
            if connection.pooled:
                return (await self._execute_pooled(connection, [(statement, parameters)]))[0]
            return await connection.execute(statement, parameters, prepare=True, binary=True)

    async def fetch(self, statement: Any, /, **parameters: Any) -> Rows:
        """Run one statement and return its rows; otherwise as :meth:`execute`."""
        cursor = await self.execute(statement, parameters)
        return await cursor.fetchall() if cursor.description else []

    async def execute_all(self, commands: Sequence[tuple[Any, dict[str, Any]]]) -> list[AsyncCursor[tuple[Any, ...]]]:
        """Run several statements in one transaction and one round trip; otherwise as :meth:`execute`."""
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
        """Lend the connection for several statements in one transaction, which is undone by an error.

        ``timeout``: seconds that all of it may take. Raises as :meth:`execute`.
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
        """Set what this session relies on; behind a pooler for one transaction."""
        if self._tuned:
            await connection.execute(load_statement("tune_pooled" if connection.pooled else "tune_session"))
        if self._lock_milliseconds != "0":
            given = {"milliseconds": self._lock_milliseconds, "pooled": connection.pooled}
            await connection.execute(load_statement("bound_lock_wait"), given)

    async def _execute_pooled(
        self, connection: AsyncDbConnection, commands: Sequence[tuple[Any, dict[str, Any]]]
    ) -> list[AsyncCursor[tuple[Any, ...]]]:
        """Behind a pooler: settings hold for one transaction, and what follows a commit in one message may be lost."""
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
    """At most ``size`` sessions that tasks of an event loop share: whoever asks gets one that nobody else uses."""

    def __init__(self, make: Callable[[], Session], *, size: int) -> None:
        self._make = make
        self._free = asyncio.Semaphore(size)
        self._idle: list[Session] = []
        self._closed = False

    async def fetch(self, commands: Sequence[tuple[Any, dict[str, Any]]]) -> list[Rows]:
        """Run statements that answer with rows, in one transaction and one round trip; returns the rows of each.

        Raises as :meth:`Session.execute`.
        """
        async with self._free:
            session = self._idle.pop() if self._idle else self._make()
            try:
                if len(commands) == 1:
                    cursors = [await session.execute(*commands[0])]
                else:
                    cursors = await session.execute_all(commands)
            except DatabaseUnavailable:
                await self._close_idle()  # the others may have gone the same way
                raise
            finally:
                self._idle.append(session)
                if self._closed:
                    await session.close()
            return [await cursor.fetchall() if cursor.description else [] for cursor in cursors]

    async def close(self) -> None:
        """Close what nobody uses; what is in use is closed after that."""
        self._closed = True
        await self._close_idle()

    async def _close_idle(self) -> None:
        idle, self._idle = self._idle, []
        for session in idle:
            await session.close()


class ThreadSession:
    """As :class:`Session`, for a thread."""

    def __init__(
        self, *, dsn: str, name: str, timeout: float, explain: Callable[[psycopg.Error], Exception] = fault_of
    ) -> None:
        """``timeout``: seconds after which a silent server is given up. ``explain`` says what errors become."""
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
        """Let several statements be one transaction; undone by an error, or if that is said."""
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
                self.close()  # else whoever began the transaction ends it first
            raise self._explain(error) from None


def by_column(rows: Sequence[tuple[Any, ...]], *names: str) -> dict[str, list[Any]]:
    """Return the columns of rows by these names, as arrays for unnest()."""
    return {name: [row[place] for row in rows] for place, name in enumerate(names)}
