"""The connections that a worker lends to handlers, each opened when it is wanted and kept for the next.

psycopg_pool has no place here: its workers are asyncio tasks, which a handler that cancels all tasks would end, and a
connection that a handler's thread still uses can neither be returned nor thrown away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from pgsched.db.connection import AsyncLink, connect_async

PooledConnection = AsyncLink

LOOK_SECONDS = 0.1
"""How often a connection that a handler left in use is looked at."""


class Pool:
    """At most ``size`` connections in autocommit mode, with the settings of their role and database."""

    def __init__(self, *, dsn: str, name: str, size: int, timeout: float) -> None:
        self.timeout = timeout
        """Seconds after which a server that does not answer is given up."""
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
            connection = await connect_async(self._dsn, application_name=self._name, own=False)
            connection.prepare_threshold = None  # handlers prepare their own statements
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

    async def close(self) -> None:
        """Close what nobody uses; what comes back later is closed then."""
        self._closed = True
        while self._idle:
            await self._idle.pop().close()
