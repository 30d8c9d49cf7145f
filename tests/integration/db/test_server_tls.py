"""TLS and passwords of the server itself, of the PostgreSQL that the tests run on."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from psycopg.conninfo import make_conninfo

from pgsched.client.client import Client
from tests.support.clusters import Cluster, cluster, programs_of
from tests.support.commands import pgsched
from tests.support.engine import handlers, running_worker
from tests.support.tables import database
from tests.support.tls_front import make_certificate
from tests.support.waiting import wait_until_async

HOST = "db.example.test"
RULES = """
local all postgres trust
hostssl all all 127.0.0.1/32 scram-sha-256
"""


@pytest.fixture
def server() -> Iterator[Cluster]:
    with cluster() as made:
        yield made


@pytest.fixture
def login(server: Cluster, tmp_path: Path) -> str:
    """The DSN of a role with a password, on a server that takes no connection by TCP without TLS."""
    programs = programs_of(os.environ.get("PGSCHED_TEST_SERVER", "pg18"))
    if "openssl" not in server.run(programs / "pg_config", "--configure"):
        pytest.skip("this build of PostgreSQL has no TLS: those of make test-postgres have, 14 to 17")
    made = make_certificate(tmp_path, HOST)
    server.initialise(programs)
    (server.data / "pg_hba.conf").write_text(RULES)
    owner = server.data.stat()
    for path, name in ((made.certificate, "server.crt"), (made.key, "server.key")):
        shutil.copy(path, server.data / name)
        (server.data / name).chmod(0o600)
        os.chown(server.data / name, owner.st_uid, owner.st_gid)
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    server.start(programs, listen_addresses="127.0.0.1", port=port, ssl="on", password_encryption="scram-sha-256")
    server.dsn = make_conninfo(server.dsn, port=port)
    with database(server.dsn) as db:
        db.execute("create role app login password 'secret'")
        db.execute("grant create on database postgres to app")
    given = make_conninfo(host=HOST, hostaddr="127.0.0.1", port=port, user="app", password="secret", dbname="postgres")
    return make_conninfo(given, sslmode="verify-full", sslrootcert=str(made.certificate))


async def test_a_worker_logs_in_with_a_password_and_every_session_is_encrypted(server: Cluster, login: str) -> None:
    assert pgsched("migrate", dsn=login).code == 0
    with Client(login) as client, database(server.dsn) as db:
        async with running_worker(login, handlers(mail=lambda: 7)):
            task_id = client.schedule("mail")
            await wait_until_async(lambda: client.get(task_id).status == "completed", message="the task has run")
            sessions = db.execute(
                "select a.application_name, s.ssl from pg_stat_activity a join pg_stat_ssl s using (pid)"
                " where a.usename = 'app'"
            ).fetchall()
    assert {one["application_name"] for one in sessions} >= {"pgsched client", "pgsched claim", "pgsched listener"}
    assert all(one["ssl"] for one in sessions)


def test_no_connection_without_tls_or_with_a_wrong_password(login: str) -> None:
    plain = pgsched("migrate", dsn=make_conninfo(login, sslmode="disable"))
    assert (plain.code, "no encryption" in plain.error) == (1, True), plain.error
    wrong = pgsched("migrate", dsn=make_conninfo(login, password="wrong"))
    assert (wrong.code, "password authentication failed" in wrong.error) == (1, True), wrong.error
