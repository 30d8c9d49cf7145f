"""A standby of a trial's server, which can become the primary."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import psycopg

from chaos.faults.own_server import OwnServer
from pgsched.db.embedded.server import SUPERUSER, packaged_binaries
from pgsched.db.embedded.system_user import server_user
from tests.support.servers import fast_folder
from tests.support.waiting import wait_until

NAME = "standby"
PORT = 5432
"""Only part of the socket's name: nobody listens on TCP."""
READ_WRITE = {"target_session_attrs": "read-write", "connect_timeout": "3"}


class Standby:
    """A copy of a server that follows it. Commits on the primary wait for it once :meth:`follow` has returned."""

    def __init__(self, primary: OwnServer) -> None:
        self._primary = primary
        self.folder = Path(tempfile.mkdtemp(prefix="pgsched-chaos-", dir=fast_folder()))
        self.data = self.folder / "data"
        self._binaries = packaged_binaries()
        self._user = server_user(self.folder, self._binaries)
        if self._user is not None:
            os.chown(self.folder, self._user.uid, self._user.gid)

    @property
    def either_dsn(self) -> str:
        """Whichever of the two takes writes; a libpq URI with two hosts."""
        hosts = f"{self._primary.data},{self.data}"
        settings = {"host": hosts, "port": f"{PORT},{PORT}", "user": SUPERUSER, "dbname": "postgres", **READ_WRITE}
        return "postgresql:///?" + urlencode(settings, quote_via=quote)

    @property
    def dsn(self) -> str:
        """This server."""
        settings = {"host": str(self.data), "port": str(PORT), "user": SUPERUSER, "dbname": "postgres"}
        return "postgresql:///?" + urlencode(settings, quote_via=quote)

    def follow(self) -> None:
        """Copy the primary, start, and let every commit wait until it is here too."""
        arguments = ["-h", str(self._primary.data), "-p", str(PORT), "-U", SUPERUSER]
        self._run("pg_basebackup", *arguments, "-D", str(self.data), "-R", "-X", "stream", "-c", "fast", "--no-sync")
        for socket in self.data.glob(".s.PGSQL.*"):
            socket.unlink()  # the primary has its own in its data, with its pid in a lock file
        connection = f"host={self._primary.data} port={PORT} user={SUPERUSER} application_name={NAME}"
        with (self.data / "postgresql.auto.conf").open("a") as settings:
            settings.write(f"\nprimary_conninfo = '{connection}'\nwal_retrieve_retry_interval = '200ms'\n")
        options = {
            "listen_addresses": "",
            "port": str(PORT),
            "unix_socket_directories": str(self.data),
            "unix_socket_permissions": "0700",
            "fsync": "off",
            "synchronous_commit": "on",
            "synchronous_standby_names": "",
            "hot_standby": "on",
        }
        command = shlex.join(part for option in options.items() for part in ("-c", "=".join(option)))
        with (self.folder / "server.log").open("wb") as log:
            self._run("pg_ctl", "start", "-w", "-t", "60", "-D", str(self.data), "-o", command, into=log)
        with psycopg.connect(self._primary.dsn, autocommit=True) as primary:
            primary.execute(f"alter system set synchronous_standby_names = '{NAME}'")
            primary.execute("select pg_reload_conf()")

            def in_step() -> bool:
                return bool(primary.execute("select from pg_stat_replication where sync_state = 'sync'").fetchall())

            wait_until(in_step, timeout=30, message="the standby is synchronous")

    def unfollow(self, primary: psycopg.Connection[tuple[Any, ...]]) -> None:
        """Let it receive nothing more; returns once the primary sees that."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute("alter system set primary_conninfo = ''")
            connection.execute("select pg_reload_conf()")

        def gone() -> bool:
            return not primary.execute("select from pg_stat_replication").fetchall()

        wait_until(gone, timeout=30, message="the standby no longer follows")

    def promote(self) -> None:
        """Make it the primary, and wait until it takes writes."""
        self._run("pg_ctl", "promote", "-w", "-t", "60", "-D", str(self.data))

    def close(self) -> None:
        """End it and delete its data."""
        if (self.data / "postmaster.pid").exists():
            with contextlib.suppress(AssertionError):
                self._run("pg_ctl", "stop", "-m", "immediate", "-w", "-D", str(self.data))
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, program: str, *arguments: str, into: object = None) -> None:
        with tempfile.TemporaryFile("w+", errors="replace") as output:
            done = subprocess.run(
                [str(self._binaries / program), *arguments],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=into or output,  # type: ignore[arg-type]
                stderr=subprocess.STDOUT,
                user=self._user.uid if self._user else None,
                group=self._user.gid if self._user else None,
                extra_groups=[] if self._user else None,
                check=False,
            )
            output.seek(0)
            log = self.folder / "server.log"
            said = output.read() + (log.read_text(errors="replace") if log.exists() else "")
            assert done.returncode == 0, f"{program} ended with {done.returncode}: {said}"
