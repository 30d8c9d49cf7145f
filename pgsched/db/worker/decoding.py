"""Values that Python cannot hold: a timestamp of the year 20000, a number of 5,000 digits, JSON that is too deep.

The rules of the tables keep them out, but a rule can be dropped, and some columns have none. Such a value must not
affect other rows, so it is read as :class:`Undecodable`, and all others as usual.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import psycopg
from psycopg import AsyncCursor
from psycopg.adapt import Transformer
from psycopg.pq import Format

from pgsched.db.error_mapping import one_line
from pgsched.db.session import Rows


class Undecodable(NamedTuple):
    """Stands in for a value that cannot be read."""

    problem: str
    """Names the column, and the reader's message."""


class SpoiledRows(list[tuple[Any, ...]]):
    """Rows, some of which contain an :class:`Undecodable`."""


async def fetch_rows(cursor: AsyncCursor[tuple[Any, ...]]) -> Rows:
    """Return the rows of a cursor, as :class:`SpoiledRows` when a value of them cannot be read."""
    try:
        return await cursor.fetchall()
    except Exception as error:
        if isinstance(error, psycopg.Error) and not isinstance(error, psycopg.DataError):
            raise
        return _one_by_one(cursor)  # whatever else a reader raises, a value is the cause


def _one_by_one(cursor: AsyncCursor[tuple[Any, ...]]) -> SpoiledRows:
    """The rows of a cursor, read value by value."""
    result, rows = cursor.pgresult, SpoiledRows()
    if result is None:
        return rows
    readers = Transformer(cursor.connection)
    for place in range(result.ntuples):
        row: list[Any] = []
        for column in range(result.nfields):
            value = result.get_value(place, column)
            if value is None:
                row.append(None)
                continue
            reader = readers.get_loader(result.ftype(column), Format(result.fformat(column)))
            try:
                row.append(reader.load(value))
            except Exception as error:  # noqa: BLE001 - a number that is too long, JSON that is too deep, …
                name = (result.fname(column) or b"?").decode(errors="replace")
                row.append(Undecodable(f"{name} cannot be read: {one_line(error)}"))
        rows.append(tuple(row))
    return rows
