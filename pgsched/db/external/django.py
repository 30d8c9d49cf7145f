"""Django's connections: ``django.db.connection`` and those of other aliases. Django uses psycopg 3 where it exists."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, NoReturn

import psycopg
from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils.connection import ConnectionProxy

from pgsched.db.external import Call, CallAsync
from pgsched.db.external.refusals import kind_of


@contextmanager
def enlist(connection: Any) -> Iterator[psycopg.Connection[Any] | Call]:
    """Enlist a connection of this thread; outside ``atomic`` the work forms a transaction of its own."""
    if not isinstance(connection, BaseDatabaseWrapper | ConnectionProxy):
        raise TypeError(f"connection must be django.db.connection or one of connections, got a {kind_of(connection)}")
    ours = connections[connection.alias]
    if isinstance(connection, BaseDatabaseWrapper) and connection is not ours:
        raise TypeError(f"connection {connection.alias!r} belongs to another thread: use this thread's")
    if ours.vendor != "postgresql":
        raise TypeError(f"connection must be one to PostgreSQL, got {ours.alias!r}, which is one to {ours.vendor}")
    with transaction.atomic(using=ours.alias):
        ours.validate_no_broken_transaction()
        if not isinstance(ours.connection, psycopg.Connection):
            raise TypeError(f"connection {ours.alias!r} must be by psycopg 3, got a {kind_of(ours.connection)}")
        yield ours.connection


@asynccontextmanager
async def enlist_async(connection: Any) -> AsyncIterator[psycopg.AsyncConnection[Any] | CallAsync]:
    """Refused: Django has no connections for event loops."""
    _refuse(connection)
    yield _refuse  # never reached: makes this a generator


def _refuse(connection: Any, _tasks: str = "") -> NoReturn:
    raise TypeError(
        f"connection must be for an event loop, got a {kind_of(connection)}, which belongs to a thread: "
        "schedule with the client for threads, by sync_to_async"
    )
