"""No password, token or payload is in anything that pgsched prints or logs, whatever goes wrong."""

from __future__ import annotations

import json
import os
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.support.commands import Ended, pgsched
from tests.support.processes import PgschedProcess, PgschedRunner
from tests.support.roles import login
from tests.support.tables import database
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

PASSWORD = "pass-geheim-4711"
VIEWER, OPERATOR, WRONG = "viewer-geheim-token-4711", "operator-geheim-token-4711", "wrong-geheim-token-4711"
PAYLOAD = "payload-geheim-4711"
SECRET = re.compile("geheim")

APP = """
import asyncio
import os

from pgsched import App, Context, Discard, Event, Retry

app = App()


@app.task("fine", transactional=True)
async def fine(secret: str, ctx: Context) -> str:
    ctx.progress({"secret": secret})
    await ctx.connection.execute("select %s::text", (secret,))
    return secret


@app.task("plain")
def plain(secret: str) -> str:
    return secret


@app.task("raises")
async def raises(secret: str) -> None:
    raise ValueError("no luck")


@app.task("child", executor="process")
def child(secret: str) -> None:
    os._exit(3)


@app.task("slow", timeout=0.2)
async def slow(secret: str) -> None:
    await asyncio.sleep(60)


@app.task("typed")
async def typed(other: str) -> None: ...


@app.task("breaks", transactional=True)
async def breaks(secret: str, ctx: Context) -> None:
    await ctx.connection.execute("select 1 / 0, %s::text", (secret,))


@app.task("unstorable")
async def unstorable(secret: str) -> object:
    return {"secret": (secret, object())}


@app.task("gives_up")
async def gives_up(secret: str) -> None:
    raise Discard("no use")


@app.task("again")
async def again(secret: str) -> None:
    raise Retry(0)


@app.on("dead")
def hook(event: Event) -> None:
    raise RuntimeError("the hook fails")
"""
KINDS = ("fine", "plain", "raises", "child", "slow", "typed", "breaks", "unstorable", "gives_up", "again")


@pytest.fixture
def secret_dsn(dsn: str, database_name: str) -> Iterator[str]:
    """The DSN of a role with a password; libpq sends it only to a server that asks."""
    with login(dsn, f"keeper_{database_name}", attributes="superuser") as given:
        with database(dsn) as connection:
            connection.execute(f"alter role \"keeper_{database_name}\" password '{PASSWORD}'")
        yield make_conninfo(given, password=PASSWORD)


def clean(*outputs: str) -> None:
    for output in outputs:
        found = SECRET.search(output)
        assert found is None, output[max(0, found.start() - 300) : found.end() + 100]


def test_worker_with_every_kind_of_failure_tells_no_secret(
    secret_dsn: str, run_pgsched: PgschedRunner, tmp_path: Path
) -> None:
    (tmp_path / "mod.py").write_text(APP)
    payload = json.dumps({"secret": PAYLOAD})
    workers = [
        run_pgsched("worker", "--app", "mod:app", "--processes", processes, "--metrics-port", "0", dsn=secret_dsn)
        for processes in ("1", "2")
    ]
    with database(secret_dsn) as connection:
        for kind in KINDS * 3:
            connection.execute(
                "insert into pgsched.tasks (task_type, payload, max_attempts, timeout) values (%s, %s, 1, %s)",
                (kind, payload, "200 milliseconds" if kind == "slow" else None),
            )
        unfinished = "select from pgsched.tasks where next_run_at is not null"
        wait_until(lambda: not connection.execute(unfinished).fetchall(), message="all have ended")
        dead = connection.execute("select distinct task_type::text as t from pgsched.tasks where died_at is not null")
        assert {row["t"] for row in dead} >= set(KINDS) - {"fine", "plain", "unstorable"}
        for fault in (  # whatever the server says to a worker that is cut off, or not allowed to write
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and application_name like 'pgsched %'",
            "alter table pgsched.executions rename to elsewhere",
        ):
            connection.execute(fault)
        connection.execute("insert into pgsched.tasks (task_type, payload) values ('plain', %s)", (payload,))
        for worker in workers:
            worker.wait_for_output("database_error")
        connection.execute("alter table pgsched.elsewhere rename to executions")
        wait_until(lambda: not connection.execute(unfinished).fetchall(), message="the last has ended")
    assert [worker.stop() for worker in workers] == [0, 0]
    for worker in workers:
        clean(worker.output)
    assert {"hook_failed", "Traceback", "task_dead"} <= set(re.findall(r"\w+", workers[0].output + workers[1].output))


def _ask(url: str, *, token: str | None = None, body: bytes | None = None) -> int:
    request = urllib.request.Request(url, data=body)
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    if body is not None:
        request.add_header("Content-Type", "application/json")
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def _web(run_pgsched: PgschedRunner, dsn: str) -> tuple[PgschedProcess, str]:
    tokens = {"PGSCHED_VIEWER_TOKEN": VIEWER, "PGSCHED_OPERATOR_TOKEN": OPERATOR}
    process = run_pgsched("web", "--port", "0", dsn=dsn, env=tokens)
    return process, process.wait_for_output(r"http://127\.0\.0\.1:\d+")[0]


