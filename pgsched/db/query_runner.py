# Generated from async_query_runner.py by `make sync`: change that file instead.
"""How a command is sent and its rows are read. For :mod:`pgsched.db.database`."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import Cursor
from psycopg.rows import DictRow

from pgsched.db.connection import is_standby
from pgsched.db.queries.bulk_insert import Step, Steps
from pgsched.db.query import Command, Rows


def fetch(cursor: Cursor[DictRow], command: Command[Any]) -> Rows:
    """Run a command's statement and return its rows."""
    if is_standby(cursor.connection):
        command = command.on_standby()
    cursor.execute(command.statement, command.params, prepare=command.prepare, binary=True)
    return cursor.fetchall()


def take(cursor: Cursor[DictRow], steps: Steps) -> list[int]:
    """Run one step after the other, and return the result."""
    rows: Rows | None = None
    while True:
        try:
            step = steps.send(rows) if rows is not None else next(steps)
        except StopIteration as done:
            return list(done.value)
        try:
            rows = _take_one(cursor, step)
        except psycopg.Error as error:
            raise (step.explain(error) or error) from None


def _take_one(cursor: Cursor[DictRow], step: Step) -> Rows:
    if step.lines is not None:
        with cursor.copy(step.statement) as copy:
            for line in step.lines:
                copy.write_row(line)
        step.check_copied(cursor.rowcount)
        return []
    cursor.execute(step.statement, step.params, binary=True)
    return cursor.fetchall() if step.answers else []
