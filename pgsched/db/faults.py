"""Errors of statements, sorted by what they are about: the connection and the server, or the values of the statement.

A statement for many rows that was refused is worth sending again for halves of them, until the row is found. One that
met a server without memory, or a lost connection, is not: it is sent again as it is.
"""

from __future__ import annotations

import psycopg

from pgsched.domain.errors import DatabaseUnavailable

_ABOUT_THE_SERVER = ("08", "25", "26", "40", "53", "57P")
"""Classes of SQLSTATE: connections, transaction states (read-only among them), lost prepared statements, serialization
failures and deadlocks, resources, shutdown. Source: appendix A of PostgreSQL's manual."""
_PASSING = ("42501", "55", "57014", "58", "XX000")
"""Rights that are missing, locks that were not to be had in time, cancelled statements, errors of the system, internal
errors."""


_ABOUT_THE_CONNECTION = ("FATAL", "PANIC")
"""Severities of errors that end it."""


class RefusedByDatabase(DatabaseUnavailable):
    """The server answered and refused this statement: others, with other values, may pass."""

    def __init__(self, message: str, *, passing: bool = False) -> None:
        """``passing``: what is in the way may be gone the next time, as a lock."""
        super().__init__(message)
        self.passing = passing


class RefusedByServer(DatabaseUnavailable):
    """The server answered with an error about itself, as a serialization failure or a full disk.

    It may hold for every statement. But a trigger may raise any of them, and then it holds for one row.
    """


class SilentDatabase(DatabaseUnavailable):
    """The server was waited for in vain."""


def is_passing_state(state: str) -> bool:
    """Whether what an SQLSTATE is about may be gone the next time: the row is not to blame."""
    return is_about_the_server(state) or state.startswith(_PASSING)


def is_passing(error: BaseException) -> bool:
    """The same of an error."""
    return isinstance(error, RefusedByServer) or (isinstance(error, RefusedByDatabase) and error.passing)


def fault_of(error: psycopg.Error) -> DatabaseUnavailable:
    """Return our error for one of psycopg's: RefusedByDatabase when it is about the statement's values."""
    state = error.sqlstate
    if state is None:
        # Without a server's word: a value that has no form in SQL, or a connection that is gone.
        refused = isinstance(error, (psycopg.DataError, psycopg.IntegrityError, psycopg.ProgrammingError))
        return (RefusedByDatabase if refused else DatabaseUnavailable)(one_line(error))
    if error.diag.severity_nonlocalized in _ABOUT_THE_CONNECTION:
        return DatabaseUnavailable(one_line(error))
    if is_about_the_server(state):
        return RefusedByServer(one_line(error))
    return RefusedByDatabase(one_line(error), passing=state.startswith(_PASSING))


def is_about_the_server(state: str) -> bool:
    """Whether an SQLSTATE is about the connection, the transaction or the server as a whole."""
    return state.startswith(_ABOUT_THE_SERVER)


def one_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its class when it has none."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
