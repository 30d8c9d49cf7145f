"""Upgrades the schema of a database to the version of this program.

Each migration is applied in a transaction of its own together with its row in ``pgsched.migrations``, under an
advisory lock: any number of processes may migrate at once, and one that dies leaves a complete version behind. Workers
and clients continue meanwhile: nobody waits long behind a lock, and a program of an older version keeps working with a
newer schema as long as every later migration declares that it works with that program.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial

import psycopg
from psycopg import errors
from psycopg.rows import dict_row

from pgsched.db.connection import DbConnection, connect, refuse_encoding, transaction
from pgsched.db.error_mapping import is_unavailable, translate
from pgsched.db.migrations.indexes import columns_of, make_indexes
from pgsched.db.migrations.lock_wait import limit_lock_wait, retry_locked
from pgsched.db.queries.databases import get_state
from pgsched.db.server_version import refuse_old_server
from pgsched.db.sql_files import Migration, load_statement, migrations
from pgsched.domain.database_state import UNNOTED, DatabaseState
from pgsched.domain.errors import CopiedDatabase, PermissionRefused, SchemaMismatch

WORKER_RIGHTS: Mapping[str, str] = {
    "tasks": "select, insert, update",
    "executions": "insert",
    "workers": "insert",
    "slots": "insert",
}
"""Distinguishes roles that may run a worker from those that may not."""
WEB_RIGHTS: Mapping[str, str] = {"tasks": "select", "executions": "select"}
"""The rights that the web server needs."""

NOTED_SINCE = 47
"""The version of the schema from which on a database says whether its tasks belong to it."""
LOCK_WAIT_SECONDS = 600.0
"""How long a migration tries to get its locks."""
CHECK_SECONDS = 30.0
"""Time limit for a server to report the version of its schema."""


def program_version() -> int:
    """Return the schema version that this program needs."""
    return migrations()[-1].version


def migrate(
    dsn: str,
    *,
    roles: bool = False,
    lock_wait: float = LOCK_WAIT_SECONDS,
    on_wait: Callable[[str], None] = lambda _line: None,
) -> list[str]:
    """Apply what is missing and return the names of the migrations applied, oldest first.

    With ``roles``, also create the missing database roles, let pgsched_owner own the schema, and grant each its rights.
    Without it, rights are only updated for a new version, where the roles already have some.

    Nobody waits behind a lock of ours for more than seconds; ``on_wait`` receives the holders of the locks we need. A
    schema that is newer than this program and works with it is left unchanged.

    Raises DatabaseUnavailable, UnfitDatabase for a database that cannot store every text or whose server is too old,
    SchemaMismatch when the database is newer than this program and does not work with it, PermissionRefused, and
    SchemaLocked when the locks could not be obtained for ``lock_wait`` seconds.
    """
    applied = []
    with _refusing(), connect(dsn, application_name="pgsched migrate") as connection:
        refuse_old_server(connection)
        refuse_encoding(connection)
        patiently = partial(retry_locked, connection, seconds=lock_wait, on_wait=on_wait)
        for migration in migrations():
            if not connection.pooled and _is_missing(connection, migration):
                patiently(partial(_add_columns, connection, migration))
                with _refusing():
                    make_indexes(connection, migration, on_wait)
            if patiently(partial(_apply, connection, migration)):
                applied.append(f"{migration.version:04d}_{migration.name}")
        if roles or (applied and _has_granted_roles(connection)):
            patiently(partial(_set_rights, connection, roles=roles))
        if program_version() >= NOTED_SINCE and _state_of(connection).state == UNNOTED:
            patiently(partial(_note_database, connection))
    return applied


def _is_missing(connection: DbConnection, migration: Migration) -> bool:
    """Whether there is a schema that a migration has not been applied to."""
    present = _versions_if_any(connection)
    return bool(present) and migration.version not in present


def _add_columns(connection: DbConnection, migration: Migration) -> None:
    """Add the columns for indexes that are created before the migration."""
    if columns := columns_of(migration):
        with _refusing(), transaction(connection):
            limit_lock_wait(connection)
            connection.execute(load_statement("become_owner"))
            for statement in columns:
                connection.execute(statement)


def _apply(connection: DbConnection, migration: Migration) -> bool:
    """Apply a migration unless it was applied before; returns whether it was needed."""
    with _refusing(), transaction(connection):
        connection.execute(load_statement("lock_migrations"))
        limit_lock_wait(connection)
        connection.execute(load_statement("create_migrations"))
        present = _versions(connection)
        refuse_newer(present)
        if migration.version in present:
            return False
        connection.execute(load_statement("become_owner"))
        connection.execute(migration.sql)
        values = {"version": migration.version, "name": migration.name, "works_with": migration.works_with}
        connection.execute(load_statement("record_migration"), values)
    return True


def _set_rights(connection: DbConnection, *, roles: bool) -> None:
    with _refusing(), transaction(connection):
        connection.execute(load_statement("lock_migrations"))
        limit_lock_wait(connection)
        refuse_newer(_versions(connection), whatever_works=False)
        if roles:
            _make_roles(connection)
        connection.execute(load_statement("become_owner"))
        connection.execute(load_statement("grant_rights"))


def _make_roles(connection: DbConnection) -> None:
    try:
        connection.execute(load_statement("create_roles"))
        connection.execute(load_statement("take_ownership"))
    except errors.InsufficientPrivilege as error:
        hint = "a superuser, or an owner of the schema who may create roles, must run 'pgsched migrate --roles'"
        raise PermissionRefused(f"{translate(error)}: {hint}") from error


@contextmanager
def _refusing() -> Iterator[None]:
    """Convert errors about the role's rights, and about a server that is gone or full, to ours."""
    try:
        yield
    except errors.InsufficientPrivilege as error:
        raise translate(error) from error
    except psycopg.Error as error:
        if not is_unavailable(error):
            raise
        raise translate(error) from error


