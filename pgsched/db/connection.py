"""Our connections: opened with the settings that our statements rely on, and abandoned when the server falls silent.

A network may lose a connection without notice, or a proxy in it may keep accepting what reaches nobody. The kernel
detects neither, so whoever waits for an answer must set a time limit.

Whatever the role, the database and the DSN say, our statements mean the same. A session of our own is configured once,
when it is opened. Behind a pooler a session lasts for a transaction only, so each statement has a transaction there,
and each transaction the settings.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
    nullcontext,
    suppress,
)
from math import inf
from time import monotonic
from typing import Any, TypeVar

import psycopg
from psycopg import AsyncConnection, Connection, IsolationLevel, errors
from psycopg.errors import Diagnostic
from psycopg.pq import TransactionStatus
from psycopg.pq.abc import PGconn
from psycopg.waiting import wait_async

from pgsched.concurrency import fork_guard
from pgsched.db.adapt import adapt
from pgsched.db.dsn import connection_options, describe_dsn
from pgsched.db.error_mapping import one_line
from pgsched.db.notices import note
from pgsched.db.sql_files import load_statement
from pgsched.domain.errors import DatabaseUnavailable, UnfitDatabase

T = TypeVar("T")

GREET_SECONDS = 10.0
"""Time limit of a connection's first statement."""
TRIES = 5
"""How often to retry the first statement of a session whose role has too short a statement_timeout for it."""
CANCEL_SECONDS = 0.5
"""Time limit for telling the server that nobody waits for a statement any more."""
LOOK_SECONDS = 0.1
"""How often a waiting session checks the clock."""
NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE)
"""To wait for an answer takes a file descriptor, of which this process or its machine may have none left."""
ENCODING = "UTF8"
NOT_KEPT = 0
"""No process has this number: whoever passes it sets nothing for longer than a transaction."""


def connect(dsn: str, *, application_name: str = "pgsched", answer_timeout: float = inf) -> DbConnection:
    """Open a connection in autocommit mode.

    ``dsn`` is a libpq URI or keyword string; an empty one means the PG* environment variables. ``answer_timeout``:
    seconds after which a silent server is abandoned. The session has the settings that our statements rely on. Behind a
    pooler :func:`settled` provides them, and no statement is prepared: the session may be another one each time. Raises
    ConfigError for a malformed DSN and DatabaseUnavailable when it leads nowhere.
    """
    with _reaching(dsn):
        connection = DbConnection.connect(dsn, autocommit=True, **connection_options(dsn, application_name))
        connection.answer_timeout = min(answer_timeout, GREET_SECONDS)
        _greet(connection)
        connection.answer_timeout = answer_timeout
    adapt(connection)
    return connection


async def connect_async(
    dsn: str, *, application_name: str = "pgsched", answer_timeout: float = inf, own: bool = True
) -> AsyncDbConnection:
    """Open an asynchronous connection in autocommit mode; otherwise like :func:`connect`.

    A connection that is not our ``own`` keeps the settings of the role and the database: it is for handlers.
    """
    with _reaching(dsn):
        options = connection_options(dsn, application_name)
        connection = await AsyncDbConnection.connect(dsn, autocommit=True, **options)
        connection.answer_timeout = min(answer_timeout, GREET_SECONDS)
        await _greet_async(connection, own=own)
        connection.answer_timeout = answer_timeout
    adapt(connection)
    return connection


@contextmanager
def _reaching(dsn: str) -> Iterator[None]:
    """Convert an error into one that names the server, never the password, and why it cannot be reached."""
    try:
        yield
    except (psycopg.Error, OSError) as error:
        if isinstance(error, OSError) and error.errno not in NO_DESCRIPTORS:
            raise
        cause = one_line(error).removeprefix("connection failed: ")
        raise DatabaseUnavailable(f"cannot connect to PostgreSQL at {describe_dsn(dsn)}: {cause}") from error


class SilentServer(psycopg.OperationalError):
    """No answer arrived in time. The connection is closed."""


