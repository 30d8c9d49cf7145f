"""A PostgreSQL that belongs to a trial, which may end it and start it again."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from pgsched.db.embedded.server import EmbeddedServer, packaged_binaries
from pgsched.db.embedded.system_user import server_user
from tests.support.servers import fast_folder
from tests.support.waiting import wait_until

# What was committed must survive the server, but not the machine.
SETTINGS = {"fsync": "off", "synchronous_commit": "on"}
FAST, IMMEDIATE = signal.SIGINT, signal.SIGQUIT


class OwnServer:
    """A server in a separate directory; :meth:`close` stops and deletes it."""

    def __init__(
        self, settings: Mapping[str, str] | None = None, *, fill: Callable[[Path], None] | None = None
    ) -> None:
        """``fill`` puts the data of another server into the folder ``data`` that it is given, which does not exist."""
        self.folder = Path(tempfile.mkdtemp(prefix="pgsched-chaos-", dir=fast_folder()))
        self.settings = SETTINGS | dict(settings or {})
        try:
            if fill is not None:
                fill(self.data)
                _give(self.data)
            self._hold = EmbeddedServer.start(self.folder, options=self.settings)
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise
        self.dsn = self._hold.dsn

    @property
    def data(self) -> Path:
        """PostgreSQL's own folder, which its unix socket is in too."""
        return self.folder / "data"

    @property
    def postmaster(self) -> int:
        """The pid of its first process."""
        return int((self.data / "postmaster.pid").read_text().splitlines()[0])

    def end(self, how: signal.Signals) -> None:
        """Stop it: FAST rolls open transactions back and writes all to disk, IMMEDIATE is as a crash."""
        os.kill(self.postmaster, how)
        pidfile = self.data / "postmaster.pid"
        wait_until(lambda: not pidfile.exists(), timeout=60, message="the server has ended")

    @property
    def user(self) -> tuple[int, int]:
        """Whom PostgreSQL runs as: its uid and gid."""
        owner = self.data.stat()
        return owner.st_uid, owner.st_gid

    @property
    def said(self) -> str:
        """What the server wrote to its log since it was last started."""
        log = self.folder / "server.log"
        return log.read_text(errors="replace") if log.exists() else ""

    def start(self) -> None:
        """Start it again, and wait until it answers."""
        with EmbeddedServer.start(self.folder, options=self.settings) as again:
            assert again.dsn == self.dsn

    def close(self) -> None:
        """Stop it and delete its data."""
        self._hold.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _give(data: Path) -> None:
    """Let the user own these files that the server runs as where we are root."""
    user = server_user(data.parent, packaged_binaries())
    data.chmod(0o700)
    if user is not None:
        for path in (data, *data.rglob("*")):
            os.chown(path, user.uid, user.gid, follow_symlinks=False)
