"""Statements that are not ours: written by whoever scheduled the task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from psycopg import AsyncConnection
from psycopg.rows import tuple_row
from psycopg.types.json import Jsonb


class Ran(NamedTuple):
    """What one statement did."""

    rowcount: int
    """Rows that it touched or returned; -1 where that makes no sense."""
    columns: list[str]
    rows: list[tuple[Any, ...]]
    """The first of those it returned."""
    more: bool
    """There were others."""


async def run_statement(
    connection: AsyncConnection[Any], statement: str, params: Sequence[Any] | Mapping[str, Any] | None, *, limit: int
) -> Ran:
    """Run one statement in the connection's transaction. Raises what psycopg raises."""
    # Results in binary make it the protocol in which the server takes a single statement: nothing hides behind another.
    async with connection.cursor(binary=True, row_factory=tuple_row) as cursor:
        text: Any = statement  # foreign text is what this is for
        await cursor.execute(text, _adapted(params), prepare=False)
        columns = [column.name for column in cursor.description or ()]
        rows = await cursor.fetchmany(limit) if columns else []
        return Ran(cursor.rowcount, columns, rows, more=bool(columns) and cursor.rowcount > len(rows))


def _adapted(params: Sequence[Any] | Mapping[str, Any] | None) -> Any:
    """Objects are sent as jsonb, lists as arrays, everything else as what it is."""
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
