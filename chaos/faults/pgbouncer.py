"""PgBouncer before a server, if the machine has it; in transaction mode each transaction may be in another session."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote, urlencode

import psycopg
from psycopg.conninfo import conninfo_to_dict

from chaos.loopback import answers, free_port
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
admin_users = {user}
pool_mode = {mode}
max_client_conn = 500
default_pool_size = {size}
server_round_robin = 1
server_login_retry = 1
ignore_startup_parameters = extra_float_digits
log_connections = 0
log_disconnections = 0
{more}
"""
# server_login_retry: as docs/operations.md advises; after a login that failed it would let all clients wait for 15 s.
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

    def __init__(
        self, dsn: str, *, size: int = 10, mode: str = "transaction", settings: Mapping[str, str] | None = None
    ) -> None:
        """``size`` is the number of sessions on the server; ``settings`` are further ones of pgbouncer.ini."""
        given = {name: str(value) for name, value in conninfo_to_dict(dsn).items() if value is not None}
        self.folder = Path(tempfile.mkdtemp(prefix="pgsched-pgbouncer-", dir=fast_folder()))
        self._port = free_port()
        server = {"host": given.pop("host"), "port": given.pop("port", "5432"), "user": given.get("user", "")}
        file = self.folder / "pgbouncer.ini"
        more = "\n".join(f"{name} = {value}" for name, value in (settings or {}).items())
        file.write_text(SETTINGS.format(**server, listen=self._port, size=size, mode=mode, more=more))
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

    @property
    def log(self) -> str:
        """What it wrote."""
        return (self.folder / "pgbouncer.log").read_text(errors="replace")

    def command(self, *commands: str) -> None:
        """Give commands of its console, as ``PAUSE``; one that waits for sessions to be free waits here."""
        console = {**conninfo_to_dict(self.dsn), "dbname": "pgbouncer"}
        with psycopg.connect(**console, autocommit=True, cursor_factory=psycopg.ClientCursor) as connection:
            for command in commands:
                connection.execute(command)  # type: ignore[arg-type]

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End it, by default with SIGKILL: every connection through it breaks."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait()
            self._process = None

    def close(self) -> None:
        """End it."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log
        return answers(self.dsn)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
