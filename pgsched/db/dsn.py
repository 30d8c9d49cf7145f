"""The forms of a DSN: libpq's own, and ``embedded:DIR``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from psycopg import pq
from psycopg.conninfo import make_conninfo

from pgsched.domain.errors import ConfigError

EMBEDDED = "embedded:"


def resolve_dsn(dsn: str) -> tuple[str, Callable[[], None]]:
    """Return the libpq DSN that ``dsn`` stands for, and what to call when it is no longer used.

    ``embedded:DIR`` starts the embedded server in that folder, or joins it; the last one to leave stops it.
    Raises ConfigError and DatabaseUnavailable.
    """
    if not dsn.startswith(EMBEDDED):
        return dsn, lambda: None
    folder = dsn.removeprefix(EMBEDDED)
    if not folder:
        raise ConfigError(f'the DSN "{EMBEDDED}" must name a folder, as "{EMBEDDED}.pgsched"')
    try:
        from pgsched.db.embedded import NO_ENVIRONMENT, EmbeddedServer
    except ModuleNotFoundError as error:
        raise ConfigError(f"the embedded PostgreSQL needs {error.name}, which this system does not have") from error
    server = EmbeddedServer.start(Path(folder))
    return server.dsn + NO_ENVIRONMENT, server.close


def join_dsn(parts: Mapping[str, Any]) -> str:
    """Return the libpq DSN with these parts, by libpq's names; what is no name of libpq's is left out."""
    known = {option.keyword.decode() for option in pq.Conninfo.get_defaults()}
    return make_conninfo(**{name: value for name, value in parts.items() if name in known and value is not None})
