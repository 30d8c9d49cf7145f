"""Runs commands on a pool of our own that opens at first use. (On the caller's connection: :mod:`pgsched.db.enlist`.)

Twice, for threads and for event loops; what is sent and how it is read is written once, in the commands.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any, TypeVar, cast

import psycopg
from psycopg import AsyncConnection, AsyncCursor, Connection, Cursor
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool, ConnectionPool, PoolTimeout

from pgsched.concurrency import fork_guard
from pgsched.db.bulk import insert_tasks
from pgsched.db.commands import Command
from pgsched.db.connect import connect, connect_async
from pgsched.db.dsn import resolve_dsn
from pgsched.db.error_mapping import translate
from pgsched.db.link import AsyncLink, Link
from pgsched.db.migrate import check_schema
from pgsched.db.query_runner import fetch, fetch_async, take, take_async, translated
from pgsched.db.settled import settled, settled_async, transaction, transaction_async
from pgsched.db.standby import is_standby
from pgsched.domain.errors import ConfigError, DatabaseUnavailable, PgschedError, TransitionRefused
from pgsched.domain.task_spec import TaskSpec

T = TypeVar("T")

FIRST_WAIT = 1.0
"""Seconds without a free connection after which we look whether there is a server at all."""
LONGEST_WAIT = 30.0
"""Seconds that a caller waits for a free connection."""
LONGEST_ANSWER = 120.0
"""Seconds that a server may say nothing while it works on a command."""
CHECK_SECONDS = 5.0
"""Seconds that a connection which was not used may take to show that it is alive."""
MAX_POOL_SIZE = 1000
_ALONE = "this cannot be part of a transaction: it needs a connection of its own"


class _Connection(Connection[Any]):
    """Connections of the pool are opened like all others."""

    @classmethod
    def connect(cls, conninfo: str = "", **_options: Any) -> Connection[Any]:  # type: ignore[override]
        return connect(conninfo, application_name="pgsched client", patience=LONGEST_ANSWER)


class _AsyncConnection(AsyncConnection[Any]):
    """Connections of the pool are opened like all others."""

    @classmethod
    async def connect(  # type: ignore[override]
        cls, conninfo: str = "", **_options: Any
    ) -> AsyncConnection[Any]:
        return await connect_async(conninfo, application_name="pgsched client", patience=LONGEST_ANSWER)


class _Pool(ConnectionPool[Connection[Any]]):
    """A pool that a copy of the process leaves alone: its threads, and whoever has its lock, are not there."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self._generation = fork_guard.current()
        super().__init__(*args, **options)

    def putconn(self, conn: Connection[Any]) -> None:
        if self._generation == fork_guard.generation:
            super().putconn(conn)

    def __del__(self) -> None:
        if self._generation == fork_guard.generation:
            super().__del__()


