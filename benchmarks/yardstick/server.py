"""One PostgreSQL for all cells, with the settings of that project's, which a scenario may stop and start."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg
from psycopg.conninfo import make_conninfo

from pgsched.db.embedded.server import EmbeddedServer

DATABASE = "yardstick"
STOP_SECONDS = 60
SETTINGS = {
    "max_connections": "400",
    "shared_buffers": "256MB",
    "work_mem": "8MB",
    "maintenance_work_mem": "128MB",
    "autovacuum_naptime": "60s",
    "autovacuum_vacuum_cost_limit": "200",
}


class Server:
    """The server in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._hold = EmbeddedServer.start(folder, options=SETTINGS)
        self.dsn = self._hold.dsn

    def fresh(self) -> str:
        """Return the DSN of a new, empty database."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(f"drop database if exists {DATABASE} with (force)".encode())
            connection.execute(f"create database {DATABASE} template template0".encode())
            connection.execute("checkpoint")
        return make_conninfo(self.dsn, dbname=DATABASE)

    def stop(self) -> None:
        """Stop it as ``docker stop`` does: in order, without waiting for clients."""
        pidfile = self._folder / "data" / "postmaster.pid"
        os.kill(int(pidfile.read_text().splitlines()[0]), signal.SIGINT)
        deadline = time.monotonic() + STOP_SECONDS
        while pidfile.exists():
            if time.monotonic() > deadline:
                raise TimeoutError(f"the server did not stop within {STOP_SECONDS} s")
            time.sleep(0.02)

    def start(self) -> None:
        """Start it again."""
        with EmbeddedServer.start(self._folder, options=SETTINGS):
            pass

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._hold.close()
