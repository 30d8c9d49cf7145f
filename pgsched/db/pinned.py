"""A DSN that means the same whatever becomes of the environment and the working directory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from psycopg import ProgrammingError, pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pgsched.db.connect import CONNECT_TIMEOUT

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
"""Options that libpq, if they are empty, takes for unset without a look at the environment."""


def pin(dsn: str, environment: Mapping[str, str]) -> str:
    """Return a libpq DSN with what the ``PG*`` variables and the files in the home directory add to it now.

    A few options that nobody has set cannot be written down as unset (``service``, ``sslcertmode`` and the versions of
    the protocol): a variable that is set for one of them later is heard.
    A DSN that names a service stays as it is: the service's file comes before the environment. One that cannot be
    read, too: whoever connects says why.
    """
    try:
        given = {name: str(value) for name, value in conninfo_to_dict(dsn).items() if value is not None}
    except ProgrammingError:
        return dsn
    if "service" in given or environment.get("PGSERVICE"):
        return dsn
    pinned = {"connect_timeout": str(CONNECT_TIMEOUT)}
    for option in pq.Conninfo.get_defaults():
        keyword, value = option.keyword.decode(), (option.val or b"").decode()
        if option.envvar is not None and keyword != "application_name":  # which each connection says for itself
            value = value or _home_file(keyword, environment)
            if value or keyword in EMPTY_IS_UNSET:
                pinned[keyword] = value
    pinned |= given
    for keyword in FILES:
        if pinned[keyword] not in ("", "system"):
            pinned[keyword] = str(Path(pinned[keyword]).absolute())
    return make_conninfo("", **pinned)


def _home_file(keyword: str, environment: Mapping[str, str]) -> str:
    """The file of an option in the home directory, if it is there; empty otherwise."""
    path = Path(environment.get("HOME") or "/nonexistent", FILES.get(keyword, ""))
    return str(path) if keyword in FILES and path.exists() else ""
