"""Opens connections: the DSN's forms, the session's settings, errors in one line."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from math import inf
from typing import Any

import psycopg
from psycopg import conninfo

from pgsched.db.adapt import adapt
from pgsched.db.link import AsyncLink, Link
from pgsched.db.settled import greet, greet_async
from pgsched.domain.errors import ConfigError, DatabaseUnavailable

CONNECT_TIMEOUT = 10
"""Seconds to wait for a server; a DSN or PGCONNECT_TIMEOUT that names its own wins."""
GREET_SECONDS = 10.0
"""How long the first statement of a connection may take."""


def connect(dsn: str, *, application_name: str = "pgsched", patience: float = inf) -> Link:
    """Open a connection in autocommit mode.

    ``dsn`` is a libpq URI or keyword string; an empty one means the PG* environment variables. ``patience``: how many
    seconds an answer is waited for. Behind a pooler no statement is prepared: the session may be another one each time.
    The session has the settings that our statements rely on; behind a pooler :mod:`pgsched.db.settled` sees to that.
    Raises ConfigError for a DSN that cannot be read and DatabaseUnavailable for one that leads nowhere.
    """
    try:
        link = Link.connect(dsn, autocommit=True, **_options(dsn, application_name))
        link.patience = min(patience, GREET_SECONDS)
        greet(link)
        link.patience = patience
    except psycopg.Error as error:
        raise refused(dsn, error) from error
    adapt(link)
    return link


async def connect_async(
    dsn: str, *, application_name: str = "pgsched", patience: float = inf, own: bool = True
) -> AsyncLink:
    """Open an asynchronous connection in autocommit mode; otherwise as :func:`connect`.

    One that is not our ``own`` keeps the settings of the role and the database: it is lent to handlers.
    """
    try:
        link = await AsyncLink.connect(dsn, autocommit=True, **_options(dsn, application_name))
        link.patience = min(patience, GREET_SECONDS)
        await greet_async(link, own=own)
        link.patience = patience
    except psycopg.Error as error:
        raise refused(dsn, error) from error
    adapt(link)
    return link


def _options(dsn: str, application_name: str) -> dict[str, Any]:
    try:
        given = conninfo.conninfo_to_dict(dsn)
    except psycopg.Error as error:
        # Not chained: libpq quotes what it cannot read, the password with it.
        raise ConfigError(f"the DSN cannot be read: {_unquoted(error)}") from None
    if odd := _unescaped(dsn, given):
        raise ConfigError(f"the DSN cannot be read: {odd}; in a password write @ as %40, / as %2F, % as %25")
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
    # Of a session's settings the one that poolers know, too, and that no RESET takes back.
    return {name: value for name, value in defaults.items() if name not in given} | {"client_encoding": "UTF8"}


def _unquoted(error: psycopg.Error) -> str:
    """Return what libpq says of a DSN, up to the first word that it quotes."""
    said = _one_line(error)
    if said.startswith('missing "="'):
        return "it is neither a URI, as postgresql://user@host/database, nor words as host=… dbname=…"
    return said.partition('"')[0].rstrip(" :") or "it is no DSN"


def _unescaped(dsn: str, given: Mapping[str, Any]) -> str | None:
    """Return how a password that is not escaped shows: a part of it is taken for host, port or database."""
    _, _, path = dsn.partition("://")[2].partition("?")[0].partition("/")
    if "@" in str(given.get("host") or ""):
        return "the host holds an @"
    if not re.fullmatch(r"[\d, ]*", str(given.get("port") or "")):
        return "the port is no number"
    if "@" in path:
        return "the database holds an @"
    return None


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
