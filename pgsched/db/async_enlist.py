"""Schedules in the transaction of the caller's connection: psycopg's, or that of a supported library.

Errors that the task did not cause remain the driver's: the transaction is the caller's to repeat.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable
from functools import partial
from typing import Any, LiteralString, TypeVar

from psycopg import AsyncConnection, AsyncCursor
from psycopg.pq import TransactionStatus
from psycopg.rows import dict_row, tuple_row

from pgsched.db.async_query_runner import fetch_async, take_async
from pgsched.db.error_mapping import explained
from pgsched.db.external import CallAsync, adapter_of, refusals
from pgsched.db.notices import hearing_on
from pgsched.db.queries.bulk_insert import call_for, function_call, insert_tasks
from pgsched.db.query import Command
from pgsched.domain.task_spec import TaskSpec

T = TypeVar("T")

_OTHERS = "SQLAlchemy's and asyncpg's will do too"


async def run_on_async(connection: object, command: Command[T]) -> T:
    """Run a command in the caller's transaction. Raises TypeError where its driver cannot run it."""
    async with _enlisted(connection) as ours:
        if isinstance(ours, AsyncConnection) and command.task is not None and not _speaks_unicode(ours):
            ours = partial(_call, ours)
        if not isinstance(ours, AsyncConnection):
            with refusals.explained():
                return command.parse([{"id": task_id} for task_id in await ours(*_call_of(command, connection))])
        with explained(command.params):
            rows = await fetch_async(AsyncCursor(ours, row_factory=dict_row), command)
        return command.parse(rows)


async def insert_on_async(connection: object, specs: Iterable[TaskSpec]) -> list[int]:
    """Insert many tasks in the caller's transaction; outside one in autocommit mode, in one of its own."""
    async with _enlisted(connection) as ours:
        if isinstance(ours, AsyncConnection) and not _speaks_unicode(ours):
            ours = partial(_call, ours)
        if not isinstance(ours, AsyncConnection):
            with refusals.explained():
                return await ours(*call_for(specs))
        alone = ours.autocommit and ours.info.transaction_status == TransactionStatus.IDLE
        async with ours.transaction() if alone else contextlib.nullcontext():
            return await take_async(AsyncCursor(ours, row_factory=dict_row), insert_tasks(specs))


def _call_of(command: Command[Any], connection: object) -> tuple[LiteralString, str]:
    if command.plain:
        return command.statement, command.params["tasks"]
    if command.task is None:
        raise TypeError(
            f"connection must be psycopg's for this, got a {refusals.kind_of(connection)} by another driver"
        )
    return function_call([command.task])


def _speaks_unicode(connection: AsyncConnection[Any]) -> bool:
    """Whether every text can be sent. With another client_encoding, a call in ASCII carries all of it."""
    return connection.info.parameter_status("client_encoding") == "UTF8"


async def _call(connection: AsyncConnection[Any], statement: LiteralString, tasks: str) -> list[int]:
    cursor = AsyncCursor(connection, row_factory=tuple_row)
    await cursor.execute(statement, {"tasks": tasks}, binary=True)
    return [int(task_id) for (task_id,) in await cursor.fetchall()]


@contextlib.asynccontextmanager
async def _enlisted(connection: object) -> AsyncIterator[AsyncConnection[Any] | CallAsync]:
    if isinstance(connection, AsyncConnection):
        with hearing_on(connection):
            yield connection
        return
    adapter = adapter_of(connection)
    if adapter is None:
        raise TypeError(
            f"connection must be a psycopg.AsyncConnection, got a {refusals.kind_of(connection)} ({_OTHERS})"
        )
    async with adapter.enlist_async(connection) as ours:
        with hearing_on(ours):
            yield ours
