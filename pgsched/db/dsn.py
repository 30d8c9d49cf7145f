"""The forms of a DSN: libpq's own, and ``embedded:DIR``; what a connection adds to it, and which parts may be shown."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pgsched.db.error_mapping import one_line
from pgsched.domain.errors import ConfigError

EMBEDDED = "embedded:"
CONNECT_TIMEOUT = 10
"""Seconds to wait for a server; a DSN or PGCONNECT_TIMEOUT that sets its own takes precedence."""
CONNECT_TIMEOUT_OF_MANY = 3
"""The same for each of several hosts: one that is silent must not use up the time that is left for the others."""
FILES = {
    "passfile": ".pgpass",
    "sslcert": ".postgresql/postgresql.crt",
    "sslkey": ".postgresql/postgresql.key",
    "sslrootcert": ".postgresql/root.crt",
    "sslcrl": ".postgresql/root.crl",
}
"""Options that are paths, and where libpq looks in the home directory without them."""
EMPTY_IS_UNSET = {
    *(*FILES, "dbname", "host", "hostaddr", "password", "options", "sslcrldir", "requirepeer", "require_auth"),
    *("gsslib", "ssl_max_protocol_version"),
}
"""Options that libpq treats as unset when they are empty, without consulting the environment."""


def resolve_dsn(dsn: str) -> tuple[str, Callable[[], None]]:
    """Return the libpq DSN that ``dsn`` stands for, and a function to call when it is no longer used.

    ``embedded:DIR`` starts the embedded server in that folder, or joins it; the last process to leave stops it.
    Raises ConfigError and DatabaseUnavailable.
    """
    if not dsn.startswith(EMBEDDED):
        return dsn, lambda: None
    folder = dsn.removeprefix(EMBEDDED)
    if not folder:
        raise ConfigError(f'the DSN "{EMBEDDED}" must name a folder, as "{EMBEDDED}.pgsched"')
    try:
        from pgsched.db.embedded.server import NO_ENVIRONMENT, EmbeddedServer
    except ModuleNotFoundError as error:
        raise ConfigError(f"the embedded PostgreSQL needs {error.name}, which this system does not have") from error
    server = EmbeddedServer.start(Path(folder))
    return server.dsn + NO_ENVIRONMENT, server.close


@contextmanager
def resolved(dsn: str) -> Iterator[str]:
    """Yield the libpq DSN that ``dsn`` stands for; an embedded server runs for the duration of the block."""
    found, leave = resolve_dsn(dsn)
    try:
        yield found
    finally:
        leave()


def join_dsn(parts: Mapping[str, Any]) -> str:
    """Return the libpq DSN with these parts, by libpq's names; unknown names are left out."""
    known = {option.keyword.decode() for option in pq.Conninfo.get_defaults()}
    return make_conninfo(**{name: value for name, value in parts.items() if name in known and value is not None})


def is_keyword(name: str) -> bool:
    """Whether libpq has an option of this name, so that ``name=value`` is a DSN."""
    return name in {option.keyword.decode() for option in pq.Conninfo.get_defaults()}


def database_of(dsn: str) -> str | None:
    """Return the database that a DSN names; None when it names none or is malformed."""
    try:
        name = conninfo_to_dict(dsn).get("dbname")
    except psycopg.ProgrammingError:
        return None
    return None if name is None else str(name)


