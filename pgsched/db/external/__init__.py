"""Connections that belong to other libraries: a task that is scheduled on one is part of its transaction.

One module a library, imported only when somebody comes with a connection of it. What each gives for the length of a
``with`` is psycopg's own connection where that is below, else a way to run one statement. Around it is a savepoint,
where the caller is in a transaction: an error of ours leaves that as it was before the call.
"""

from __future__ import annotations

import importlib
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any, Protocol, TypeAlias, cast

from psycopg import AsyncConnection, Connection

Joined: TypeAlias = object
"""A connection whose transaction a task joins: psycopg's, or one of a library that is known here."""

Call = Callable[[str, str], list[int]]
"""Runs the statement, which has one parameter ``%(tasks)s``, with this text, and returns the ids that it answers."""
CallAsync = Callable[[str, str], Awaitable[list[int]]]


class Adapter(Protocol):
    """What a module of this package has."""

    def enlist(self, connection: Any) -> AbstractContextManager[Connection[Any] | Call]:
        """Enlist a connection for threads. Raises TypeError for one that is not."""

    def enlist_async(self, connection: Any) -> AbstractAsyncContextManager[AsyncConnection[Any] | CallAsync]:
        """Enlist a connection for event loops. Raises TypeError for one that is not."""


LIBRARIES = ("sqlalchemy", "django", "asyncpg")
"""Whose connections are known."""


def adapter_of(connection: object) -> Adapter | None:
    """Return who knows this connection, or one of its base classes; None when nobody does."""
    for kind in type(connection).__mro__:
        library = kind.__module__.partition(".")[0]
        if library in LIBRARIES:
            return cast("Adapter", importlib.import_module(f"{__name__}.{library}"))
    return None
