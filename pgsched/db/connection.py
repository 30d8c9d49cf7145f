"""Our connections: opened with the settings that our statements rely on, and given up when the server falls silent.

A network may lose a connection without a word, or a proxy in it may go on taking what is sent to nobody. The kernel
notices neither, so whoever waits for an answer has to say how long.

Whatever the role, the database and the DSN say, our statements mean the same. A session of our own is set once, when it
is opened. Behind a pooler a session belongs to a transaction only, so each statement gets a transaction there, and each
transaction the settings.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Generator, Iterator
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
from typing import Any, LiteralString, TypeVar

import psycopg
from psycopg import AsyncConnection, Connection, IsolationLevel, errors
from psycopg.pq import TransactionStatus
from psycopg.waiting import wait_async

from pgsched.concurrency import fork_guard
from pgsched.db.adapt import adapt
from pgsched.db.dsn import connection_options, describe_dsn
from pgsched.db.error_mapping import one_line
from pgsched.db.sql_files import load_statement
from pgsched.domain.errors import DatabaseUnavailable, UnfitDatabase

T = TypeVar("T")

GREET_SECONDS = 10.0
"""How long the first statement of a connection may take."""
TRIES = 5
"""How often a session is greeted whose role has a statement_timeout shorter than what a new session does first."""
CANCEL_SECONDS = 0.5
"""How long the server may take to be told that nobody waits for a statement any more."""
LOOK_SECONDS = 0.1
"""How often one that waits looks at the clock."""
ENCODING = "UTF8"
NOT_KEPT = 0
"""No process has this number: whoever gives it sets nothing for longer than a transaction."""


def connect(dsn: str, *, application_name: str = "pgsched", patience: float = inf) -> Link:
    """Open a connection in autocommit mode.

    ``dsn`` is a libpq URI or keyword string; an empty one means the PG* environment variables. ``patience``: how many
    seconds an answer is waited for. Behind a pooler no statement is prepared: the session may be another one each time.
    The session has the settings that our statements rely on; behind a pooler :func:`settled` sees to that.
    Raises ConfigError for a DSN that cannot be read and DatabaseUnavailable for one that leads nowhere.
    """
    try:
        link = Link.connect(dsn, autocommit=True, **connection_options(dsn, application_name))
        link.patience = min(patience, GREET_SECONDS)
        _greet(link)
        link.patience = patience
    except psycopg.Error as error:
        raise _unreachable(dsn, error) from error
    adapt(link)
    return link


async def connect_async(
    dsn: str, *, application_name: str = "pgsched", patience: float = inf, own: bool = True
) -> AsyncLink:
    """Open an asynchronous connection in autocommit mode; otherwise as :func:`connect`.

    One that is not our ``own`` keeps the settings of the role and the database: it is lent to handlers.
    """
    try:
        link = await AsyncLink.connect(dsn, autocommit=True, **connection_options(dsn, application_name))
        link.patience = min(patience, GREET_SECONDS)
        await _greet_async(link, own=own)
        link.patience = patience
    except psycopg.Error as error:
        raise _unreachable(dsn, error) from error
    adapt(link)
    return link


class SilentServer(psycopg.OperationalError):
    """No answer came in time. The connection is closed."""


class Link(Connection[tuple[Any, ...]]):
    """A connection of a thread."""

    patience = inf
    """Seconds for which an answer is waited for."""
    pooled = False
    """There is a pooler in between, and two transactions may be in two sessions: nothing may be kept in one."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        fork_guard.watch(self)

    def begin_afresh(self) -> None:
        """Leave the session to the process that this one is a copy of."""
        _cut_off(self)

    def wait(self, gen: Any, *args: Any, **kwargs: Any) -> Any:
        """Do what every method of a connection and its cursors is done with."""
        if self.patience == inf:
            return super().wait(gen, *args, **kwargs)
        try:
            return super().wait(_patiently(gen, self.patience), *args, **kwargs)
        except SilentServer:
            self.pgconn.finish()
            raise


