"""Asks a database many questions on a connection of its own: each for a limited time, and none changes anything.

A question that fails does not keep the others from being asked: its answer is why.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any, Literal, NamedTuple

import psycopg
from psycopg import AsyncCursor, errors
from psycopg.rows import dict_row

from pgsched.db.answers import fetch_async
from pgsched.db.commands import Command
from pgsched.db.connect import connect_async, describe_dsn
from pgsched.db.doctor_commands import begin_examination
from pgsched.db.faults import one_line
from pgsched.db.link import AsyncLink
from pgsched.db.settled import transaction_async
from pgsched.errors import DatabaseUnavailable

QUESTION_SECONDS = 2.0
"""How long the server may work on one question."""
ALL_SECONDS = 15.0
"""After so long no further question is asked."""
SILENT_SECONDS = 5.0
"""How long an answer is waited for: a server that works on it gives it up before."""


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
    """A pooler is in between."""
    skew: timedelta
    """How far this machine's clock is ahead of the database's."""
    place: str
    """Where the database is, without a password."""


async def ask(dsn: str, questions: Mapping[str, Command[Any]], *, name: str) -> Answers:
    """Ask all of it. Raises DatabaseUnavailable when the database cannot be reached or is lost meanwhile."""
    connection = await connect_async(dsn, application_name=name, patience=SILENT_SECONDS)
    connection.prepare_threshold = None
    try:
        return await _ask_all(connection, dsn, questions)
    except psycopg.Error as error:
        raise DatabaseUnavailable(f"lost PostgreSQL at {describe_dsn(dsn)}: {one_line(error)}") from error
    finally:
        await connection.close()


async def _ask_all(connection: AsyncLink, dsn: str, questions: Mapping[str, Command[Any]]) -> Answers:
    found: dict[str, Any] = {}
    until = monotonic() + ALL_SECONDS
    skew = await _skew(connection)
    for name, command in questions.items():
        if monotonic() > until:
            found[name] = Refusal(f"not looked at: {ALL_SECONDS:g} s were over")
            continue
        found[name] = await _ask_one(connection, command)
    return Answers(found, connection.pooled, skew, describe_dsn(dsn))


async def _ask_one(connection: AsyncLink, command: Command[Any]) -> Any:
    cursor = AsyncCursor(connection, row_factory=dict_row)
    try:
        async with transaction_async(connection):
            await fetch_async(cursor, begin_examination(QUESTION_SECONDS))
            rows = await fetch_async(cursor, command)
        return command.parse(rows)
    except errors.InsufficientPrivilege as error:
        return Refusal(one_line(error), "rights")
    except (errors.UndefinedTable, errors.InvalidSchemaName) as error:
        return Refusal(one_line(error), "missing")
    except errors.QueryCanceled:
        return Refusal(f"the server had not answered after {QUESTION_SECONDS:g} s")
    except psycopg.Error as error:
        if connection.closed or error.sqlstate is None:
            raise
        return Refusal(one_line(error))


async def _skew(connection: AsyncLink) -> timedelta:
    """The best of three: the one that took the shortest way."""
    seen: list[tuple[timedelta, timedelta]] = []
    for _ in range(3):
        cursor = AsyncCursor(connection, row_factory=dict_row)
        async with transaction_async(connection):
            sent = datetime.now(UTC)
            command = begin_examination(QUESTION_SECONDS)
            at = command.parse(await fetch_async(cursor, command))
            back = datetime.now(UTC)
        seen.append((back - sent, sent + (back - sent) / 2 - at))
    return min(seen)[1]
