"""Makes the indexes of a migration before it, while everybody works: those of the one table that may be large.

``create index`` keeps all writers out for as long as it reads the table, and a transaction cannot make an index any
other way. So what a migration writes as ``create index if not exists … on pgsched.tasks`` is made here beforehand,
outside any transaction, and the migration finds it there.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from time import sleep
from typing import LiteralString, NamedTuple

from pgsched.db.connection import DbConnection
from pgsched.db.sql_files import Migration, load_statement

LARGE_BYTES = 16 * 1024 * 1024
"""A smaller table is read in no time."""
LOOK_SECONDS = 0.2
"""How often it is asked whether somebody else who makes indexes is done."""
_INDEX = re.compile(r"^create (?:unique )?index if not exists (\w+) on pgsched\.tasks\b[^;]*;", re.MULTILINE)


class Index(NamedTuple):
    """An index of a migration, and how it is made while others write."""

    name: str
    sql: LiteralString


def indexes_of(migration: Migration) -> list[Index]:
    """Return the indexes on the tasks that a migration makes if they are not there."""
    found = []
    for statement in _INDEX.finditer(migration.sql):
        text = statement[0].replace("index if not exists", "index concurrently if not exists", 1)
        found.append(Index(statement[1], text))  # a part of a file of our own
    return found


def make_indexes(connection: DbConnection, migration: Migration, on_wait: Callable[[str], None]) -> None:
    """Make the indexes of a migration that are not there yet, if the table is large; in autocommit mode.

    One that an interrupted call has left unfinished is made anew.
    """
    indexes = indexes_of(migration)
    if not indexes or not _is_large(connection):
        return
    # Asked for, not waited for: to make an index is to wait for all transactions, and so for whoever waits for us.
    while not _ask(connection, "try_index_lock"):
        sleep(LOOK_SECONDS)
    try:
        for index in indexes:
            state = connection.execute(load_statement("find_index"), {"name": index.name}).fetchone()
            if state is not None and state[0]:
                continue
            if state is not None:
                connection.execute(f"drop index concurrently pgsched.{index.name}")
            on_wait(f"making the index {index.name} on pgsched.tasks, beside whoever works")
            connection.execute(index.sql)
    finally:
        _ask(connection, "release_index_lock")


def _is_large(connection: DbConnection) -> bool:
    found = connection.execute(load_statement("measure_tasks")).fetchone()
    return bool(found and found[0] is not None and found[0] >= LARGE_BYTES)


def _ask(connection: DbConnection, name: LiteralString) -> bool:
    found = connection.execute(load_statement(name)).fetchone()
    return bool(found and found[0])
