"""Brings the schema of a database to the version of this program.

Each migration is applied in a transaction of its own together with its row in ``pgsched.migrations``, under an
advisory lock: any number of processes may migrate at once, and one that dies leaves a whole version behind.
"""

from __future__ import annotations

from typing import Any, LiteralString

import psycopg

from pgsched.db.connect import connect
from pgsched.db.statements import load_statement, migrations
from pgsched.errors import SchemaMismatch


def program_version() -> int:
    """Return the schema version that this program needs."""
    return migrations()[-1].version


def migrate(dsn: str) -> list[str]:
    """Apply what is missing and return the names of the migrations applied, oldest first.

    Raises DatabaseUnavailable, and SchemaMismatch when the database is newer than this program.
    """
    applied = []
    with connect(dsn, application_name="pgsched migrate") as connection:
        for migration in migrations():
            with connection.transaction():
                connection.execute(load_statement("lock_migrations"))
                connection.execute(_create_migrations())
                present = _versions(connection)
                refuse_newer(max(present, default=0))
                if migration.version in present:
                    continue
                connection.execute(migration.sql)
                connection.execute(
                    load_statement("record_migration"), {"version": migration.version, "name": migration.name}
                )
            applied.append(f"{migration.version:04d}_{migration.name}")
    return applied


def _create_migrations() -> LiteralString:
    return load_statement("create_migrations")


def migration_script() -> str:
    """Return the whole schema as one SQL script, for people who use a migration tool of their own.

    Run as it is (``psql -v ON_ERROR_STOP=1 -f``) it leaves what ``migrate`` leaves.
    """
    parts = ["begin;", _create_migrations() + ";"]
    for migration in migrations():
        parts.append(f"-- {migration.version:04d}_{migration.name}\n{migration.sql.strip()}")
        # A whole number and a file's name of our own: nothing that was put in from outside.
        values = f"({migration.version}, '{migration.name}')"
        parts.append(f"insert into pgsched.migrations (version, name) values {values};")  # noqa: S608
    parts.append("commit;")
    return "\n\n".join(parts) + "\n"


def schema_version(connection: psycopg.Connection[tuple[Any, ...]]) -> int:
    """Return the version of the connected database's schema; 0 when there is none."""
    found = connection.execute(load_statement("find_schema")).fetchone()
    return max(_versions(connection), default=0) if found and found[0] else 0


def _versions(connection: psycopg.Connection[tuple[Any, ...]]) -> set[int]:
    return {version for version, _name in connection.execute(load_statement("list_migrations"))}


def check_schema(dsn: str) -> None:
    """Raise SchemaMismatch unless the database's schema is the one this program needs."""
    with connect(dsn, application_name="pgsched check") as connection:
        found = schema_version(connection)
    refuse_newer(found)
    if found == 0:
        raise SchemaMismatch("the database has no pgsched schema: run 'pgsched migrate'")
    if found < program_version():
        raise SchemaMismatch(
            f"the database's schema is at version {found}, this program needs {program_version()}: "
            "run 'pgsched migrate'"
        )


def refuse_newer(found: int) -> None:
    """Raise SchemaMismatch when ``found`` is a version that this program does not know."""
    if found > program_version():
        raise SchemaMismatch(
            f"the database's schema is at version {found}, newer than this program's {program_version()}: "
            "upgrade pgsched"
        )
