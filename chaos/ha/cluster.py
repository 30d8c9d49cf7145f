"""A Patroni cluster with three nodes, etcd and HAProxy, on loopback."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlencode

import psycopg
from psycopg.rows import dict_row

from chaos.ha.node import DATABASE, SUPERUSER, Node
from chaos.ha.programs import ADDRESS, BINARIES, Daemon
from chaos.loopback import free_port
from pgsched.db.embedded.system_user import server_user
from tests.support.servers import fast_folder

NODES = 3
TTL, LOOP_WAIT, RETRY_TIMEOUT = 8, 1, 3
"""Seconds: how long the leader's key lasts, how often each node looks, and after how long it gives etcd up."""
PARAMETERS = {
    "max_connections": "200",
    "wal_keep_size": "128MB",
    "max_wal_size": "256MB",
    "shared_buffers": "64MB",
    "synchronous_commit": "on",
    "wal_receiver_timeout": "5s",
    "wal_sender_timeout": "5s",
    "wal_retrieve_retry_interval": "500ms",
    # The server notices clients that a partition took away.
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
}
HAPROXY = """
global
  maxconn 1000
defaults
  mode tcp
  timeout connect 2s
  timeout client 1h
  timeout server 1h
  timeout check 1s
  retries 1
listen primary
  bind {address}:{port}
  option httpchk GET /primary
  http-check expect status 200
  default-server inter 500ms fastinter 250ms fall 2 rise 1 on-marked-down shutdown-sessions
"""


