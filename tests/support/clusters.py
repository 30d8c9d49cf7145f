"""A PostgreSQL server of a test's own: its programs, its files, its settings; for upgrades, and for TLS of its own.

The server that tests share is one of :mod:`tests.support.servers`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pgsched.db.embedded.server import packaged_binaries
from pgsched.db.embedded.system_user import server_user
from tests.support.servers import binaries_of, fast_folder, is_installed

SUPERUSER = "postgres"


def programs_of(server: str) -> Path:
    """The ``bin`` folder of pg14 to pg18; skips the test where it is not installed."""
    if not is_installed(server):
        pytest.skip(f"needs {server}: python -m tools.postgres_servers {server[2:]}")
    return binaries_of(server) or packaged_binaries()


class Cluster:
    """One server, in ``folder``: its data in ``data``, its socket beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.dsn = f"postgresql://{SUPERUSER}@/postgres?host={folder}"

    def initialise(self, binaries: Path, *options: str, data: Path | None = None) -> None:
        """Make the files of a new server."""
        arguments = ["--username", SUPERUSER, "--encoding=UTF8", "--no-locale", "--auth=trust", "--no-sync"]
        self.run(binaries / "initdb", *arguments, *options, "-D", str(data or self.data))

    def start(self, binaries: Path, **settings: str) -> None:
        """Start it, as it is or with settings."""
        given = {"listen_addresses": "", "unix_socket_directories": str(self.folder), "fsync": "off"} | settings
        command = " ".join(f"-c {name}='{value}'" for name, value in given.items())
        log = str(self.folder / "server.log")
        self.run(binaries / "pg_ctl", "start", "-w", "-D", str(self.data), "-l", log, "-o", command)

    def stop(self, binaries: Path) -> None:
        """Stop it, whoever is connected."""
        self.run(binaries / "pg_ctl", "stop", "-w", "-m", "fast", "-D", str(self.data))

    def run(self, program: Path, *arguments: str, check: bool = True) -> str:
        """Run one of PostgreSQL's programs as the server's user, in its folder; its output."""
        user = server_user(self.folder, program.parent)
        if user:
            os.chown(self.folder, user.uid, user.gid)
        # A file, not a pipe: the server inherits it, and a pipe would stay open for as long as it runs.
        with tempfile.TemporaryFile("w+", errors="replace") as output:
            done = subprocess.run(
                [str(program), *arguments],
                cwd=self.folder,
                env={name: value for name, value in os.environ.items() if not name.startswith("PG")} | {"LC_ALL": "C"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                user=user.uid if user else None,
                group=user.gid if user else None,
                extra_groups=[] if user else None,
                check=False,
            )
            output.seek(0)
            said = output.read()
        assert not check or done.returncode == 0, f"{program.name} {' '.join(arguments)}: {said}"
        return said


@contextmanager
def cluster() -> Iterator[Cluster]:
    """The folder of a server; what runs there at the end is stopped."""
    folder = Path(tempfile.mkdtemp(prefix="pgsched-cluster-", dir=fast_folder()))
    made = Cluster(folder)
    try:
        yield made
    finally:
        if (made.data / "postmaster.pid").exists():
            made.stop(packaged_binaries())
        shutil.rmtree(folder, ignore_errors=True)
