"""Controls of the trials on disks and crashes: what they rely on is noticed when it is missing."""

from __future__ import annotations

import pytest

from chaos.faults.crashes import kill_server
from chaos.faults.own_server import OwnServer
from chaos.faults.system import Pgsched
from pgsched.client.client import Client
from tests.support.tables import database


@pytest.mark.parametrize("synchronous", ["on", "off"])
def test_a_killed_server_loses_acknowledged_inserts_only_with_synchronous_commit_off_and_the_rules_notice(
    synchronous: str,
) -> None:
    """The switch is the negative control of `crash-amid-copy`: the WAL of the last commits is only in memory."""
    rule = "an insert that was acknowledged is there"
    with OwnServer({"synchronous_commit": synchronous, "wal_writer_delay": "10s"}) as server:
        system = Pgsched()
        system.prepare(server.dsn)
        with database(server.dsn) as books:
            books.execute("checkpoint")
        with Client(server.dsn) as client:
            acknowledged = {client.schedule("brief"): "pending" for _ in range(20)}
        kill_server(server)
        server.start()
        with database(server.dsn) as books:
            verdict = system.verdict(books, acknowledged)
        noticed = any(rule in line for line in verdict.broken)
    assert (noticed, verdict.lost > 0) == ((False, False) if synchronous == "on" else (True, True))
