"""One node of a Patroni cluster: Patroni, its PostgreSQL, and the proxies through which all others reach it."""

from __future__ import annotations

import contextlib
import json
import signal
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg

from chaos.ha.programs import ADDRESS, BINARIES, Daemon, signal_tree, wait_for_end
from chaos.loopback import free_port
from chaos.proxy import Gate

SUPERUSER, REPLICATOR, DATABASE = "postgres", "replicator", "postgres"
ANSWER_SECONDS = 2
"""How long we wait for a node, which may be suspended."""


class Node:
    """Patroni with its PostgreSQL. Other nodes, clients and HAProxy reach it through proxies only, and it etcd."""

    def __init__(self, name: str, *, folder: Path, etcd_port: int, dynamic: Mapping[str, Any]) -> None:
        """``dynamic``: the configuration that the first node writes for the cluster."""
        self.name = name
        self.folder = folder
        self.port, self._rest = free_port(), free_port()
        self._to_etcd = Gate(f"{ADDRESS}:{etcd_port}")
        self._rest_gate = Gate(f"{ADDRESS}:{self._rest}")
        self._replication = Gate(f"{ADDRESS}:{self.port}")
        self._clients = Gate(f"{ADDRESS}:{self.port}")
        self.client_port, self.rest_port = self._clients.port, self._rest_gate.port
        """Where clients and health checks find it."""
        file = folder / f"{name}.yml"
        file.write_text(json.dumps(self._configuration(dynamic), indent=1))  # JSON is YAML
        self.patroni = Daemon(name, ["patroni", str(file)], folder=folder)
        self._stopped: list[int] = []

    @property
    def data(self) -> Path:
        """PostgreSQL's own folder."""
        return self.folder / f"data-{self.name}"

    @property
    def postmaster(self) -> int | None:
        """The pid of PostgreSQL's first process; None when it does not run."""
        with contextlib.suppress(FileNotFoundError, IndexError, ValueError):
            pid = int((self.data / "postmaster.pid").read_text().splitlines()[0])
            if Path(f"/proc/{pid}").exists():
                return pid
        return None

    @property
    def suspended(self) -> bool:
        """Whether :meth:`suspend` holds."""
        return bool(self._stopped)

    @property
    def dsn(self) -> str:
        """The direct way to this node, which no proxy cuts off."""
        return (
            f"postgresql://{SUPERUSER}@{ADDRESS}:{self.port}/{DATABASE}"
            f"?sslmode=disable&gssencmode=disable&connect_timeout={ANSWER_SECONDS}"
        )

    def writable(self) -> bool:
        """Whether it accepts writes, seen from itself."""
        if self._stopped:
            return False
        try:
            with psycopg.connect(self.dsn, autocommit=True) as connection:
                row = connection.execute("select not pg_is_in_recovery()").fetchone()
        except psycopg.OperationalError:
            return False
        return bool(row and row[0])

    def ask(self, path: str, body: Mapping[str, Any] | None = None, *, timeout: float = ANSWER_SECONDS) -> Any:
        """Patroni's answer by REST, the direct way; raises OSError when it gives none or refuses."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://{ADDRESS}:{self._rest}{path}", data=data)
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            text = answer.read().decode()
        try:
            return json.loads(text)
        except ValueError:
            return text

    # Faults, and what undoes them.

    def kill(self) -> None:
        """SIGKILL Patroni and PostgreSQL, as when the machine fails."""
        self.patroni.end(signal.SIGKILL)
        self.kill_postgres()

    def kill_postgres(self) -> None:
        """SIGKILL PostgreSQL alone."""
        if (pid := self.postmaster) is not None:
            signal_tree(pid, signal.SIGKILL)
            wait_for_end(pid)

    def shut_down(self) -> None:
        """SIGTERM Patroni, which stops PostgreSQL in order and releases the leader's key."""
        self.patroni.end(signal.SIGTERM, timeout=60)

    def start(self) -> None:
        """Start Patroni, and it PostgreSQL."""
        if not self.patroni.running:
            self.patroni.start()

    def suspend(self) -> None:
        """SIGSTOP Patroni and all processes of PostgreSQL."""
        pids = [self.patroni.pid, *filter(None, [self.postmaster])]
        for pid in pids:
            signal_tree(pid, signal.SIGSTOP)
        self._stopped = pids

    def resume(self) -> None:
        """SIGCONT what was suspended."""
        for pid in self._stopped:
            signal_tree(pid, signal.SIGCONT)
        self._stopped = []

    def cut_off(self, *, from_clients: bool) -> None:
        """Let nothing pass between it and etcd, nor, if wanted, between it and clients, replicas and health checks."""
        self._to_etcd.tell("silent")
        if from_clients:
            for gate in (self._clients, self._replication, self._rest_gate):
                gate.tell("silent")

    def connect_again(self) -> None:
        """End :meth:`cut_off`. Clients' connections from before stay silent for them; those of the cluster are reset.

        Patroni would wait for its watch of etcd for ever: the kernel behind our proxy still answers keepalives.
        """
        for gate in (self._to_etcd, self._replication, self._rest_gate):
            gate.tell("reset")
        self._clients.tell("pass")

    def replicate(self, word: str) -> None:
        """Give a command to the proxy through which its replicas follow it."""
        self._replication.tell(word)

    def close(self) -> None:
        """End all of it."""
        self.resume()
        self.kill()
        for gate in (self._to_etcd, self._clients, self._replication, self._rest_gate):
            gate.close()

    def log(self) -> str:
        """What Patroni wrote."""
        return self.patroni.log.read_text(errors="replace")

    def _configuration(self, dynamic: Mapping[str, Any]) -> dict[str, Any]:
        user = {"username": SUPERUSER, "sslmode": "disable"}
        return {
            "scope": "pgsched",
            "name": self.name,
            "restapi": {
                "listen": f"{ADDRESS}:{self._rest}",
                "connect_address": f"{ADDRESS}:{self._rest_gate.port}",
            },
            # Without use_proxies it would ask etcd for its addresses, and go there past our proxy.
            "etcd": {"hosts": [f"{ADDRESS}:{self._to_etcd.port}"], "use_proxies": True},
            "bootstrap": {"dcs": dynamic, "initdb": [{"encoding": "UTF8"}, {"locale": "C.UTF-8"}]},
            "postgresql": {
                "listen": f"{ADDRESS}:{self.port}",
                "connect_address": f"{ADDRESS}:{self._replication.port}",
                "data_dir": str(self.data),
                "bin_dir": str(BINARIES),
                "pgpass": str(self.folder / f"pgpass-{self.name}"),
                "use_unix_socket": True,
                "authentication": {
                    "superuser": user,
                    "replication": {"username": REPLICATOR, "sslmode": "disable"},
                },
                "parameters": {"unix_socket_directories": str(self.folder)},
                "pg_hba": [
                    "local all all trust",
                    "host all all 127.0.0.0/8 trust",
                    f"host replication {REPLICATOR} 127.0.0.0/8 trust",
                ],
                "remove_data_directory_on_rewind_failure": True,
                "remove_data_directory_on_diverged_timelines": True,
                "basebackup": [{"checkpoint": "fast"}, "no-sync"],
            },
            "tags": {},
        }