def pin(dsn: str, environment: Mapping[str, str]) -> str:
    """Return a libpq DSN that no longer depends on the environment and the working directory.

    What the ``PG*`` variables and the files in the home directory currently add to it is written into it.

    A few options cannot be written down as unset (``service``, ``sslcertmode`` and the versions of the protocol): a
    variable that is set for one of them later takes effect.
    A DSN that names a service is returned unchanged: the service's file takes precedence over the environment. So is a
    malformed one: whoever connects reports why.
    """
    try:
        given = {name: str(value) for name, value in conninfo_to_dict(dsn).items() if value is not None}
    except psycopg.ProgrammingError:
        return dsn
    if "service" in given or environment.get("PGSERVICE"):
        return dsn
    pinned = {"connect_timeout": str(_connect_timeout(given))}
    for option in pq.Conninfo.get_defaults():
        keyword, value = option.keyword.decode(), (option.val or b"").decode()
        if option.envvar is not None and keyword != "application_name":  # which each connection reports for itself
            value = value or _home_file(keyword, environment)
            if value or keyword in EMPTY_IS_UNSET:
                pinned[keyword] = value
    pinned |= given
    for keyword in FILES:
        if pinned[keyword] not in ("", "system"):
            pinned[keyword] = str(Path(pinned[keyword]).absolute())
    return make_conninfo("", **pinned)


def _home_file(keyword: str, environment: Mapping[str, str]) -> str:
    """Return the file of an option in the home directory, if it exists; empty otherwise."""
    path = Path(environment.get("HOME") or "/nonexistent", FILES.get(keyword, ""))
    return str(path) if keyword in FILES and path.exists() else ""


def connection_options(dsn: str, application_name: str) -> dict[str, Any]:
    """Return the connection options that the DSN does not set. Raises ConfigError for a malformed DSN."""
    try:
        given = conninfo_to_dict(dsn)
    except psycopg.Error as error:
        # Not chained: libpq quotes what it cannot parse, including the password.
        raise ConfigError(f"the DSN cannot be read: {_unquoted(error)}") from None
    if odd := _unescaped(dsn, given):
        raise ConfigError(f"the DSN cannot be read: {odd}; in a password write @ as %40, / as %2F, % as %25")
    defaults: dict[str, Any] = {
        "application_name": application_name,
        "connect_timeout": _connect_timeout(given),
        # A peer that vanished is noticed within a minute, not after the kernel's two hours.
        "keepalives_idle": 20,
        "keepalives_interval": 10,
        "keepalives_count": 3,
        "tcp_user_timeout": 30_000,
    }
    if "PGCONNECT_TIMEOUT" in os.environ:
        del defaults["connect_timeout"]
    # The one session setting that poolers also know, and that no RESET reverts.
    return {name: value for name, value in defaults.items() if name not in given} | {"client_encoding": "UTF8"}


def _connect_timeout(given: Mapping[str, Any]) -> int:
    hosts = given.get("hostaddr") or given.get("host") or os.environ.get("PGHOSTADDR") or os.environ.get("PGHOST") or ""
    return CONNECT_TIMEOUT_OF_MANY if "," in str(hosts) else CONNECT_TIMEOUT


def _unquoted(error: psycopg.Error) -> str:
    """Return libpq's message about a DSN, up to the first word that it quotes."""
    said = one_line(error)
    if said.startswith('missing "="'):
        return "it is neither a URI, as postgresql://user@host/database, nor words as host=… dbname=…"
    return said.partition('"')[0].rstrip(" :") or "it is no DSN"


def _unescaped(dsn: str, given: Mapping[str, Any]) -> str | None:
    """Return how an unescaped password shows: a part of it is taken for host, port or database."""
    _, _, path = dsn.partition("://")[2].partition("?")[0].partition("/")
    if "@" in str(given.get("host") or ""):
        return "the host holds an @"
    if not re.fullmatch(r"[\d, ]*", str(given.get("port") or "")):
        return "the port is no number"
    if "@" in path:
        return "the database holds an @"
    return None


def describe_dsn(dsn: str) -> str:
    """Return ``host:port/database`` of a DSN, without user and password."""
    try:
        given = conninfo_to_dict(dsn)
    except psycopg.Error:
        return "an unreadable DSN"
    host = given.get("host") or "the default host"
    return f"{host}:{given.get('port') or 5432}/{given.get('dbname') or given.get('user') or 'the default database'}"
