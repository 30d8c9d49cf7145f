"""Databases that have the roles of ``pgsched migrate --roles``, and roles that log in as members of them."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

ROLES = ("pgsched_worker", "pgsched_producer", "pgsched_viewer", "pgsched_operator")


@contextmanager
def login(admin_dsn: str, name: str, *, member_of: str | None = None, attributes: str = "") -> Iterator[str]:
    """The DSN of a role that logs in, on the database of ``admin_dsn``; what it owns there goes with it."""
    password = secrets.token_hex(12)
    role = sql.Identifier(name)
    with psycopg.connect(admin_dsn, autocommit=True) as connection:
        connection.execute(
            sql.SQL("create role {} login password {} {}").format(role, sql.Literal(password), sql.SQL(attributes))
        )
        if member_of is not None:
            connection.execute(sql.SQL("grant {} to {}").format(sql.Identifier(member_of), role))
    try:
        yield make_conninfo(admin_dsn, user=name, password=password)
    finally:
        with psycopg.connect(admin_dsn, autocommit=True) as connection:
            connection.execute("select pg_terminate_backend(pid) from pg_stat_activity where usename = %s", (name,))
            connection.execute(sql.SQL("reassign owned by {} to current_user").format(role))
            connection.execute(sql.SQL("drop owned by {}").format(role))
            connection.execute(sql.SQL("drop role {}").format(role))
