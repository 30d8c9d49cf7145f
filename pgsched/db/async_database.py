"""Runs commands on our own pool, which opens at first use.

The commands define what is sent and how it is read. For the caller's connection: :mod:`pgsched.db.async_enlist`.
"""

from __future__ import annotations

import asyncio  # async only
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, TypeVar, cast

from psycopg import AsyncConnection, AsyncCursor
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from pgsched.concurrency import fork_guard
from pgsched.concurrency.async_primitives import Mutex, run_blocking
from pgsched.db.async_query_runner import fetch_async, take_async
from pgsched.db.connection import AsyncDbConnection, connect_async, is_standby, settled_async, transaction_async
from pgsched.db.dsn import resolve_dsn
from pgsched.db.error_mapping import translated
from pgsched.db.migrations.runner import check_schema
from pgsched.db.queries.bulk_insert import insert_tasks
from pgsched.db.query import Command
from pgsched.domain.errors import ConfigError, DatabaseUnavailable, TransitionRefused
from pgsched.domain.task_spec import TaskSpec

T = TypeVar("T")

FIRST_WAIT = 1.0
"""Seconds without a free connection after which we check whether the server exists at all."""
LONGEST_WAIT = 30.0
"""Seconds that a caller waits for a free connection."""
LONGEST_ANSWER = 120.0
"""Seconds that a server may be silent while it works on a command."""
CHECK_SECONDS = 5.0
"""Seconds that an unused connection may take to show that it is alive."""
MAX_POOL_SIZE = 1000


class _AsyncConnection(AsyncConnection[Any]):
    """Opens the connections of the pool like all others."""

    @classmethod
    async def connect(  # type: ignore[override]
        cls, conninfo: str = "", **_options: Any
    ) -> AsyncConnection[Any]:
        return await connect_async(conninfo, application_name="pgsched client", answer_timeout=LONGEST_ANSWER)


class _AsyncPool(AsyncConnectionPool[AsyncConnection[Any]]):
    """A pool that a fork of the process leaves alone: its threads, and the holder of its lock, do not exist there."""

    def __init__(self, dsn: str, *, size: int) -> None:
        self.dsn = dsn
        self._generation = fork_guard.current()
        # No minimum of one connection: a pool that cannot open it waits long and reports little.
        super().__init__(
            dsn,
            connection_class=_AsyncConnection,
            min_size=0,
            max_size=size,
            num_workers=1,
            check=_check,
            name="pgsched",
            open=False,
        )

    async def putconn(self, conn: AsyncConnection[Any]) -> None:
        if self._generation == fork_guard.generation:
            await super().putconn(conn)

    def __del__(self) -> None:
        end = getattr(super(), "__del__", None)  # a pool with threads has one
        if end is not None and self._generation == fork_guard.generation:
            end()


class AsyncDatabase:
    """A database and at most ``pool_size`` connections to it, opened when the first command is run.

    A fork of the process opens its own. Every method raises DatabaseUnavailable and SchemaMismatch, and the error with
    which the command's statement was rejected.
    """

    def __init__(self, *, dsn: str, pool_size: int) -> None:
        if not 1 <= pool_size <= MAX_POOL_SIZE:
            raise ConfigError(f"must be between 1 and {MAX_POOL_SIZE}", field="pool_size", value=pool_size)
        self._dsn = dsn
        self._size = pool_size
        self.standby = False
        """Whether the server was last seen as a standby: what only a primary has is then read as empty."""
        self._closed = False
        self.begin_afresh()
        fork_guard.watch(self)

    def begin_afresh(self) -> None:
        """Forget all connections (called by pgsched in a fork of the process: they are its parent's)."""
        self._lock = Mutex()
        self._loop: asyncio.AbstractEventLoop | None = None  # async only
        self._pool: _AsyncPool | None = None
        self._entered: tuple[str, Callable[[], None]] | None = None

    async def run(self, command: Command[T]) -> T:
        """Run a command on the pool."""
        async with self._connection() as connection:
            with translated(command.params):
                async with settled_async(connection):
                    rows = await fetch_async(AsyncCursor(connection, row_factory=dict_row), command)
            self.standby = is_standby(connection)
        return command.parse(rows)

    async def address(self) -> str:
        """Return the libpq DSN, for a connection of one's own."""
        pool = await self._opened()
        return pool.dsn

    async def insert(self, specs: Iterable[TaskSpec]) -> list[int]:
        """Insert many tasks in one transaction."""
        async with self._connection() as connection:
            with translated():
                async with transaction_async(connection):
                    return await take_async(AsyncCursor(connection, row_factory=dict_row), insert_tasks(specs))

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncDatabase]:
        """Let several commands form one transaction: committed at the end, rolled back after an error."""
        async with self._connection() as connection:
            self.standby = is_standby(connection)
            with translated():
                async with transaction_async(connection):
                    yield _AsyncInTransaction(connection)

    async def close(self) -> None:
        """Close the connections; the database is not used again."""
        self._follow_loop()  # async only
        async with self._lock:
            self._closed = True
            pool, self._pool = self._pool, None
            entered, self._entered = self._entered, None
        if pool is not None:
            await pool.close()
        if entered is not None:
            _, leave = entered
            await run_blocking(leave)

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncIterator[AsyncConnection[Any]]:
        pool = await self._opened()
        try:
            connection = await pool.getconn(FIRST_WAIT)
        except PoolTimeout:
            probe = await connect_async(pool.dsn)
            await probe.close()
            try:
                connection = await pool.getconn(LONGEST_WAIT - FIRST_WAIT)
            except PoolTimeout:
                raise DatabaseUnavailable(
                    f"no connection was free within {LONGEST_WAIT:g} seconds (pool_size {self._size})"
                ) from None
        try:
            yield connection
        finally:
            await pool.putconn(connection)

    async def _opened(self) -> _AsyncPool:
        fork_guard.current()
        self._follow_loop()  # async only
        async with self._lock:
            if self._closed:
                raise DatabaseUnavailable("the client is closed")
            if self._entered is None:
                self._entered = await run_blocking(_enter, self._dsn)
            if self._pool is None:
                pool = _AsyncPool(self._entered[0], size=self._size)
                await pool.open()
                self._pool = pool
            return self._pool

    def _follow_loop(self) -> None:  # async only
        """Forget the connections that belong to another event loop; those of an ended loop are gone with it."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop, self._lock, self._pool = loop, Mutex(), None


class _AsyncInTransaction(AsyncDatabase):
    """A database accessed by the connection of one transaction; a nested transaction becomes a savepoint."""

    def __init__(self, connection: AsyncConnection[Any]) -> None:
        super().__init__(dsn="", pool_size=1)
        self._one = connection

    async def address(self) -> str:
        """Refuse: another connection would not see this one's changes."""
        raise TransitionRefused("this cannot be part of a transaction: it needs a connection of its own")

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncIterator[AsyncConnection[Any]]:
        yield self._one


async def _check(connection: AsyncConnection[Any]) -> None:
    """Find out whether a connection is alive, like psycopg_pool's own check, except that a silent one is dead."""
    ours = cast(AsyncDbConnection, connection)
    ours.answer_timeout = CHECK_SECONDS
    await ours.execute("")
    ours.answer_timeout = LONGEST_ANSWER


def _enter(dsn: str) -> tuple[str, Callable[[], None]]:
    """The libpq DSN of a database with the schema that this program needs, and how to release it."""
    resolved, leave = resolve_dsn(dsn)
    try:
        with translated():
            check_schema(resolved)
    except BaseException:
        leave()
        raise
    return resolved, leave
