"""PgBouncer in transaction mode before a server, if the machine has it: each transaction may be in another session."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote, urlencode

import psycopg
from psycopg.conninfo import conninfo_to_dict

from pgsched.db.embedded.server import packaged_binaries
from pgsched.db.embedded.system_user import server_user
from tests.support.servers import fast_folder
from tests.support.waiting import wait_until

SETTINGS = """
[databases]
* = host={host} port={port} user={user}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen}
unix_socket_dir =
auth_type = any
pool_mode = transaction
max_client_conn = 500
default_pool_size = {size}
server_round_robin = 1
ignore_startup_parameters = extra_float_digits
log_connections = 0
log_disconnections = 0
"""
# server_round_robin: two transactions after one another are in two sessions whenever there are two.


def missing_pgbouncer() -> str | None:
    """Why there is none; None when there is."""
    if _program() is None:
        return "PgBouncer is not installed (Debian: apt-get install pgbouncer)"
    return None


def _program() -> str | None:
    return shutil.which("pgbouncer", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"]))


class PgBouncer:
    """A process of it; ``dsn`` leads through it to the database of the DSN that was given."""

    def __init__(self, dsn: str, *, size: int = 10) -> None:
        """``size``: so many sessions on the server."""
        given = {name: str(value) for name, value in conninfo_to_dict(dsn).items() if value is not None}
        self.folder = Path(tempfile.mkdtemp(prefix="pgsched-pgbouncer-", dir=fast_folder()))
        self._port = _free_port()
        server = {"host": given.pop("host"), "port": given.pop("port", "5432"), "user": given.get("user", "")}
        file = self.folder / "pgbouncer.ini"
        file.write_text(SETTINGS.format(**server, listen=self._port, size=size))
        self._file = file
        given |= {"sslmode": "disable", "gssencmode": "disable", "host": "127.0.0.1", "port": str(self._port)}
        self.dsn = "postgresql:///?" + urlencode(given, quote_via=quote)
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Start it, and wait until it leads to the server."""
        user = server_user(self.folder, packaged_binaries())  # it refuses to run as root
        program = _program()
        assert program is not None
        with (self.folder / "pgbouncer.log").open("ab") as log:
            self._process = subprocess.Popen(
                [program, str(self._file)],
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user=user.uid if user else None,
                group=user.gid if user else None,
                extra_groups=[] if user else None,
            )
        wait_until(self._answers, timeout=10, message="PgBouncer answers")

    def kill(self) -> None:
        """SIGKILL it: every connection through it breaks."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def close(self) -> None:
        """End it."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.folder / "pgbouncer.log").read_text(errors="replace")
        try:
            with psycopg.connect(self.dsn, connect_timeout=3) as connection:
                connection.execute("select 1")
        except psycopg.OperationalError:
            return False
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