class AsyncLink(AsyncConnection[tuple[Any, ...]]):
    """A connection of an event loop. Whoever stops waiting for an answer has no connection any more."""

    patience = inf
    """As in :class:`Link`."""
    pooled = False
    """As in :class:`Link`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        fork_guard.watch(self)

    def begin_afresh(self) -> None:
        """As in :class:`Link`."""
        _cut_off(self)

    async def wait(self, gen: Any, interval: float = LOOK_SECONDS, timeout: float | None = None) -> Any:
        """As in :class:`Link`. One that is cancelled tells the server, for a moment: it may be silent."""
        more: dict[str, Any] = {} if timeout is None else {"timeout": timeout}
        waiting = wait_async(gen, self.pgconn.socket, interval=interval, **more)
        try:
            if self.patience == inf:
                return await waiting
            async with asyncio.timeout(self.patience):
                return await waiting
        except asyncio.CancelledError:
            await self._give_up()
            raise
        except TimeoutError:
            await self._give_up()
            raise _silent(self.patience) from None

    async def _give_up(self) -> None:
        try:
            if self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                with suppress(psycopg.Error, OSError, TimeoutError):
                    await self.cancel_safe(timeout=CANCEL_SECONDS)
        finally:
            self.pgconn.finish()


def _cut_off(link: Link | AsyncLink) -> None:
    with suppress(psycopg.Error):  # it is closed
        fork_guard.cut_off(link.pgconn.socket)


def _patiently(gen: Generator[Any, Any, T], seconds: float) -> Generator[Any, Any, T]:
    """The same steps; an error once no answer has come for ``seconds``."""
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


def _greet(link: Link) -> None:
    """Set a new session, and find out whether a pooler is in between."""
    pid = link.info.backend_pid
    for tries_left in reversed(range(TRIES)):
        try:
            cursor = link.execute(_settle(), {"pid": pid}, prepare=False, binary=True)
            break
        except errors.QueryCanceled:
            if not tries_left:
                raise
    backend, reads_only, _count = cursor.fetchone() or (pid, False, 0)
    if backend != pid:
        link.pooled = True
        link.prepare_threshold = None
        link.isolation_level, link.deferrable = IsolationLevel.READ_COMMITTED, False
        link.read_only = False if reads_only else None


async def _greet_async(link: AsyncLink, *, own: bool = True) -> None:
    """As :func:`_greet`; a session that is not our ``own`` keeps its settings."""
    pid = link.info.backend_pid
    for tries_left in reversed(range(TRIES)):
        try:
            given = {"pid": pid if own else NOT_KEPT}
            cursor = await link.execute(_settle(), given, prepare=False, binary=True)
            break
        except errors.QueryCanceled:
            if not tries_left:
                raise
    backend, reads_only, _count = await cursor.fetchone() or (pid, False, 0)
    if backend != pid:
        link.pooled = True
        link.prepare_threshold = None
        await link.set_isolation_level(IsolationLevel.READ_COMMITTED)
        await link.set_deferrable(False)
        await link.set_read_only(False if reads_only else None)


def settled(link: Connection[Any]) -> AbstractContextManager[None]:
    """Let one statement run with our settings: in the session, behind a pooler in a transaction of its own."""
    return transaction(link) if _needs_transaction(link) else nullcontext()


def settled_async(link: AsyncConnection[Any]) -> AbstractAsyncContextManager[None]:
    """As :func:`settled`, for an event loop."""
    return transaction_async(link) if _needs_transaction(link) else nullcontext()


@contextmanager
def transaction(link: Connection[Any], *, undo: bool = False) -> Iterator[None]:
    """A transaction, or a savepoint in one, with our settings; undone by an error, or if that is said."""
    with link.transaction(force_rollback=undo):
        if _is_pooled(link):
            link.execute(_settle(), {"pid": NOT_KEPT})
        yield


@asynccontextmanager
async def transaction_async(link: AsyncConnection[Any]) -> AsyncIterator[None]:
    """As :func:`transaction`, for an event loop."""
    async with link.transaction():
        if _is_pooled(link):
            await settle_transaction(link)
        yield


async def settle_transaction(link: AsyncConnection[Any]) -> None:
    """Give the transaction under way our settings, until its end."""
    await link.execute(_settle(), {"pid": NOT_KEPT}, binary=True)


def refuse_encoding(link: Connection[Any]) -> None:
    """Raise UnfitDatabase when the database cannot hold every text."""
    encoding = link.info.parameter_status("server_encoding")
    if encoding not in (ENCODING, None):
        raise UnfitDatabase(
            f"the database {link.info.dbname!r} has the encoding {encoding}, which cannot hold every text: "
            f"pgsched needs one that was made with encoding '{ENCODING}'"
        )


def _is_pooled(link: Connection[Any] | AsyncConnection[Any]) -> bool:
    return isinstance(link, Link | AsyncLink) and link.pooled


def _needs_transaction(link: Connection[Any] | AsyncConnection[Any]) -> bool:
    return _is_pooled(link) and link.info.transaction_status == TransactionStatus.IDLE


def _unreachable(dsn: str, error: psycopg.Error) -> DatabaseUnavailable:
    """Return the error for a server that cannot be reached: the place, never the password, and the cause."""
    said = one_line(error).removeprefix("connection failed: ")
    return DatabaseUnavailable(f"cannot connect to PostgreSQL at {describe_dsn(dsn)}: {said}")


def _settle() -> LiteralString:
    return load_statement("settle_session")
