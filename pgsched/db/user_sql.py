"""Statements of users, written by whoever scheduled the task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from psycopg import AsyncConnection
from psycopg.rows import tuple_row
from psycopg.types.json import Jsonb


class Ran(NamedTuple):
    """The result of one statement."""

    rowcount: int
    """Number of rows that it affected or returned; -1 where that has no meaning."""
    columns: list[str]
    rows: list[tuple[Any, ...]]
    """The first rows that it returned."""
    more: bool
    """Whether there were more."""


async def run_statement(
    connection: AsyncConnection[Any], statement: str, params: Sequence[Any] | Mapping[str, Any] | None, *, limit: int
) -> Ran:
    """Run one statement in the connection's transaction. Raises what psycopg raises."""
    # Binary results select the protocol in which the server accepts a single statement: nothing can hide behind it.
    async with connection.cursor(binary=True, row_factory=tuple_row) as cursor:
        text: Any = statement  # foreign text is the purpose here
        await cursor.execute(text, _adapted(params), prepare=False)
        columns = [column.name for column in cursor.description or ()]
        rows = await cursor.fetchmany(limit) if columns else []
        return Ran(cursor.rowcount, columns, rows, more=bool(columns) and cursor.rowcount > len(rows))


def _adapted(params: Sequence[Any] | Mapping[str, Any] | None) -> Any:
    """Objects are sent as jsonb, lists as arrays, everything else by its own type."""
    if params is None:
        return None
    if isinstance(params, Mapping):
        return {name: _one(value) for name, value in params.items()}
    return [_one(value) for value in params]


def _one(value: Any) -> Any:
    if isinstance(value, Mapping):
        return Jsonb(value)
    if isinstance(value, list):
        return [_one(item) for item in value]
    return value
