"""How a command is sent and its rows are read, and what its errors become. For :mod:`pgsched.db.database`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import psycopg
from psycopg import AsyncCursor, Cursor
from psycopg.rows import DictRow

from pgsched.db.bulk import Step, Steps
from pgsched.db.commands import Command, Rows
from pgsched.db.error_mapping import explain, translate
from pgsched.db.standby import readable


@contextlib.contextmanager
def translated(command: Command[Any]) -> Iterator[None]:
    """Every error of psycopg becomes ours. Not chained: its details hold whole rows, payloads included."""
    try:
        yield
    except psycopg.Error as error:
        raise translate(error, command.params) from None


@contextlib.contextmanager
def explained(command: Command[Any]) -> Iterator[None]:
    """Errors about the task become ours, all others stay psycopg's."""
    try:
        yield
    except psycopg.Error as error:
        known = explain(error, command.params)
        if known is None:
            raise
        raise known from None


def fetch(cursor: Cursor[DictRow], command: Command[Any]) -> Rows:
    """Run a command's statement and return its rows."""
    command = readable(cursor.connection, command)
    cursor.execute(command.statement, command.params, prepare=command.prepare, binary=True)
    return cursor.fetchall()


async def fetch_async(cursor: AsyncCursor[DictRow], command: Command[Any]) -> Rows:
    """Run a command's statement and return its rows."""
    command = readable(cursor.connection, command)
    await cursor.execute(command.statement, command.params, prepare=command.prepare, binary=True)
    return await cursor.fetchall()


def take(cursor: Cursor[DictRow], steps: Steps) -> list[int]:
    """Take one step after the other, and return what comes out."""
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


async def take_async(cursor: AsyncCursor[DictRow], steps: Steps) -> list[int]:
    """Take one step after the other, and return what comes out."""
    rows: Rows | None = None
    while True:
        try:
            step = steps.send(rows) if rows is not None else next(steps)
        except StopIteration as done:
            return list(done.value)
        try:
            rows = await _take_one_async(cursor, step)
        except psycopg.Error as error:
            raise (step.explain(error) or error) from None


async def _take_one_async(cursor: AsyncCursor[DictRow], step: Step) -> Rows:
    if step.lines is not None:
        async with cursor.copy(step.statement) as copy:
            for line in step.lines:
                await copy.write_row(line)
        step.check_copied(cursor.rowcount)
        return []
    await cursor.execute(step.statement, step.params, binary=True)
    return await cursor.fetchall() if step.answers else []