def test_web_face_with_every_kind_of_refusal_tells_no_secret(secret_dsn: str, run_pgsched: PgschedRunner) -> None:
    process, url = _web(run_pgsched, secret_dsn)
    task = json.dumps({"task_type": "mail", "payload": {"secret": PAYLOAD}}).encode()
    statuses = [
        _ask(f"{url}/api/v1/tasks", token=WRONG),
        _ask(f"{url}/api/v1/tasks"),
        _ask(f"{url}/api/v1/tasks", token=VIEWER, body=task),
        _ask(f"{url}/api/v1/tasks", token=OPERATOR, body=task),
        _ask(f"{url}/api/v1/tasks?search={PAYLOAD}", token=OPERATOR),
        _ask(f"{url}/api/v1/tasks?token={OPERATOR}&limit={PAYLOAD}", token=OPERATOR),
        _ask(f"{url}/api/v1/tasks", token=OPERATOR, body=task.replace(b'"mail"', b"7")),
        _ask(f"{url}/api/v1/tasks", token=OPERATOR, body=task[:-2]),
        _ask(f"{url}/tasks/1", token=OPERATOR),
    ]
    assert statuses == [401, 401, 403, 201, 200, 422, 422, 422, 200]
    with database(secret_dsn) as connection:
        connection.execute("alter table pgsched.tasks rename column last_error to elsewhere")
        connection.execute("alter view pgsched.visible_tasks rename to seen_tasks")
    assert _ask(f"{url}/api/v1/tasks/1", token=OPERATOR) >= 500
    assert _ask(f"{url}/tasks?search={PAYLOAD}", token=OPERATOR) >= 500
    with database(secret_dsn) as connection:
        connection.execute(f"alter table pgsched.tasks add constraint no_{PAYLOAD[:7]} check (false) not valid")
        connection.execute("alter table pgsched.tasks rename column elsewhere to last_error")
    assert _ask(f"{url}/api/v1/tasks", token=OPERATOR, body=task) >= 400
    assert process.stop() == 0
    clean(process.output)
    assert "changed" in process.output


BAD_DSNS = (
    "postgresql//user:{0}@127.0.0.1:1/db",
    "postgresql://user:{0}%zz@127.0.0.1:1/db",
    "postgresql://user:x@{0}@127.0.0.1:1/db",
    "postgresql://user:x/{0}@127.0.0.1:1/db",
    "postgresql://user:{0}/x@127.0.0.1:1/db",
    "postgresql://user:12/{0}@127.0.0.1:1/db",
    "postgresql://user:{0} x@127.0.0.1:1/db",
    "postgresql://user:{0}@[::1/db",
    "postgresql://user:{0}@127.0.0.1:1/db",
    "postgresql://user:{0}@127.0.0.1:1/db?sslmod=require",
    "postgresql://user:{0}@127.0.0.1:1/db?sslmode=sometimes",
    "postgresql://user:{0}@no.such.host.invalid:1/db",
    "host=127.0.0.1 port=1 password=x {0}",
    "host=127.0.0.1 port=1 password='{0}",
    "host=127.0.0.1 port=1 password={0}",
)


@pytest.mark.parametrize("given", BAD_DSNS)
def test_dsn_that_leads_nowhere_tells_no_password(given: str) -> None:
    """Each but the plain ones gave the password away, or a part of it, while libpq's own words were shown."""
    for options in ([], ["--log-level", "debug"]):
        ended = pgsched(*options, "migrate", dsn=given.format(PASSWORD))
        assert ended.code in (1, 2)
        assert ended.stderr
        clean(ended.stdout, ended.stderr)


def test_dsn_that_cannot_be_read_says_what_to_do() -> None:
    expected = {
        BAD_DSNS[0]: "it is neither a URI, as postgresql://user@host/database, nor words as host=… dbname=…",
        BAD_DSNS[2]: "the host holds an @; in a password write @ as %40, / as %2F, % as %25",
        BAD_DSNS[4]: "the port is no number; in a password write @ as %40, / as %2F, % as %25",
        BAD_DSNS[9]: "invalid URI query parameter",
    }
    for given, said in expected.items():
        ended = pgsched("migrate", dsn=given.format(PASSWORD))
        assert (ended.code, ended.error) == (2, f"the DSN cannot be read: {said}")


def test_commands_that_are_refused_tell_no_secret(secret_dsn: str) -> None:
    payload = json.dumps({"secret": PAYLOAD})
    many = json.dumps({"secret": PAYLOAD * 100_000})
    commands: list[list[object]] = [
        ["task", "add", "mail", "--payload", payload, "--priority", 99],
        ["task", "add", "mail", "--payload", payload[:-1]],
        ["task", "add", "mail", "--payload", json.dumps([PAYLOAD])[1:]],
        ["task", "add", "mail", "--payload", many],
        ["task", "add", "mail", "--payload", payload, "--cron", "0 8 * *"],
        ["task", "edit", 99, "--payload", payload],
        ["web", "--port", 0, "--viewer-token", f"{VIEWER}\n"],
        ["web", "--port", 0, "--viewer-token", "geheim"],
        ["web", "--port", 0, "--viewer-token", VIEWER, "--operator-token", VIEWER],
    ]
    ended: list[Ended] = []
    for options in ([], ["--log-level", "debug"]):
        ended += [pgsched(*options, *command, dsn=secret_dsn) for command in commands]
    assert {one.code for one in ended} <= {1, 2}
    clean(*(one.stdout + one.stderr for one in ended))


def test_wrong_password_is_refused_and_not_shown(dsn: str) -> None:
    """On a server that asks for one; the tests' own trusts its socket."""
    given = make_conninfo(dsn, user="nobody_of_this_name", password=PASSWORD)
    ended = pgsched("stats", dsn=given)
    assert ended.code == 1
    clean(ended.stdout, ended.stderr)
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(given)
    assert PASSWORD not in os.environ.values()
