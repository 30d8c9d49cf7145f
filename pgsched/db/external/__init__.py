"""Connections of other libraries: a task that is scheduled on one belongs to its transaction.

One module per library, imported only when a connection of it is used. For the length of a ``with``, each provides
psycopg's own connection where the library uses psycopg, else a way to run one statement. It is wrapped in a savepoint
when the caller is in a transaction: an error of ours leaves the transaction as it was before the call.
"""

from __future__ import annotations

import importlib
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any, Protocol, TypeAlias, cast

from psycopg import AsyncConnection, Connection

Joined: TypeAlias = object
"""A connection whose transaction a task joins: psycopg's, or one of a supported library."""

Call = Callable[[str, str], list[int]]
"""Runs the statement, which has one parameter ``%(tasks)s``, with this text, and returns the resulting ids."""
CallAsync = Callable[[str, str], Awaitable[list[int]]]


class Adapter(Protocol):
    """The interface of a module of this package."""

    def enlist(self, connection: Any) -> AbstractContextManager[Connection[Any] | Call]:
        """Enlist a connection for threads. Raises TypeError for any other."""

    def enlist_async(self, connection: Any) -> AbstractAsyncContextManager[AsyncConnection[Any] | CallAsync]:
        """Enlist a connection for event loops. Raises TypeError for any other."""


LIBRARIES = ("sqlalchemy", "django", "asyncpg")
"""The supported libraries."""


def adapter_of(connection: object) -> Adapter | None:
    """Return the module for this connection, or for one of its base classes; None when there is none."""
    for kind in type(connection).__mro__:
        library = kind.__module__.partition(".")[0]
        if library in LIBRARIES:
            return cast("Adapter", importlib.import_module(f"{__name__}.{library}"))
    return None
