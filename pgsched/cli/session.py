"""What every command shares: the database it was told and the client on it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pgsched.domain.settings import dsn_from

if TYPE_CHECKING:
    from pgsched.client.client import Client

DEFAULT_LEVEL = "info"


@dataclass(kw_only=True)
class Session:
    """The global options of one call of the command."""

    given_dsn: str | None = None
    """From ``--dsn`` or ``PGSCHED_DSN``; None: neither."""
    dsn_on_line: bool = False
    """It is from ``--dsn``."""
    level: str | None = None
    """From ``--log-level`` or ``PGSCHED_LOG_LEVEL``; None: the command's own."""

    @property
    def debug(self) -> bool:
        """Whether tracebacks are wanted."""
        return self.level == "debug"

    @property
    def dsn(self) -> str:
        """The DSN as it was given; empty for libpq's own variables."""
        return dsn_from(os.environ, self.given_dsn)

    def client(self) -> Client:
        """A client on the database, for a ``with``; its first call finds out whether all is well there."""
        from pgsched.client.client import Client  # only here: not every command needs one

        return Client(self.dsn)


@contextmanager
def server(dsn: str) -> Iterator[str]:
    """The libpq DSN behind ``dsn``; an embedded server runs for as long as it is used."""
    from pgsched.db.dsn import resolve_dsn  # only here: help needs no database

    found, leave = resolve_dsn(dsn)
    try:
        yield found
    finally:
        leave()