class _AsyncPool(AsyncConnectionPool[AsyncConnection[Any]]):
    """As :class:`_Pool`, for an event loop."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self._generation = fork_guard.current()
        super().__init__(*args, **options)

    async def putconn(self, conn: AsyncConnection[Any]) -> None:
        if self._generation == fork_guard.generation:
            await super().putconn(conn)


class Database:
    """A database and at most ``pool_size`` connections to it, opened when the first command is run.

    A copy of the process that was forked opens its own. Every method raises DatabaseUnavailable and SchemaMismatch, and
    what the command's statement was refused for.
    """

    def __init__(self, *, dsn: str, pool_size: int) -> None:
        _check_size(pool_size)
        self._dsn = dsn
        self._size = pool_size
        self._closed = False
        self.begin_afresh()
        fork_guard.watch(self)

    def begin_afresh(self) -> None:
        """Know of no connections (called by pgsched in a copy of the process: they are its parent's)."""
        self._lock = threading.Lock()
        self._pool: _Pool | None = None
        self._leave: Callable[[], None] | None = None

    def run(self, command: Command[T]) -> T:
        """Run a command on the pool."""
        with self._connection() as connection, translated(command), settled(connection):
            rows = fetch(Cursor(connection, row_factory=dict_row), command)
        return command.parse(rows)

    def address(self) -> str:
        """Return the libpq DSN, for a connection of one's own."""
        return str(self._opened().conninfo)

    def insert(self, specs: Iterable[TaskSpec]) -> list[int]:
        """Insert many tasks in one transaction."""
        with self._connection() as connection:
            try:
                with transaction(connection):
                    return take(Cursor(connection, row_factory=dict_row), insert_tasks(specs))
            except psycopg.Error as error:
                raise translate(error) from None

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Database]:
        """Let several commands be one transaction: committed at the end, undone by an error."""
        with self._connection() as connection:
            try:
                with transaction(connection):
                    yield _InTransaction(connection)
            except psycopg.Error as error:  # of the commit
                raise translate(error) from None

    def close(self) -> None:
        """Close the connections; the database is not used again."""
        with self._lock:
            self._closed = True
            pool, self._pool = self._pool, None
            leave, self._leave = self._leave, None
        if pool is not None:
            pool.close()
        if leave is not None:
            leave()

    @contextlib.contextmanager
    def _connection(self) -> Iterator[Connection[Any]]:
        pool = self._opened()
        try:
            connection = pool.getconn(FIRST_WAIT)
        except PoolTimeout:
            connect(pool.conninfo if isinstance(pool.conninfo, str) else "").close()
            try:
                connection = pool.getconn(LONGEST_WAIT - FIRST_WAIT)
            except PoolTimeout:
                raise _all_taken(self._size) from None
        try:
            yield connection
        finally:
            pool.putconn(connection)

    def _opened(self) -> _Pool:
        fork_guard.current()
        with self._lock:
            if self._closed:
                raise _closed()
            if self._pool is None:
                dsn, leave = _enter(self._dsn)
                # Not at least one connection: a pool that cannot open it waits long and says little.
                self._pool = _Pool(
                    dsn,
                    connection_class=_Connection,
                    min_size=0,
                    max_size=self._size,
                    num_workers=1,
                    check=_check,
                    name="pgsched",
                    open=True,
                )
                self._leave = leave
            return self._pool


class AsyncDatabase:
    """As :class:`Database`, for an event loop; used from another loop it opens connections of that loop."""

    def __init__(self, *, dsn: str, pool_size: int) -> None:
        _check_size(pool_size)
        self._dsn = dsn
        self._size = pool_size
        self._lock: asyncio.Lock
        self.standby = False
        """The server is a standby, as was seen last: what only a primary has is read as empty."""
        self._closed = False
        self.begin_afresh()
        fork_guard.watch(self)

    def begin_afresh(self) -> None:
        """As in :class:`Database`."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pool: _AsyncPool | None = None
        self._entered: tuple[str, Callable[[], None]] | None = None

    async def run(self, command: Command[T]) -> T:
        """Run a command on the pool."""
        async with self._connection() as connection:
            with translated(command):
                async with settled_async(connection):
                    rows = await fetch_async(AsyncCursor(connection, row_factory=dict_row), command)
            self.standby = is_standby(connection)
        return command.parse(rows)

    async def address(self) -> str:
        """Return the libpq DSN, for a connection of one's own."""
        await self._opened()
        assert self._entered is not None  # noqa: S101
        return self._entered[0]

    async def insert(self, specs: Iterable[TaskSpec]) -> list[int]:
        """Insert many tasks in one transaction."""
        async with self._connection() as connection:
            try:
                async with transaction_async(connection):
                    return await take_async(AsyncCursor(connection, row_factory=dict_row), insert_tasks(specs))
            except psycopg.Error as error:
                raise translate(error) from None

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncDatabase]:
        """Let several commands be one transaction: committed at the end, undone by an error."""
        async with self._connection() as connection:
            self.standby = is_standby(connection)
            try:
                async with transaction_async(connection):
                    yield _AsyncInTransaction(connection)
            except psycopg.Error as error:  # of the commit
                raise translate(error) from None

    async def close(self) -> None:
        """Close the connections; the database is not used again."""
        self._closed = True
        pool, self._pool = self._pool, None
        entered, self._entered = self._entered, None
        if pool is not None and self._loop is asyncio.get_running_loop():
            await pool.close()
        if entered is not None:
            await asyncio.to_thread(entered[1])

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncIterator[AsyncConnection[Any]]:
        pool = await self._opened()
        try:
            connection = await pool.getconn(FIRST_WAIT)
        except PoolTimeout:
            await (await connect_async(pool.conninfo if isinstance(pool.conninfo, str) else "")).close()
            try:
                connection = await pool.getconn(LONGEST_WAIT - FIRST_WAIT)
            except PoolTimeout:
                raise _all_taken(self._size) from None
        try:
            yield connection
        finally:
            await pool.putconn(connection)

    async def _opened(self) -> _AsyncPool:
        fork_guard.current()
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            # Connections belong to the loop that opened them; those of a loop that has ended go with it.
            self._loop, self._lock, self._pool = loop, asyncio.Lock(), None
        async with self._lock:
            if self._closed:
                raise _closed()
            if self._entered is None:
                self._entered = await asyncio.to_thread(_enter, self._dsn)
            if self._pool is None:
                pool = _AsyncPool(
                    self._entered[0],
                    connection_class=_AsyncConnection,
                    min_size=0,
                    max_size=self._size,
                    num_workers=1,
                    check=_check_async,
                    name="pgsched",
                    open=False,
                )
                await pool.open()
                self._pool = pool
            return self._pool