class PatroniCluster:
    """Started by :meth:`start`; :meth:`close` ends and deletes all of it."""

    def __init__(self, *, synchronous: bool) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="pgsched-patroni-", dir=fast_folder()))
        self.synchronous = synchronous
        user = server_user(self.folder, BINARIES)
        if user is not None:
            os.chown(self.folder, user.uid, user.gid)
        self._etcd_port = free_port()
        peer = f"http://{ADDRESS}:{free_port()}"
        client = f"http://{ADDRESS}:{self._etcd_port}"
        urls = ["--listen-client-urls", client, "--advertise-client-urls", client, "--listen-peer-urls", peer]
        urls += ["--initial-advertise-peer-urls", peer, "--initial-cluster", f"etcd={peer}"]
        # By etcd's API v3 Patroni 3.0.2 keeps a copy of what etcd told it. We saw it keep an old one after a node was
        # cut off, and never name a synchronous standby again. By API v2 it asks each time.
        urls += ["--enable-v2"]
        self.etcd = Daemon(
            "etcd", ["etcd", "--name", "etcd", "--data-dir", str(self.folder / "etcd"), *urls], folder=self.folder
        )
        self.nodes: list[Node] = []
        self.haproxy_port = free_port()
        self.haproxy = Daemon("haproxy", ["haproxy", "-db", "-f", str(self.folder / "haproxy.cfg")], folder=self.folder)

    def start(self) -> None:
        """Start all of it, and wait until the nodes follow one another."""
        self.etcd.start()
        dynamic = {
            "ttl": TTL,
            "loop_wait": LOOP_WAIT,
            "retry_timeout": RETRY_TIMEOUT,
            "maximum_lag_on_failover": 16 * 1024**2,
            "primary_start_timeout": 0,
            "primary_stop_timeout": 5,
            "synchronous_mode": self.synchronous,
            "synchronous_mode_strict": self.synchronous,
            "postgresql": {"use_pg_rewind": True, "use_slots": True, "parameters": PARAMETERS},
        }
        for number in range(NODES):
            node = Node(f"node{number + 1}", folder=self.folder, etcd_port=self._etcd_port, dynamic=dynamic)
            self.nodes.append(node)
            node.start()
            if not number:  # so that it is the first leader, and the others need not wait for it
                self.wait_for(node.writable, "the first node accepts writes")
        lines = [
            f"  server {node.name} {ADDRESS}:{node.client_port} check port {node.rest_port}" for node in self.nodes
        ]
        text = HAPROXY.format(address=ADDRESS, port=self.haproxy_port) + "\n".join(lines) + "\n"
        (self.folder / "haproxy.cfg").write_text(text)
        self.haproxy.start()
        self.wait_until_whole()

    # Ways to it.

    @property
    def hosts_dsn(self) -> str:
        """All nodes, of which libpq chooses the one that accepts writes."""
        ports = [str(node.client_port) for node in self.nodes]
        return _dsn(",".join([ADDRESS] * len(ports)), ",".join(ports), target_session_attrs="read-write")

    @property
    def haproxy_dsn(self) -> str:
        """HAProxy, which asks Patroni which node is the primary."""
        return _dsn(ADDRESS, str(self.haproxy_port))

    @property
    def leader(self) -> Node:
        """The node that accepts writes and has the leader's key."""
        for node in self.nodes:
            with contextlib.suppress(OSError):
                if not node.suspended and node.ask("/primary")["role"] in ("master", "primary"):
                    return node
        raise AssertionError(f"no node is the primary:\n{self.logs()}")

    def wait_until_writable(self, nodes: list[Node], *, timeout: float = 60) -> tuple[Node, float]:
        """Wait until one of these nodes accepts writes; returns it and when that was seen (``time.time()``)."""
        found: list[tuple[Node, float]] = []

        def seen() -> bool:
            found.extend((node, time.time()) for node in nodes if not found and node.writable())
            return bool(found)

        self.wait_for(seen, "another node accepts writes", timeout=timeout)
        return found[0]

    def wait_until_whole(self, *, timeout: float = 180) -> Node:
        """Wait until all nodes follow the leader, one of them synchronously if that is wanted; returns the leader."""
        self.wait_for(self._whole, "all nodes follow the leader", timeout=timeout)
        return self.leader

    def _whole(self) -> bool:
        try:
            leader = self.leader
            with psycopg.connect(leader.dsn, autocommit=True, row_factory=dict_row) as connection:
                rows = connection.execute("select state, sync_state from pg_stat_replication").fetchall()
            members = leader.ask("/cluster")["members"]
        except (OSError, AssertionError, psycopg.OperationalError, KeyError):
            return False
        following = [row for row in rows if row["state"] == "streaming"]
        in_step = not self.synchronous or any(row["sync_state"] == "sync" for row in following)
        roles = [member["role"] for member in members]
        named = not self.synchronous or "sync_standby" in roles
        return len(following) == NODES - 1 and len(members) == NODES and in_step and named

    def lag_seconds(self) -> float:
        """How far the replicas are behind the leader, by what it measured: the longest of them."""
        with psycopg.connect(self.leader.dsn, autocommit=True) as connection:
            row = connection.execute(
                "select coalesce(extract(epoch from max(flush_lag)), 0)::float8 from pg_stat_replication"
            ).fetchone()
        assert row is not None
        return float(row[0])

    def switchover(self, leader: Node) -> None:
        """Ask Patroni to let another node lead."""
        leader.ask("/switchover", {"leader": leader.name}, timeout=60)

    def restart(self, leader: Node) -> None:
        """Ask Patroni to restart the leader's PostgreSQL."""
        leader.ask("/restart", {}, timeout=60)

    def wait_for(self, condition: Callable[[], bool], what: str, *, timeout: float = 60) -> None:
        """Wait until the condition holds; fails with what the nodes wrote."""
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, f"not within {timeout:g} s: {what}\n{self.logs()}"
            time.sleep(0.1)

    def logs(self) -> str:
        """The last lines of every node."""
        parts = [f"--- {node.name}\n{node.log()[-3000:]}" for node in self.nodes]
        return "\n".join(parts)

    def close(self) -> None:
        """End every process and delete the data."""
        for node in self.nodes:
            node.close()
        self.haproxy.end(signal.SIGKILL)
        self.etcd.end(signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _dsn(host: str, port: str, **more: Any) -> str:
    settings = {"host": host, "port": port, "user": SUPERUSER, "dbname": DATABASE, **more}
    # Nothing is encrypted: a connection through a proxy needs no further round trip.
    settings |= {"sslmode": "disable", "gssencmode": "disable"}
    return "postgresql:///?" + urlencode(settings, quote_via=quote)
