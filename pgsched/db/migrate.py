"""Brings the schema of a database to the version of this program.

Each migration is applied in a transaction of its own together with its row in ``pgsched.migrations``, under an
advisory lock: any number of processes may migrate at once, and one that dies leaves a whole version behind.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, LiteralString

import psycopg
from psycopg import errors

from pgsched.db.connect import connect
from pgsched.db.problems import translate
from pgsched.db.statements import load_statement, migrations
from pgsched.errors import PermissionRefused, SchemaMismatch

WORKER_RIGHTS: Mapping[str, str] = {
    "tasks": "select, insert, update",
    "executions": "insert",
    "workers": "insert",
    "slots": "insert",
}
"""What tells a role that may run a worker from those that may not."""
WEB_RIGHTS: Mapping[str, str] = {"tasks": "select", "executions": "select"}
"""What a web face cannot do without."""

CHECK_SECONDS = 30.0
"""How long a server may take to say which version its schema has."""


def program_version() -> int:
    """Return the schema version that this program needs."""
    return migrations()[-1].version


def migrate(dsn: str, *, roles: bool = False) -> list[str]:
    """Apply what is missing and return the names of the migrations applied, oldest first.

    With ``roles`` also make the database roles that are not there yet, let pgsched_owner own the schema, and give each
    its rights. Without it rights are only brought in step with a new version, where the roles have some already.

    Raises DatabaseUnavailable, SchemaMismatch when the database is newer than this program, and PermissionRefused.
    """
    applied = []
    with connect(dsn, application_name="pgsched migrate") as connection:
        for migration in migrations():
            with _refusing(), connection.transaction():
                connection.execute(_lock_migrations())
                connection.execute(_create_migrations())
                present = _versions(connection)
                refuse_newer(max(present, default=0))
                if migration.version in present:
                    continue
                connection.execute(_become_owner())
                connection.execute(migration.sql)
                connection.execute(
                    load_statement("record_migration"), {"version": migration.version, "name": migration.name}
                )
            applied.append(f"{migration.version:04d}_{migration.name}")
        if roles or (applied and _has_granted_roles(connection)):
            with _refusing(), connection.transaction():
                connection.execute(_lock_migrations())
                if roles:
                    _make_roles(connection)
                connection.execute(_become_owner())
                connection.execute(_grant_rights())
    return applied


def _make_roles(connection: psycopg.Connection[tuple[Any, ...]]) -> None:
    try:
        connection.execute(_create_roles())
        connection.execute(_take_ownership())
    except errors.InsufficientPrivilege as error:
        hint = "a superuser, or an owner of the schema who may create roles, must run 'pgsched migrate --roles'"
        raise PermissionRefused(f"{translate(error)}: {hint}") from error


@contextmanager
def _refusing() -> Iterator[None]:
    """What the role may not do becomes an error of ours."""
    try:
        yield
    except errors.InsufficientPrivilege as error:
        raise translate(error) from error


def _has_granted_roles(connection: psycopg.Connection[tuple[Any, ...]]) -> bool:
    found = connection.execute(load_statement("find_roles")).fetchone()
    return bool(found and found[0] and found[1])


def _become_owner() -> LiteralString:
    return load_statement("become_owner")


def _create_roles() -> LiteralString:
    return load_statement("create_roles")


def _take_ownership() -> LiteralString:
    return load_statement("take_ownership")


def _grant_rights() -> LiteralString:
    return load_statement("grant_rights")


def _lock_migrations() -> LiteralString:
    return load_statement("lock_migrations")


def _create_migrations() -> LiteralString:
    return load_statement("create_migrations")


def migration_script(*, roles: bool = False) -> str:
    """Return the whole schema as one SQL script, for people who use a migration tool of their own; also the ``roles``.

    Run as it is (``psql -v ON_ERROR_STOP=1 -f``) it leaves what ``migrate`` leaves.
    """
    parts = ["begin;", _create_migrations() + ";"]
    for migration in migrations():
        parts.append(f"-- {migration.version:04d}_{migration.name}\n{migration.sql.strip()}")
        # A whole number and a file's name of our own: nothing that was put in from outside.
        values = f"({migration.version}, '{migration.name}')"
        parts.append(f"insert into pgsched.migrations (version, name) values {values};")  # noqa: S608
    if roles:
        parts += [f"{statement};" for statement in (_create_roles(), _take_ownership(), _grant_rights())]
    parts.append("commit;")
    return "\n\n".join(parts) + "\n"


def schema_version(connection: psycopg.Connection[tuple[Any, ...]]) -> int:
    """Return the version of the connected database's schema; 0 when there is none."""
    found = connection.execute(load_statement("find_schema")).fetchone()
    return max(_versions(connection), default=0) if found and found[0] else 0


def _versions(connection: psycopg.Connection[tuple[Any, ...]]) -> set[int]:
    return {version for version, _name in connection.execute(load_statement("list_migrations"))}


def check_schema(dsn: str, rights: Mapping[str, str] | None = None) -> None:
    """Raise SchemaMismatch unless the database's schema is the one this program needs.

    ``rights`` are those that the role must have on tables of ours; PermissionRefused names the first that it has not.
    """
    with _refusing(), connect(dsn, application_name="pgsched check") as connection:
        found = schema_version(connection)
        if found == program_version():
            _check_rights(connection, rights or {})
    refuse_newer(found)
    if found == 0:
        raise SchemaMismatch("the database has no pgsched schema: run 'pgsched migrate'")
    if found < program_version():
        raise SchemaMismatch(
            f"the database's schema is at version {found}, this program needs {program_version()}: "
            "run 'pgsched migrate'"
        )


def _check_rights(connection: psycopg.Connection[tuple[Any, ...]], rights: Mapping[str, str]) -> None:
    wanted = [(name, right) for name, listed in rights.items() for right in listed.split(", ")]
    values = {"names": [name for name, _ in wanted], "privileges": [right for _, right in wanted]}
    missing = connection.execute(load_statement("find_missing_right"), values).fetchone()
    if missing is not None:
        role, right, name = missing
        raise PermissionRefused(f'the database role "{role}" may not do this: it needs {right} on pgsched.{name}')


def refuse_newer(found: int) -> None:
    """Raise SchemaMismatch when ``found`` is a version that this program does not know."""
    if found > program_version():
        raise SchemaMismatch(
            f"the database's schema is at version {found}, newer than this program's {program_version()}: "
            "upgrade pgsched"
        )