class _Ours:
    """What the connections of threads and of event loops share."""

    pgconn: PGconn
    add_notice_handler: Callable[[Callable[[Diagnostic], None]], None]
    answer_timeout = inf
    """Seconds to wait for an answer."""
    pooled = False
    """Whether there is a pooler in between, so that two transactions may use two sessions and neither keeps state."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.add_notice_handler(note)
        fork_guard.watch(self)

    def begin_afresh(self) -> None:
        """Leave the session to the parent of this forked process."""
        with suppress(psycopg.Error):  # it is closed
            fork_guard.cut_off(self.pgconn.socket)


class DbConnection(_Ours, Connection[tuple[Any, ...]]):
    """A connection of a thread."""

    def wait(self, gen: Any, *args: Any, **kwargs: Any) -> Any:
        """Run the steps of every method of a connection and its cursors."""
        if self.answer_timeout < inf:
            gen = _within(self.answer_timeout, gen)
        try:
            return super().wait(gen, *args, **kwargs)
        except SilentServer:
            self.pgconn.finish()
            raise
        except OSError as error:
            if error.errno not in NO_DESCRIPTORS:
                raise
            self.pgconn.finish()
            raise psycopg.OperationalError(f"cannot wait for the server: {one_line(error)}") from error


class AsyncDbConnection(_Ours, AsyncConnection[tuple[Any, ...]]):
    """A connection of an event loop. Cancelling a wait for an answer ends the connection."""

    async def wait(self, gen: Any, interval: float = LOOK_SECONDS, timeout: float | None = None) -> Any:
        """Like :class:`DbConnection`. On cancellation it informs the server, briefly, because it may be silent."""
        more: dict[str, Any] = {} if timeout is None else {"timeout": timeout}
        waiting = wait_async(gen, self.pgconn.socket, interval=interval, **more)
        try:
            if self.answer_timeout == inf:
                return await waiting
            async with asyncio.timeout(self.answer_timeout):
                return await waiting
        except asyncio.CancelledError:
            await self._give_up()
            raise
        except TimeoutError:
            await self._give_up()
            raise _silent(self.answer_timeout) from None

    async def _give_up(self) -> None:
        try:
            if self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                with suppress(psycopg.Error, OSError, TimeoutError):
                    await self.cancel_safe(timeout=CANCEL_SECONDS)
        finally:
            self.pgconn.finish()


def _within(seconds: float, gen: Generator[Any, Any, T]) -> Generator[Any, Any, T]:
    """Run the same steps; raises SilentServer once no answer has arrived for ``seconds``."""
    until = monotonic() + seconds
    ready = None
    while True:
        try:
            step = gen.send(ready)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]
        ready = yield step
        if ready:
            until = monotonic() + seconds
        elif monotonic() >= until:
            raise _silent(seconds)


def _silent(seconds: float) -> SilentServer:
    return SilentServer(f"no answer within {seconds:g} s")


def _greet(connection: DbConnection) -> None:
    """Configure a new session, and detect a pooler."""
    pid = connection.info.backend_pid
    for tries_left in reversed(range(TRIES)):
        try:
            cursor = connection.execute(load_statement("settle_session"), {"pid": pid}, prepare=False, binary=True)
            break
        except errors.QueryCanceled:
            if not tries_left:
                raise
    backend, reads_only, _count = cursor.fetchone() or (pid, False, 0)
    if backend != pid:
        connection.pooled = True
        connection.prepare_threshold = None
        connection.isolation_level, connection.deferrable = IsolationLevel.READ_COMMITTED, False
        connection.read_only = False if reads_only else None


async def _greet_async(connection: AsyncDbConnection, *, own: bool) -> None:
    """Like :func:`_greet`; a session that is not our ``own`` keeps its settings."""
    pid = connection.info.backend_pid
    given = {"pid": pid if own else NOT_KEPT}
    for tries_left in reversed(range(TRIES)):
        try:
            cursor = await connection.execute(load_statement("settle_session"), given, prepare=False, binary=True)
            break
        except errors.QueryCanceled:
            if not tries_left:
                raise
    backend, reads_only, _count = await cursor.fetchone() or (pid, False, 0)
    if backend != pid:
        connection.pooled = True
        connection.prepare_threshold = None
        await connection.set_isolation_level(IsolationLevel.READ_COMMITTED)
        await connection.set_deferrable(False)
        await connection.set_read_only(False if reads_only else None)


def settled(connection: Connection[Any]) -> AbstractContextManager[None]:
    """Run one statement with our settings: in the session, or behind a pooler in a transaction of its own."""
    return transaction(connection) if _needs_transaction(connection) else nullcontext()


def settled_async(connection: AsyncConnection[Any]) -> AbstractAsyncContextManager[None]:
    """Like :func:`settled`, for an event loop."""
    return transaction_async(connection) if _needs_transaction(connection) else nullcontext()


@contextmanager
def transaction(connection: Connection[Any], *, undo: bool = False) -> Iterator[None]:
    """A transaction, or a savepoint in one, with our settings; rolled back after an error, or on request."""
    with connection.transaction(force_rollback=undo):
        if _is_pooled(connection):
            connection.execute(load_statement("settle_session"), {"pid": NOT_KEPT})
        yield


@asynccontextmanager
async def transaction_async(connection: AsyncConnection[Any]) -> AsyncIterator[None]:
    """Like :func:`transaction`, for an event loop."""
    async with connection.transaction():
        if _is_pooled(connection):
            await settle_transaction(connection)
        yield


async def settle_transaction(connection: AsyncConnection[Any]) -> None:
    """Apply our settings to the current transaction, until its end."""
    await connection.execute(load_statement("settle_session"), {"pid": NOT_KEPT}, binary=True)


def is_standby(connection: Connection[Any] | AsyncConnection[Any]) -> bool:
    """Whether the server is a standby; it reports when it no longer is. A pooler may not pass that on."""
    return connection.info.parameter_status("in_hot_standby") == "on"


def refuse_encoding(connection: Connection[Any]) -> None:
    """Raise UnfitDatabase when the database cannot store every text."""
    encoding = connection.info.parameter_status("server_encoding")
    if encoding not in (ENCODING, None):
        raise UnfitDatabase(
            f"the database {connection.info.dbname!r} has the encoding {encoding}, which cannot hold every text: "
            f"pgsched needs one that was made with encoding '{ENCODING}'"
        )


def _is_pooled(connection: Connection[Any] | AsyncConnection[Any]) -> bool:
    return isinstance(connection, _Ours) and connection.pooled


def _needs_transaction(connection: Connection[Any] | AsyncConnection[Any]) -> bool:
    return _is_pooled(connection) and connection.info.transaction_status == TransactionStatus.IDLE
