"""Creates the indexes of a migration in advance, while everybody works: those of tables that may be large.

``create index`` blocks all writers for as long as it reads the table, and a transaction cannot create an index in any
other way. So an index that a migration writes as ``create index if not exists … on pgsched.tasks`` (or ``executions``)
is created here beforehand, outside any transaction, and the migration finds it. For the history it is created on each
existing day, and the migration joins them. A column that such an index needs, which the migration adds by ``add column
if not exists``, is added before the index, in a transaction of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from time import sleep
from typing import LiteralString, NamedTuple

from psycopg import errors

from pgsched.db.connection import DbConnection
from pgsched.db.sql_files import Migration, load_statement

LARGE_BYTES = 16 * 1024 * 1024
"""Reading a smaller table takes no noticeable time."""
LOOK_SECONDS = 0.2
"""How often to check whether another session has finished creating indexes."""
_INDEX = re.compile(
    r"^create (?:unique )?index if not exists (\w+) on pgsched\.(tasks|executions)\b[^;]*;", re.MULTILINE
)

_COLUMN = re.compile(r"^alter table pgsched\.(?:tasks|executions) add column if not exists \w+ [^;,]+;", re.MULTILINE)


class Index(NamedTuple):
    """An index of a migration, and how it is created while others write."""

    name: str
    sql: LiteralString
    table: str

    def on(self, part: str) -> Index:
        """Return the index of one part of a partitioned table."""
        name = f"{self.name}_{part.removeprefix(self.table + '_')}"
        sql = self.sql.replace(f"{self.name} on pgsched.{self.table}", f"{name} on pgsched.{part}", 1)
        return Index(name, sql, part)


def indexes_of(migration: Migration) -> list[Index]:
    """Return the indexes on large tables that a migration creates if they do not exist."""
    found = []
    for statement in _INDEX.finditer(migration.sql):
        text = statement[0].replace("index if not exists", "index concurrently if not exists", 1)
        found.append(Index(statement[1], text, statement[2]))  # a part of one of our own files
    return found


def columns_of(migration: Migration) -> list[LiteralString]:
    """Return the statements by which a migration with such indexes adds columns to large tables."""
    return [found[0] for found in _COLUMN.finditer(migration.sql)] if indexes_of(migration) else []


def make_indexes(connection: DbConnection, migration: Migration, on_wait: Callable[[str], None]) -> None:
    """Create the missing indexes of a migration on tables that are large; in autocommit mode.

    One that an interrupted call has left invalid is recreated.
    """
    found = indexes_of(migration)
    if not found:
        return
    indexes = [part for index in found for part in _large_parts(connection, index)]
    if not indexes:
        return
    # Polled, not waited for: creating an index waits for all transactions, and so for anyone who waits for us.
    while not _ask(connection, "try_index_lock"):
        sleep(LOOK_SECONDS)
    try:
        for index in indexes:
            state = connection.execute(load_statement("find_index"), {"name": index.name}).fetchone()
            if state is not None and state[0]:
                continue
            if state is not None:
                connection.execute(f"drop index concurrently pgsched.{index.name}")
            on_wait(f"making the index {index.name} on pgsched.{index.table}, beside whoever works")
            with suppress(errors.UndefinedColumn):  # the migration adds it, in its own transaction, and then the index
                connection.execute(index.sql)
    finally:
        _ask(connection, "release_index_lock")


def _large_parts(connection: DbConnection, index: Index) -> list[Index]:
    """Return the index on the table, or on each large partition. Where the whole exists, no partition needs one."""
    parts = connection.execute(load_statement("measure_table"), {"name": index.table, "index": index.name}).fetchall()
    return [index if part == index.table else index.on(part) for part, size in parts if size >= LARGE_BYTES]


def _ask(connection: DbConnection, name: LiteralString) -> bool:
    found = connection.execute(load_statement(name)).fetchone()
    return bool(found and found[0])
