"""Opens connections: the DSN's forms, the session's settings, errors in one line."""

from __future__ import annotations

import os
import re
from typing import Any

import psycopg
from psycopg import AsyncConnection, Connection, conninfo

from pgsched.db.adapt import adapt
from pgsched.errors import ConfigError, DatabaseUnavailable

CONNECT_TIMEOUT = 10
"""Seconds to wait for a server; a DSN or PGCONNECT_TIMEOUT that names its own wins."""


def connect(dsn: str, *, application_name: str = "pgsched") -> Connection[tuple[Any, ...]]:
    """Open a connection in autocommit mode.

    ``dsn`` is a libpq URI or keyword string; an empty one means the PG* environment variables.
    Raises ConfigError for a DSN that cannot be read and DatabaseUnavailable for one that leads nowhere.
    """
    try:
        connection = psycopg.connect(dsn, autocommit=True, **_options(dsn, application_name))
    except psycopg.Error as error:
        raise refused(dsn, error) from error
    adapt(connection)
    return connection


async def connect_async(dsn: str, *, application_name: str = "pgsched") -> AsyncConnection[tuple[Any, ...]]:
    """Open an asynchronous connection in autocommit mode; otherwise as :func:`connect`."""
    try:
        connection = await AsyncConnection.connect(dsn, autocommit=True, **_options(dsn, application_name))
    except psycopg.Error as error:
        raise refused(dsn, error) from error
    adapt(connection)
    return connection


def _options(dsn: str, application_name: str) -> dict[str, Any]:
    try:
        given = conninfo.conninfo_to_dict(dsn)
    except psycopg.Error as error:
        raise ConfigError(f"the DSN cannot be read: {_one_line(error)}") from error
    defaults: dict[str, Any] = {
        "application_name": application_name,
        "connect_timeout": CONNECT_TIMEOUT,
        # A peer that vanished without a word is noticed within a minute, not after the kernel's two hours.
        "keepalives_idle": 20,
        "keepalives_interval": 10,
        "keepalives_count": 3,
        "tcp_user_timeout": 30_000,
    }
    if "PGCONNECT_TIMEOUT" in os.environ:
        del defaults["connect_timeout"]
    return {name: value for name, value in defaults.items() if name not in given}


def refused(dsn: str, error: psycopg.Error) -> DatabaseUnavailable:
    """Return the error for a server that cannot be reached: the place, never the password, and the cause."""
    return DatabaseUnavailable(f"cannot connect to PostgreSQL at {describe_dsn(dsn)}: {_one_line(error)}")


def describe_dsn(dsn: str) -> str:
    """Return ``host:port/database`` of a DSN, without user and password."""
    try:
        given = conninfo.conninfo_to_dict(dsn)
    except psycopg.Error:
        return "an unreadable DSN"
    host = given.get("host") or "the default host"
    return f"{host}:{given.get('port') or 5432}/{given.get('dbname') or given.get('user') or 'the default database'}"


def _one_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    return re.sub(r"^connection failed: ", "", text)
