"""Runs many read-only queries on its own connection, each with a time limit.

A query that fails does not affect the others: its error is its answer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any, Literal, NamedTuple

import psycopg
from psycopg import AsyncCursor, errors
from psycopg.rows import dict_row

from pgsched.db.async_query_runner import fetch_async
from pgsched.db.connection import AsyncDbConnection, connect_async, is_standby, transaction_async
from pgsched.db.dsn import describe_dsn
from pgsched.db.error_mapping import one_line
from pgsched.db.queries.diagnostics import begin_examination
from pgsched.db.query import Command, Rows
from pgsched.domain.errors import DatabaseUnavailable

QUESTION_SECONDS = 2.0
"""Time limit of the server for one query."""
ALL_SECONDS = 15.0
"""After this long no further query is sent."""
SILENT_SECONDS = 5.0
"""How long to wait for an answer: a server that works on it gives up earlier."""


LOOKS = 3
QUICK = timedelta(milliseconds=100)
"""How often the clocks are compared, until an answer came this quickly."""


class Refusal(NamedTuple):
    """Why a query has no answer."""

    reason: str
    kind: Literal["rights", "missing", "failed"] = "failed"
    """The role lacks the rights, a table is missing, or another error."""


class Answers(NamedTuple):
    """The answers to all queries."""

    found: Mapping[str, Any]
    """The answer, or a :class:`Refusal`, by the name of the query."""
    pooled: bool
    skew: timedelta
    """How far this machine's clock is ahead of the database's."""
    place: str
    """The server's address, without a password."""
    standby: bool = False
    """Whether the server is a standby, where the tables of workers are empty."""


async def ask(
    dsn: str, questions: Mapping[str, Command[Any]], *, name: str, connection: AsyncDbConnection | None = None
) -> Answers:
    """Run all queries, on a new connection or on a given one, which they may cost.

    Raises DatabaseUnavailable when the database cannot be reached or is lost meanwhile.
    """
    ours = connection or await connect_async(dsn, application_name=name)
    ours.answer_timeout = SILENT_SECONDS
    ours.prepare_threshold = None
    try:
        return await _ask_all(ours, dsn, questions)
    except psycopg.Error as error:
        raise DatabaseUnavailable(f"lost PostgreSQL at {describe_dsn(dsn)}: {one_line(error)}") from error
    finally:
        if connection is None:
            await ours.close()


async def _ask_all(connection: AsyncDbConnection, dsn: str, questions: Mapping[str, Command[Any]]) -> Answers:
    found: dict[str, Any] = {}
    until = monotonic() + ALL_SECONDS
    looks: list[tuple[timedelta, timedelta]] = []  # how long each took, and the skew: the quickest answer counts
    left = deque(questions.items())
    while left and monotonic() <= until:
        try:
            async with transaction_async(connection):
                await _look(connection, looks)
                while left and monotonic() <= until:
                    name, command = left[0]
                    found[name] = command.parse(await _fetch(connection, command))
                    left.popleft()
        except psycopg.Error as error:  # of one query: the others run in another transaction
            found[left.popleft()[0]] = _refusal(connection, error)
    for name, _ in left:
        found[name] = Refusal(f"not looked at: {ALL_SECONDS:g} s were over")
    _, skew = min(looks, default=(timedelta(), timedelta()))
    return Answers(found, connection.pooled, skew, describe_dsn(dsn), is_standby(connection))


async def _fetch(connection: AsyncDbConnection, command: Command[Any]) -> Rows:
    return await fetch_async(AsyncCursor(connection, row_factory=dict_row), command)


def _refusal(connection: AsyncDbConnection, error: psycopg.Error) -> Refusal:
    """Return why a query has no answer. Raises the error when it concerns the connection."""
    if isinstance(error, errors.InsufficientPrivilege):
        return Refusal(one_line(error), "rights")
    if isinstance(error, (errors.UndefinedTable, errors.InvalidSchemaName)):
        return Refusal(one_line(error), "missing")
    if isinstance(error, errors.QueryCanceled):
        return Refusal(f"the server had not answered after {QUESTION_SECONDS:g} s")
    if connection.closed or error.sqlstate is None:
        raise error
    return Refusal(one_line(error))


async def _look(connection: AsyncDbConnection, looks: list[tuple[timedelta, timedelta]]) -> None:
    """Start the examination in the current transaction, and compare the clocks; again when that took long."""
    command = begin_examination(QUESTION_SECONDS)
    for _ in range(LOOKS):
        sent = datetime.now(UTC)
        at = command.parse(await _fetch(connection, command))
        back = datetime.now(UTC)
        looks.append((back - sent, sent + (back - sent) / 2 - at))
        if min(looks)[0] <= QUICK:
            return
