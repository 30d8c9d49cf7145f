"""pgpool2 before the primary of a cluster, if the machine has it."""

from __future__ import annotations

import contextlib
import shutil
import signal
import tempfile
import time
from pathlib import Path
from urllib.parse import quote, urlencode

from chaos.ha.node import DATABASE, SUPERUSER
from chaos.ha.programs import ADDRESS, BINARIES, Daemon, missing_programs
from chaos.loopback import answers, free_port
from pgsched.db.embedded.system_user import server_user
from tests.support.servers import fast_folder

# One backend that is always right: HAProxy knows the primary, so pgpool2 must neither look for one nor give it up. In
# the mode raw it opens a transaction of its own for statements of the extended protocol, and leaves it open.
SETTINGS = """
backend_clustering_mode = 'streaming_replication'
listen_addresses = '{address}'
port = {port}
pcp_port = {pcp}
socket_dir = '{folder}'
pcp_socket_dir = '{folder}'
pid_file_name = '{folder}/pgpool.pid'
logdir = '{folder}'
work_dir = '{folder}'
backend_hostname0 = '{address}'
backend_port0 = {server}
backend_flag0 = 'DISALLOW_TO_FAILOVER'
failover_on_backend_error = off
health_check_period = 0
sr_check_period = 0
connection_cache = off
load_balance_mode = off
enable_pool_hba = off
num_init_children = 80
child_life_time = 0
use_watchdog = off
"""


def missing_pgpool() -> str | None:
    """Why there is none; None when there is."""
    return missing_programs({"pgpool": "pgpool2"})


class Pgpool:
    """A process of it before a port on loopback; ``dsn`` leads through it."""

    def __init__(self, server_port: int) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="pgsched-pgpool-", dir=fast_folder()))
        user = server_user(self.folder, BINARIES)
        if user is not None:
            shutil.chown(self.folder, user.uid, user.gid)
        self._port = free_port()
        values = {"address": ADDRESS, "port": self._port, "pcp": free_port(), "server": server_port}
        file = self.folder / "pgpool.conf"
        file.write_text(SETTINGS.format(**values, folder=self.folder))
        self._daemon = Daemon("pgpool", ["pgpool", "-n", "-f", str(file)], folder=self.folder)
        settings = {"host": ADDRESS, "port": str(self._port), "user": SUPERUSER, "dbname": DATABASE}
        self.dsn = "postgresql:///?" + urlencode(
            settings | {"sslmode": "disable", "gssencmode": "disable"}, quote_via=quote
        )
        self._daemon.start()
        deadline = time.monotonic() + 20
        while not answers(self.dsn):
            assert self._daemon.running, self._daemon.log.read_text(errors="replace")
            assert time.monotonic() < deadline, self._daemon.log.read_text(errors="replace")
            time.sleep(0.1)

    def close(self) -> None:
        """End it."""
        with contextlib.suppress(Exception):
            self._daemon.end(signal.SIGINT, timeout=10)
        self._daemon.end_tree()
        shutil.rmtree(self.folder, ignore_errors=True)
