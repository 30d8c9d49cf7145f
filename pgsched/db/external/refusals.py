"""Errors about the connections of other libraries, and what a server reported through one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from psycopg import errors

from pgsched.db.error_mapping import Said, explain_said

_LONGEST_CHAIN = 5


def kind_of(connection: object) -> str:
    """The full name of its class."""
    return f"{type(connection).__module__}.{type(connection).__qualname__}"


def on_event_loop(connection: object) -> TypeError:
    """Return the error for a connection that a client for threads cannot use."""
    return _misplaced(connection, "threads", "an event loop", "use an AsyncClient, or schedule_async")


def on_threads(connection: object) -> TypeError:
    """Return the error for a connection that a client for event loops cannot use."""
    return _misplaced(connection, "event loops", "a thread", "use a Client, or schedule")


def _misplaced(connection: object, wanted: str, owner: str, cure: str) -> TypeError:
    kind = kind_of(connection)
    return TypeError(f"connection must be one for {wanted}, got a {kind}, which belongs to {owner}: {cure}")


@contextmanager
def explained() -> Iterator[None]:
    """Convert errors about the task to ours; others stay the driver's. Not chained: their details hold whole rows."""
    try:
        yield
    except Exception as error:
        said = said_of(error)
        known = None if said is None else explain_said(said)
        if known is None:
            raise
        raise known from None


def said_of(error: BaseException) -> Said | None:
    """Return the server's report from an error of psycopg2, asyncpg or a wrapper; None when it is not from the server.

    Both keep the SQLSTATE, under names of their own. A wrapper (SQLAlchemy's, Django's) has theirs as origin or cause.
    """
    found: BaseException | None = error
    for _ in range(_LONGEST_CHAIN):
        if found is None:
            break
        diagnosis: Any = getattr(found, "diag", None)  # psycopg2
        if diagnosis is not None and diagnosis.sqlstate is not None:
            return _said(
                diagnosis.sqlstate,
                diagnosis.message_primary,
                diagnosis.constraint_name,
                diagnosis.message_detail,
                diagnosis.column_name,
            )
        told: Any = found  # asyncpg
        if isinstance(getattr(told, "sqlstate", None), str) and hasattr(told, "constraint_name"):
            return _said(told.sqlstate, told.message, told.constraint_name, told.detail, told.column_name)
        found = getattr(found, "orig", None) or found.__cause__
    return None


def _said(state: str, message: str | None, *told: str | None) -> Said | None:
    try:
        kind = errors.lookup(state)
    except KeyError:
        return None
    return Said(kind, message or state, *told)
