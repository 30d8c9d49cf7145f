"""A few connections that the tasks of a worker share, each opened when it is wanted and kept for the next."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import psycopg

from pgsched.db.connect import connect_async
from pgsched.db.faults import fault_of
from pgsched.db.link import AsyncLink
from pgsched.db.outcomes import Command
from pgsched.db.session import STATEMENT_TIMEOUT, Rows, bound_lock_wait
from pgsched.db.settled import transaction_async
from pgsched.domain.errors import DatabaseUnavailable

PooledConnection = AsyncLink

LOOK_SECONDS = 0.1
"""How often a connection that a handler left in use is looked at."""


class Pool:
    """At most ``size`` connections in autocommit mode."""

    def __init__(
        self,
        *,
        dsn: str,
        name: str,
        size: int,
        prepares: bool,
        timeout: float = STATEMENT_TIMEOUT,
        lock_timeout: float = 0.0,
    ) -> None:
        """``prepares``: whether statements are prepared. They must not be on connections that are lent to handlers,
        which prepare their own, and have the settings of their role and database. ``lock_timeout``: seconds that
        :meth:`fetch` waits for a lock; 0: no limit.
        """
        self.timeout = timeout
        """Seconds after which a server that does not answer is given up."""
        self._prepares = prepares
        self._lock_milliseconds = f"{1000 * lock_timeout:.0f}"
        self._dsn = dsn
        self._name = name
        self._free = asyncio.Semaphore(size)
        self._idle: list[PooledConnection] = []
        self._waiting: set[asyncio.Task[None]] = set()
        self._closed = False

    async def take(self) -> PooledConnection:
        """Return a connection that is nobody else's; waits when all are taken. Raises DatabaseUnavailable."""
        await self._free.acquire()
        try:
            while self._idle:
                connection = self._idle.pop()
                if not connection.closed:
                    return connection
            connection = await connect_async(self._dsn, application_name=self._name, own=self._prepares)
            if not self._prepares:
                connection.prepare_threshold = None
            if self._lock_milliseconds != "0" and not connection.pooled:
                await bound_lock_wait(connection, self._lock_milliseconds)
        except BaseException:
            self._free.release()
            raise
        return connection

    async def put(self, connection: PooledConnection, *, keep: bool = True) -> None:
        """Take a connection back; one that is closed, or not to be kept, is thrown away."""
        self._free.release()
        if keep and not self._closed and not connection.closed:
            self._idle.append(connection)
        else:
            await connection.close()

    async def drop(self, connection: PooledConnection) -> None:
        """Throw a connection away that failed, and those that wait with it: they may have gone the same way."""
        idle, self._idle = self._idle, []
        for other in idle:
            await other.close()
        await self.put(connection, keep=False)

    def put_later(self, connection: PooledConnection, in_use: Callable[[], bool]) -> None:
        """Take a connection back to throw it away, once nobody uses it: until then nobody else may touch it."""

        async def wait() -> None:
            while in_use():  # noqa: ASYNC110 - by a task or a thread of a handler, which tells nobody
                await asyncio.sleep(LOOK_SECONDS)
            await self.put(connection, keep=False)

        task = asyncio.create_task(wait(), name=f"{self._name} in use")
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)

    def leave(self, connection: PooledConnection) -> None:  # noqa: ARG002
        """Let go of a connection that a thread is still at and that cannot be waited for: it ends with that."""
        self._free.release()

    async def fetch(self, commands: Sequence[Command]) -> list[Rows]:
        """Run statements that answer with rows, in one transaction and one round trip; returns the rows of each.

        Raises RefusedByDatabase when the server refuses their values, DatabaseUnavailable for any other trouble.
        """
        connection = await self.take()
        try:
            async with asyncio.timeout(self.timeout), self._together(connection, len(commands)):
                cursors = [
                    await connection.execute(statement, parameters, prepare=True, binary=True)
                    for statement, parameters in commands
                ]
            rows = [await cursor.fetchall() if cursor.description else [] for cursor in cursors]
        except psycopg.Error as error:
            await self.drop(connection)
            raise fault_of(error) from error
        except TimeoutError as error:
            await self.drop(connection)
            raise DatabaseUnavailable(f"no answer within {self.timeout:g} s") from error
        except BaseException:
            await self.put(connection, keep=False)
            raise
        await self.put(connection)
        return rows

    @asynccontextmanager
    async def _together(self, connection: PooledConnection, statements: int) -> AsyncIterator[None]:
        """Several statements go out in one transaction and one round trip; one needs neither in a session of ours."""
        if connection.pooled:
            async with transaction_async(connection):
                if self._lock_milliseconds != "0":
                    await bound_lock_wait(connection, self._lock_milliseconds)
                yield
        elif statements == 1:
            yield
        else:
            async with connection.pipeline(), connection.transaction():
                yield

    async def close(self) -> None:
        """Close what nobody uses; what comes back later is closed then."""
        self._closed = True
        while self._idle:
            await self._idle.pop().close()