class _InTransaction(Database):
    """A database by the connection of one transaction; one of its own becomes a savepoint."""

    def __init__(self, connection: Connection[Any]) -> None:
        super().__init__(dsn="", pool_size=1)
        self._one = connection

    def address(self) -> str:
        """Refuse: another connection would not see what this one does."""
        raise TransitionRefused(_ALONE)

    @contextlib.contextmanager
    def _connection(self) -> Iterator[Connection[Any]]:
        yield self._one


class _AsyncInTransaction(AsyncDatabase):
    """As :class:`_InTransaction`, for an event loop."""

    def __init__(self, connection: AsyncConnection[Any]) -> None:
        super().__init__(dsn="", pool_size=1)
        self._one = connection

    async def address(self) -> str:
        """Refuse: another connection would not see what this one does."""
        raise TransitionRefused(_ALONE)

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncIterator[AsyncConnection[Any]]:
        yield self._one


def _check(connection: Connection[Any]) -> None:
    """Find out whether a connection is alive; as psycopg_pool's own check, but a silent one is dead."""
    link = cast(Link, connection)
    link.patience = CHECK_SECONDS
    link.execute("")
    link.patience = LONGEST_ANSWER


async def _check_async(connection: AsyncConnection[Any]) -> None:
    """As :func:`_check`."""
    link = cast(AsyncLink, connection)
    link.patience = CHECK_SECONDS
    await link.execute("")
    link.patience = LONGEST_ANSWER


def _enter(dsn: str) -> tuple[str, Callable[[], None]]:
    """The libpq DSN of a database with the schema that this program needs, and how to leave it."""
    resolved, leave = resolve_dsn(dsn)
    try:
        check_schema(resolved)
    except psycopg.Error as error:
        leave()
        raise translate(error) from None
    except PgschedError:
        leave()
        raise
    return resolved, leave


def _check_size(size: int) -> None:
    if not 1 <= size <= MAX_POOL_SIZE:
        raise ConfigError(f"pool_size must be between 1 and {MAX_POOL_SIZE}, got {size}")


def _closed() -> DatabaseUnavailable:
    return DatabaseUnavailable("the client is closed")


def _all_taken(size: int) -> DatabaseUnavailable:
    return DatabaseUnavailable(f"no connection was free within {LONGEST_WAIT:g} seconds (pool_size {size})")
