"""Asks a database many questions on a connection of its own: each for a limited time, and none changes anything.

A question that fails does not keep the others from being asked: its answer is why.
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
"""How long the server may work on one question."""
ALL_SECONDS = 15.0
"""After so long no further question is asked."""
SILENT_SECONDS = 5.0
"""How long an answer is waited for: a server that works on it gives it up before."""


LOOKS = 3
QUICK = timedelta(milliseconds=100)
"""The clock is looked at so often, until an answer came that quickly."""


class Refusal(NamedTuple):
    """Why a question has no answer."""

    reason: str
    kind: Literal["rights", "missing", "failed"] = "failed"
    """The role may not see it; a table is not there; something else."""


class Answers(NamedTuple):
    """What came of all questions."""

    found: Mapping[str, Any]
    """The answer, or a :class:`Refusal`, by the name of the question."""
    pooled: bool
    skew: timedelta
    """How far this machine's clock is ahead of the database's."""
    place: str
    """Where the database is, without a password."""
    standby: bool = False
    """The server is a standby, where the tables of workers are empty."""


async def ask(
    dsn: str, questions: Mapping[str, Command[Any]], *, name: str, connection: AsyncDbConnection | None = None
) -> Answers:
    """Ask all of it, on a connection of its own or on one that is given, which may be lost by it.

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
    looks: list[tuple[timedelta, timedelta]] = []  # how long each took, and the skew: the shortest way counts
    left = deque(questions.items())
    while left and monotonic() <= until:
        try:
            async with transaction_async(connection):
                await _look(connection, looks)
                while left and monotonic() <= until:
                    name, command = left[0]
                    found[name] = command.parse(await _fetch(connection, command))
                    left.popleft()
        except psycopg.Error as error:  # of one question: the others are asked in another transaction
            found[left.popleft()[0]] = _refusal(connection, error)
    for name, _ in left:
        found[name] = Refusal(f"not looked at: {ALL_SECONDS:g} s were over")
    _, skew = min(looks, default=(timedelta(), timedelta()))
    return Answers(found, connection.pooled, skew, describe_dsn(dsn), is_standby(connection))


async def _fetch(connection: AsyncDbConnection, command: Command[Any]) -> Rows:
    return await fetch_async(AsyncCursor(connection, row_factory=dict_row), command)


def _refusal(connection: AsyncDbConnection, error: psycopg.Error) -> Refusal:
    """Why a question has no answer. Raises the error when it is about the connection."""
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
    """Begin the examination in the transaction under way, and look at the clock; again when that took long."""
    command = begin_examination(QUESTION_SECONDS)
    for _ in range(LOOKS):
        sent = datetime.now(UTC)
        at = command.parse(await _fetch(connection, command))
        back = datetime.now(UTC)
        looks.append((back - sent, sent + (back - sent) / 2 - at))
        if min(looks)[0] <= QUICK:
            return
