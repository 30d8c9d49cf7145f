"""The settings that our statements rely on: whatever the role, the database and the DSN say, they mean the same.

A session of our own is set once, when it is opened. Behind a pooler a session belongs to a transaction only, so each
statement gets a transaction there, and each transaction the settings.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, LiteralString

from psycopg import AsyncConnection, Connection, IsolationLevel, errors
from psycopg.pq import TransactionStatus

from pgsched.db.link import AsyncLink, Link
from pgsched.db.sql_files import load_statement
from pgsched.domain.errors import UnfitDatabase

TRIES = 5
"""How often a session is greeted whose role has a statement_timeout shorter than what a new session does first."""
ENCODING = "UTF8"
NOT_KEPT = 0
"""No process has this number: whoever gives it sets nothing for longer than a transaction."""


def greet(link: Link) -> None:
    """Set a new session, and find out whether a pooler is in between."""
    pid = link.info.backend_pid
    tries = TRIES
    while True:
        try:
            cursor = link.execute(_settle(), {"pid": pid}, prepare=False, binary=True)
            break
        except errors.QueryCanceled:
            tries -= 1
            if not tries:
                raise
    backend, reads_only, _count = cursor.fetchone() or (pid, False, 0)
    if backend != pid:
        link.pooled = True
        link.prepare_threshold = None
        link.isolation_level, link.deferrable = IsolationLevel.READ_COMMITTED, False
        link.read_only = False if reads_only else None


async def greet_async(link: AsyncLink, *, own: bool = True) -> None:
    """As :func:`greet`; a session that is not our ``own`` keeps its settings."""
    pid = link.info.backend_pid
    tries = TRIES
    while True:
        try:
            given = {"pid": pid if own else NOT_KEPT}
            cursor = await link.execute(_settle(), given, prepare=False, binary=True)
            break
        except errors.QueryCanceled:
            tries -= 1
            if not tries:
                raise
    backend, reads_only, _count = await cursor.fetchone() or (pid, False, 0)
    if backend != pid:
        link.pooled = True
        link.prepare_threshold = None
        await link.set_isolation_level(IsolationLevel.READ_COMMITTED)
        await link.set_deferrable(False)
        await link.set_read_only(False if reads_only else None)


@contextmanager
def settled(link: Connection[Any]) -> Iterator[None]:
    """Let one statement run with our settings: in the session, behind a pooler in a transaction of its own."""
    if _is_pooled(link) and link.info.transaction_status == TransactionStatus.IDLE:
        with transaction(link):
            yield
    else:
        yield


@asynccontextmanager
async def settled_async(link: AsyncConnection[Any]) -> AsyncIterator[None]:
    """As :func:`settled`, for an event loop."""
    if _is_pooled(link) and link.info.transaction_status == TransactionStatus.IDLE:
        async with transaction_async(link):
            yield
    else:
        yield


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


def _settle() -> LiteralString:
    return load_statement("settle_session")