def _note_database(connection: DbConnection) -> None:
    with _refusing(), transaction(connection):
        limit_lock_wait(connection)
        connection.execute(load_statement("become_owner"))
        connection.execute(load_statement("note_database"))


def database_problem(dsn: str) -> str | None:
    """Return why workers do not start in this database, in a sentence: its tasks belong to another one, or somebody
    holds workers back; None if they start.
    """
    with _refusing(), connect(dsn, application_name="pgsched check") as connection:
        return _state_of(connection).problem


def _state_of(connection: DbConnection) -> DatabaseState:
    with connection.cursor(row_factory=dict_row) as cursor:
        asked = get_state()
        return asked.parse(cursor.execute(asked.statement).fetchall())


def _has_granted_roles(connection: DbConnection) -> bool:
    found = connection.execute(load_statement("find_roles")).fetchone()
    return bool(found and found[0] and found[1])


def migration_script(*, roles: bool = False) -> str:
    """Return the whole schema as one SQL script, for users of other migration tools; optionally with the ``roles``.

    Run unchanged (``psql -v ON_ERROR_STOP=1 -f``) it has the same result as ``migrate``.
    """
    settings = "set local standard_conforming_strings = on;\nset local search_path = pg_catalog, pg_temp;"
    parts = ["begin;", settings, load_statement("create_migrations") + ";"]
    for migration in migrations():
        parts.append(f"-- {migration.version:04d}_{migration.name}\n{migration.sql.strip()}")
        # Integers and the name of a file of our own: nothing from outside.
        values = f"({migration.version}, '{migration.name}', {migration.works_with})"
        parts.append(f"insert into pgsched.migrations (version, name, works_with) values {values};")  # noqa: S608
    if roles:
        parts += [f"{load_statement(name)};" for name in ("create_roles", "take_ownership", "grant_rights")]
    parts.append("commit;")
    return "\n\n".join(parts) + "\n"


def schema_version(dsn: str) -> int:
    """Return the version of a database's schema; 0 when there is none. Raises DatabaseUnavailable."""
    with _refusing(), connect(dsn, application_name="pgsched check") as connection:
        return max(_versions_if_any(connection), default=0)


def _versions(connection: DbConnection) -> dict[int, int | None]:
    """Return the applied migrations, with the lowest program version that works with each, None if not declared."""
    return {version: works_with for version, _name, works_with in connection.execute(load_statement("list_migrations"))}


def _versions_if_any(connection: DbConnection) -> dict[int, int | None]:
    there = connection.execute(load_statement("find_schema")).fetchone()
    return _versions(connection) if there and there[0] else {}


def check_schema(dsn: str, rights: Mapping[str, str] | None = None, *, original: bool = False) -> None:
    """Raise SchemaMismatch unless the database's schema is the one this program needs, or a newer one that works with
    it; UnfitDatabase when the database cannot store every text, or its server is too old.

    ``rights`` are those that the role needs on our tables; PermissionRefused names the first missing one. With
    ``original``, raise CopiedDatabase if the tasks belong to another database.
    """
    with _refusing(), connect(dsn, application_name="pgsched check") as connection:
        refuse_old_server(connection)
        refuse_encoding(connection)
        present = _versions_if_any(connection)
        found = max(present, default=0)
        refuse_newer(present)
        if found >= program_version():
            _check_rights(connection, rights or {})
            if original and found >= NOTED_SINCE and (problem := _state_of(connection).problem):
                raise CopiedDatabase(problem)
    if found == 0:
        raise SchemaMismatch("the database has no pgsched schema: run 'pgsched migrate'")
    if found < program_version():
        raise SchemaMismatch(
            f"the database's schema is at version {found}, this program needs {program_version()}: "
            "run 'pgsched migrate'"
        )


def _check_rights(connection: DbConnection, rights: Mapping[str, str]) -> None:
    wanted = [(name, right) for name, listed in rights.items() for right in listed.split(", ")]
    values = {"names": [name for name, _ in wanted], "privileges": [right for _, right in wanted]}
    missing = connection.execute(load_statement("find_missing_right"), values).fetchone()
    if missing is not None:
        role, right, name = missing
        raise PermissionRefused(f'the database role "{role}" may not do this: it needs {right} on pgsched.{name}')


def refuse_newer(present: Mapping[int, int | None], *, whatever_works: bool = True) -> None:
    """Raise SchemaMismatch when a migration was applied that this program does not know.

    One that works with programs of this version is accepted, unless ``whatever_works`` does not suffice.
    """
    newer = [least for version, least in present.items() if version > program_version()]
    if any(least is None or least > program_version() or not whatever_works for least in newer):
        raise SchemaMismatch(
            f"the database's schema is at version {max(present)}, newer than this program's {program_version()}: "
            "upgrade pgsched"
        )
