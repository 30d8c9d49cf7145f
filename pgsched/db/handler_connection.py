"""The connection that a handler receives: psycopg's own in every way, except that it cannot end its transaction.

Each attempt receives an object of its own, with psycopg's defaults, on a connection that the worker keeps. The object
is dead when the attempt is over: a statement that the handler left behind cannot run in the next transaction.
"""

from __future__ import annotations

from collections.abc import Generator
from time import monotonic
from typing import Any, NoReturn

from psycopg import AsyncConnection, Connection, ProgrammingError
from psycopg.pq import PipelineStatus, TransactionStatus

from pgsched.db.connection import AsyncDbConnection

OVER = "ctx.connection can no longer be used: the attempt it was for is over"
ENDED = (
    "the handler ended its transaction itself (COMMIT or ROLLBACK): what it had written by then does not belong to its "
    "outcome"
)
ABORTED = (
    "the transaction was aborted by an SQL error that the handler caught: put what may fail into a block of "
    "ctx.connection.transaction()"
)
UNFINISHED = "the handler returned while a statement of it was still running on ctx.connection"
LEFT_SECONDS = 8.0
"""How long a plain handler whose attempt is over waits for the answer to its statement, which is cancelled meanwhile: a
silent server must not hold the thread forever."""
LOST = "the connection of the handler's transaction was lost"


class _OneAttempt:
    """What both kinds of a handler's connection share: whatever would end the transaction is refused."""

    revoked = False
    ended = False
    """Raised when a statement of the handler ended the transaction."""

    def commit(self) -> NoReturn:
        """Refused."""
        _refuse("commit()")

    def rollback(self) -> NoReturn:
        """Refused."""
        _refuse("rollback()")

    def close(self) -> NoReturn:
        """Refused."""
        _refuse("close()")

    def set_autocommit(self, value: bool) -> NoReturn:  # noqa: ARG002
        """Refused; setting ``autocommit`` ends here as well."""
        _refuse("autocommit")

    def __del__(self, *_: Any) -> None:
        """Suppress the warning that it was not closed: the worker keeps the connection."""


class HandlerConnection(_OneAttempt, Connection[Any]):
    """For a plain handler, in its thread."""

    def wait(self, gen: Any, *args: Any, **kwargs: Any) -> Any:
        """Run the steps of every method of a connection and its cursors; refused after the attempt."""
        _check(self)
        done = super().wait(_while_answered(self, gen), *args, **kwargs)
        _look(self)
        return done

    def __enter__(self) -> NoReturn:
        _refuse("with ctx.connection")


class AsyncHandlerConnection(_OneAttempt, AsyncConnection[Any]):
    """For an ``async`` handler."""

    async def wait(self, gen: Any, *args: Any, **kwargs: Any) -> Any:
        """Like in :class:`HandlerConnection`."""
        _check(self)
        done = await super().wait(gen, *args, **kwargs)
        _look(self)
        return done

    async def __aenter__(self) -> NoReturn:
        _refuse("async with ctx.connection")


AnyHandlerConnection = HandlerConnection | AsyncHandlerConnection


def for_handler(connection: AsyncDbConnection, *, plain: bool) -> AnyHandlerConnection:
    """Return another object for a connection, for one attempt of a plain handler or an ``async`` one.

    Behind a pooler it prepares no statements: they would remain in a session that others use.
    """
    kind = HandlerConnection if plain else AsyncHandlerConnection
    handlers: AnyHandlerConnection = kind(connection.pgconn)
    if connection.pooled:
        handlers.prepare_threshold = None
    return handlers


def revoke(connection: AnyHandlerConnection) -> str | None:
    """End the handler's use; returns why the transaction cannot be committed, None when it can be."""
    connection.revoked = True
    if connection.pgconn.pipeline_status != PipelineStatus.OFF or connection.lock.locked():
        return UNFINISHED
    if connection.ended:
        return ENDED
    match connection.pgconn.transaction_status:
        case TransactionStatus.INTRANS:
            return None
        case TransactionStatus.INERROR:
            return ABORTED
        case TransactionStatus.ACTIVE:
            return UNFINISHED
        case TransactionStatus.IDLE:
            return ENDED
    return LOST


def is_idle(connection: AnyHandlerConnection) -> bool:
    """Whether its transaction is open and waits for a statement, so that one of ours may be sent."""
    return (
        not connection.revoked
        and not connection.ended
        and connection.pgconn.pipeline_status == PipelineStatus.OFF
        and connection.pgconn.transaction_status == TransactionStatus.INTRANS
    )


def _check(connection: AnyHandlerConnection) -> None:
    if connection.revoked:
        raise ProgrammingError(OVER)
    if connection.ended:
        raise ProgrammingError(ENDED)


def _look(connection: AnyHandlerConnection) -> None:
    """Detect at once that a statement ended the transaction."""
    if connection.pgconn.transaction_status == TransactionStatus.IDLE:
        connection.ended = True
        raise ProgrammingError(ENDED)


def _while_answered(connection: HandlerConnection, gen: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
    """Run the same steps; raises an error when no answer arrives although the attempt has been over for some time."""
    ready = None
    over: float | None = None
    while True:
        try:
            step = gen.send(ready)
        except StopIteration as done:
            return done.value
        ready = yield step
        if not ready and connection.revoked:
            over = over or monotonic()
            if monotonic() - over >= LEFT_SECONDS:
                connection.pgconn.finish()
                raise ProgrammingError(OVER)


def _refuse(what: str) -> NoReturn:
    raise ProgrammingError(
        f"{what} is refused on ctx.connection: its transaction is committed with the task's outcome when the handler "
        "returns, and rolled back when it raises"
    )
