"""Which PostgreSQL servers pgsched works with."""

from __future__ import annotations

from typing import Any, Final

from psycopg import Connection

from pgsched.domain.errors import UnfitDatabase

SUPPORTED: Final = range(14, 19)
"""The major versions that the tests run on."""


def refuse_old_server(connection: Connection[Any]) -> None:
    """Raise UnfitDatabase for a server that is older than those pgsched works with."""
    major = connection.info.server_version // 10_000
    if 0 < major < SUPPORTED[0]:  # 0: a pooler that does not pass the version on
        raise UnfitDatabase(f"the server is PostgreSQL {major}: pgsched needs PostgreSQL {SUPPORTED[0]} or newer")
