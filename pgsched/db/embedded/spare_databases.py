"""Databases for tests: a template in which the migrations have run, and copies of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote, urlencode

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from pgsched.db.connection import DbConnection, connect
from pgsched.db.error_mapping import translate
from pgsched.db.migrations.runner import migrate
from pgsched.db.sql_files import load_statement

NOTHING = "template0"
"""A database in which nothing is."""


def with_database(dsn: str, name: str) -> str:
    """Return a libpq URI of another database of the same server."""
    settings = {key: str(value) for key, value in conninfo_to_dict(dsn, dbname=name).items() if value is not None}
    return "postgresql:///?" + urlencode(settings, quote_via=quote)


def ensure_template(server: str, name: str) -> None:
    """Make the database ``name``, migrated, unless it is there; whoever comes first makes it, the others wait."""
    with _connected(server) as connection:
        connection.execute(load_statement("lock_template"), {"name": name})
        if name in list_databases(server, name):
            return
        unfinished = f"{name}_unfinished"
        drop_database(server, unfinished)
        create_database(server, unfinished, template=NOTHING)
        made = with_database(server, unfinished)
        migrate(made)
        with _connected(made) as session:  # else its copies would be taken for copies of it
            session.execute(load_statement("forget_database"))
        _define(connection, load_statement("rename_database"), name=unfinished, new=name)


def create_database(server: str, name: str, *, template: str) -> str:
    """Make a database and return its DSN. Raises DatabaseUnavailable and PermissionRefused."""
    with _connected(server) as connection:
        _define(connection, load_statement("create_database"), name=name, template=template)
    return with_database(server, name)


def drop_database(server: str, name: str) -> None:
    """Drop a database, if it is there, with whoever is still connected to it."""
    with _connected(server) as connection:
        _define(connection, load_statement("drop_database"), name=name)


def list_databases(server: str, prefix: str) -> list[str]:
    """Return the databases whose name begins so."""
    with _connected(server) as connection:
        return [row[0] for row in connection.execute(load_statement("list_databases"), {"prefix": prefix}).fetchall()]


@contextmanager
def _connected(server: str) -> Iterator[DbConnection]:
    try:
        with connect(server, application_name="pgsched tests") as connection:
            yield connection
    except psycopg.Error as error:
        raise translate(error) from None


def _define(connection: DbConnection, statement: Any, **names: str) -> None:
    identifiers: Mapping[str, Any] = {name: sql.Identifier(value) for name, value in names.items()}
    connection.execute(sql.SQL(statement).format(**identifiers))
