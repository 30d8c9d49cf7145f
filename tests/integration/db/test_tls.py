"""The TLS options of the DSN hold for every connection; a wrong certificate is refused in one line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from psycopg.conninfo import make_conninfo

from tests.support.commands import pgsched
from tests.support.processes import PgschedRunner
from tests.support.tables import database, task_row
from tests.support.tls_front import Front, make_certificate, tls_front
from tests.support.waiting import wait_until

HOST = "db.example.test"
APP = """
from pgsched import App, Context

app = App()


@app.task("plain")
def plain() -> None: ...


@app.task("written", transactional=True)
async def written(ctx: Context) -> None:
    ctx.log("written")
"""


def encrypted(dsn: str, front: Front, *, mode: str, trusted: Path | None = None, host: str = HOST) -> str:
    """The DSN of the same database behind the front."""
    given = make_conninfo(dsn, host=host, hostaddr="127.0.0.1", port=front.port, sslmode=mode)
    return make_conninfo(given, sslrootcert=str(trusted)) if trusted else given


def test_every_connection_of_a_worker_is_verified_and_encrypted(
    dsn: str, run_pgsched: PgschedRunner, tmp_path: Path
) -> None:
    (tmp_path / "mod.py").write_text(APP)
    certificate = make_certificate(tmp_path, HOST)
    with tls_front(dsn, certificate) as front:
        verified = encrypted(dsn, front, mode="verify-full", trusted=certificate.certificate)
        ids = [int(pgsched("task", "add", kind, dsn=verified).stdout) for kind in ("plain", "written")]
        ids.append(int(pgsched("task", "add", "plain", "--depends-on", ids[0], dsn=verified).stdout))
        worker = run_pgsched("worker", "--app", "mod:app", dsn=verified)
        with database(dsn) as connection:
            wait_until(
                lambda: {task_row(connection, one)["status"] for one in ids} == {"completed"}, message="all have run"
            )
        wait_until(lambda: "pgsched listener" in front.encrypted, message="the worker listens")
        assert worker.stop() == 0
    assert front.plain == 0
    assert set(front.encrypted) >= {
        "pgsched check", "pgsched client", "pgsched claim", "pgsched finish", "pgsched upkeep", "pgsched listener",
        "pgsched heartbeat", "pgsched handler",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("mode", "trusted", "host", "cause"),
    [
        ("verify-full", HOST, "other.example.test", r'server certificate for "db.example.test" does not match .*'),
        ("verify-full", "stranger.example.test", HOST, r"SSL error: certificate verify failed.*"),
        ("verify-ca", "stranger.example.test", HOST, r"SSL error: certificate verify failed.*"),
        ("disable", HOST, HOST, r".+"),
    ],
)
def test_server_that_is_not_trusted_is_refused_in_one_line_by_every_command(
    dsn: str, tmp_path: Path, mode: str, trusted: str, host: str, cause: str
) -> None:
    own, other = (make_certificate(tmp_path, name) for name in (HOST, "stranger.example.test"))
    with tls_front(dsn, own) as front:
        root = {HOST: own, "stranger.example.test": other}[trusted].certificate
        given = encrypted(dsn, front, mode=mode, trusted=root, host=host)
        for command in (["task", "add", "plain"], ["worker", "--http"], ["web", "--port", "0"], ["migrate"]):
            ended = pgsched(*command, dsn=given)
            assert (command, ended.code) == (command, 1)
            assert re.fullmatch(rf"cannot connect to PostgreSQL at {re.escape(host)}:\d+/\w+: .*{cause}", ended.error)
    assert front.encrypted == []


def test_encryption_without_proof_is_what_require_means(dsn: str, tmp_path: Path) -> None:
    with tls_front(dsn, make_certificate(tmp_path, HOST)) as front:
        given = encrypted(dsn, front, mode="require", host="any.example.test")
        assert pgsched("task", "add", "plain", dsn=given).code == 0
    assert front.encrypted
