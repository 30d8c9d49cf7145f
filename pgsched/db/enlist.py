# Generated from async_enlist.py by `make sync`: change that file instead.
"""Schedules in the transaction of the caller's connection: psycopg's, or that of a supported library.

Errors that the task did not cause remain the driver's: the transaction is the caller's to repeat.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, LiteralString, TypeVar

from psycopg import Connection, Cursor
from psycopg.pq import TransactionStatus
from psycopg.rows import dict_row, tuple_row

from pgsched.db.error_mapping import explained
from pgsched.db.external import Call, adapter_of, refusals
from pgsched.db.notices import hearing_on
from pgsched.db.queries.bulk_insert import call_for, function_call, insert_tasks
from pgsched.db.query import Command
from pgsched.db.query_runner import fetch, take
from pgsched.domain.task_spec import TaskSpec

T = TypeVar("T")

_OTHERS = "SQLAlchemy's and Django's will do too"


def run_on(connection: object, command: Command[T]) -> T:
    """Run a command in the caller's transaction. Raises TypeError where its driver cannot run it."""
    with _enlisted(connection) as ours:
        if isinstance(ours, Connection) and command.task is not None and not _speaks_unicode(ours):
            ours = partial(_call, ours)
        if not isinstance(ours, Connection):
            with refusals.explained():
                return command.parse([{"id": task_id} for task_id in ours(*_call_of(command, connection))])
        with explained(command.params):
            rows = fetch(Cursor(ours, row_factory=dict_row), command)
        return command.parse(rows)


def insert_on(connection: object, specs: Iterable[TaskSpec]) -> list[int]:
    """Insert many tasks in the caller's transaction; outside one in autocommit mode, in one of its own."""
    with _enlisted(connection) as ours:
        if isinstance(ours, Connection) and not _speaks_unicode(ours):
            ours = partial(_call, ours)
        if not isinstance(ours, Connection):
            with refusals.explained():
                return ours(*call_for(specs))
        alone = ours.autocommit and ours.info.transaction_status == TransactionStatus.IDLE
        with ours.transaction() if alone else contextlib.nullcontext():
            return take(Cursor(ours, row_factory=dict_row), insert_tasks(specs))


def _call_of(command: Command[Any], connection: object) -> tuple[LiteralString, str]:
    if command.plain:
        return command.statement, command.params["tasks"]
    if command.task is None:
        raise TypeError(
            f"connection must be psycopg's for this, got a {refusals.kind_of(connection)} by another driver"
        )
    return function_call([command.task])


def _speaks_unicode(connection: Connection[Any]) -> bool:
    """Whether every text can be sent. With another client_encoding, a call in ASCII carries all of it."""
    return connection.info.parameter_status("client_encoding") == "UTF8"


def _call(connection: Connection[Any], statement: LiteralString, tasks: str) -> list[int]:
    cursor = Cursor(connection, row_factory=tuple_row)
    cursor.execute(statement, {"tasks": tasks}, binary=True)
    return [int(task_id) for (task_id,) in cursor.fetchall()]


@contextlib.contextmanager
def _enlisted(connection: object) -> Iterator[Connection[Any] | Call]:
    if isinstance(connection, Connection):
        with hearing_on(connection):
            yield connection
        return
    adapter = adapter_of(connection)
    if adapter is None:
        raise TypeError(f"connection must be a psycopg.Connection, got a {refusals.kind_of(connection)} ({_OTHERS})")
    with adapter.enlist(connection) as ours, hearing_on(ours):
        yield ours
