"""Pgpool-II before one server, if the machine has it: it pools sessions, not transactions."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote, urlencode

from psycopg.conninfo import conninfo_to_dict

from chaos.loopback import answers, free_port
from tests.support.servers import fast_folder
from tests.support.waiting import wait_until

# One backend that is always right: a trial ends it, and whoever leads here to the primary of a cluster knows which one
# that is. So Pgpool-II must neither look for one nor give it up. In the mode raw it opens a transaction of its own for
# statements of the extended protocol, and leaves it open.
SETTINGS = """
backend_clustering_mode = 'streaming_replication'
listen_addresses = '127.0.0.1'
port = {listen}
socket_dir = '{folder}'
pcp_port = {pcp}
pcp_socket_dir = '{folder}'
pid_file_name = '{folder}/pgpool.pid'
logdir = '{folder}'
work_dir = '{folder}'
backend_hostname0 = '{host}'
backend_port0 = {port}
backend_flag0 = 'DISALLOW_TO_FAILOVER'
load_balance_mode = off
failover_on_backend_error = off
failover_on_backend_shutdown = off
health_check_period = 0
sr_check_period = 0
"""


def missing_pgpool() -> str | None:
    """Why there is none; None when there is."""
    if _program() is None:
        return "Pgpool-II is not installed (Debian: apt-get install pgpool2)"
    if subprocess.run([*_separate(), "true"], capture_output=True, check=False).returncode:
        return "Pgpool-II is to run in an IPC namespace of its own, which unshare cannot make here"
    return None


def _program() -> str | None:
    return shutil.which("pgpool", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"]))


def _separate() -> list[str]:
    """Its shared memory outlives a SIGKILL, but not the namespace."""
    return ["unshare", *(["--map-root-user"] if os.geteuid() else []), "--ipc", "--"]


class Pgpool:
    """Its processes; ``dsn`` leads through them to the database of the DSN that was given."""

    def __init__(self, dsn: str, *, children: int, settings: Mapping[str, str]) -> None:
        """``children``: each client connection takes a process of it. ``settings``: further lines of its file."""
        given = {name: str(value) for name, value in conninfo_to_dict(dsn).items() if value is not None}
        self.folder = Path(tempfile.mkdtemp(prefix="pgsched-pgpool-", dir=fast_folder()))
        listen = free_port()
        server = {"host": given.pop("host"), "port": given.pop("port", "5432")}
        text = SETTINGS.format(**server, listen=listen, pcp=free_port(), folder=self.folder)
        further = {"num_init_children": str(children)} | dict(settings)
        text += "".join(f"{name} = {value}\n" for name, value in further.items())
        (self.folder / "pgpool.conf").write_text(text)
        for name in ("pcp.conf", "pool_hba.conf"):
            (self.folder / name).touch()
        given |= {"sslmode": "disable", "gssencmode": "disable", "host": "127.0.0.1", "port": str(listen)}
        self.dsn = "postgresql:///?" + urlencode(given, quote_via=quote)
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Start it, and wait until it leads to the server."""
        program = _program()
        assert program is not None
        for left in (self.folder / "pgpool.pid", *self.folder.glob(".s.PGSQL.*")):
            left.unlink(missing_ok=True)
        files = {"-f": "pgpool.conf", "-F": "pcp.conf", "-a": "pool_hba.conf"}
        options = [part for option, name in files.items() for part in (option, str(self.folder / name))]
        with (self.folder / "pgpool.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*_separate(), program, "-n", *options],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until(self._answers, timeout=20, message="Pgpool-II answers")

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End it: SIGKILL strikes all of its processes, SIGINT lets it end all sessions itself."""
        if self._process is None:
            return
        if number == signal.SIGKILL:
            os.killpg(self._process.pid, number)
        else:
            self._process.send_signal(number)
        self._process.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process = None

    def close(self) -> None:
        """End it."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.folder / "pgpool.log").read_text(errors="replace")
        return answers(self.dsn)
