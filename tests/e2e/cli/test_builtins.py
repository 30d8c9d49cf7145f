"""``pgsched worker`` with the built-in handlers: without an application, and beside one."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pgsched.client.client import Client
from tests.support.commands import pgsched
from tests.support.http_server import serving
from tests.support.processes import PgschedRunner
from tests.support.waiting import wait_until

APP = """
from pgsched import App

app = App()


@app.task("http")
async def mine(url: str) -> str:
    return f"mine: {url}"
"""


@pytest.fixture
def client(dsn: str) -> Iterator[Client]:
    with Client(dsn) as client:
        yield client


def ended(client: Client, task_id: int) -> Any:
    """The task when it is over."""
    return wait_until(
        lambda: (task := client.get(task_id)).status in ("completed", "dead") and task,
        message=f"task {task_id} is over",
    )


def task_types(client: Client) -> list[str]:
    (worker,) = wait_until(client.workers, message="the worker is there")
    return [name for name in worker.task_types if name != "pgsched.group"]


def test_worker_without_an_app_serves_what_was_asked_for(run_pgsched: PgschedRunner, client: Client) -> None:
    worker = run_pgsched("worker", "--http")
    worker.wait_for_output("worker_started")
    assert task_types(client) == ["http", "pgsched.http"]
    with serving() as server:
        refused = ended(client, client.schedule("http", {"url": f"http://127.0.0.1:{server.port}/"}))
        assert (refused.status, server.asked) == ("dead", [])
    assert worker.stop() == 0


def test_worker_serves_what_its_flags_allow(run_pgsched: PgschedRunner, client: Client, tmp_path: Path) -> None:
    worker = run_pgsched(
        "worker", "--allow-sql", "--allow-shell", "hello=echo 'hello  world'", "--allow-shell", "cat=cat"
    )
    worker.wait_for_output("worker_started")
    assert task_types(client) == ["pgsched.shell", "pgsched.sql", "shell", "sql"]
    assert ended(client, client.schedule("shell", {"command": "hello"})).result["stdout"] == "hello  world\n"
    assert ended(client, client.schedule("shell", {"command": "cat", "input": [1]})).result["stdout"] == "[1]\n"
    assert ended(client, client.schedule("shell", {"command": "rm"})).status == "dead"
    assert ended(client, client.schedule("sql", {"statement": "select 6 * 7 as n"})).result["rows"] == [{"n": 42}]
    assert worker.stop() == 0


def test_worker_takes_its_allowances_from_the_environment(
    run_pgsched: PgschedRunner, client: Client, tmp_path: Path
) -> None:
    worker = run_pgsched(
        "worker",
        "--processes",
        "2",
        env={
            "PGSCHED_HTTP_ALLOW": "10.0.0.0/8 127.0.0.1",
            "PGSCHED_ALLOW_SQL": "1",
            "PGSCHED_ALLOW_SHELL": json.dumps({"hello": ["echo", "hello  world"]}),
        },
    )
    with serving() as server:
        done = ended(client, client.schedule("pgsched.http", {"url": f"http://127.0.0.1:{server.port}/"}))
        assert (done.status, done.result["status"]) == ("completed", 200)
    assert ended(client, client.schedule("pgsched.shell", {"command": "hello"})).result["stdout"] == "hello  world\n"
    assert ended(client, client.schedule("pgsched.sql", {"statement": "select 1 as n"})).result["rows"] == [{"n": 1}]
    assert worker.stop() == 0


def test_handler_of_the_app_keeps_its_name(run_pgsched: PgschedRunner, client: Client, tmp_path: Path) -> None:
    (tmp_path / "mod.py").write_text(APP)
    worker = run_pgsched("worker", "--app", "mod:app", "--http-allow-private")
    with serving() as server:
        url = f"http://127.0.0.1:{server.port}/"
        assert ended(client, client.schedule("http", {"url": url})).result == f"mine: {url}"
        assert ended(client, client.schedule("pgsched.http", {"url": url})).result["status"] == 200
    assert worker.stop() == 0


def test_stopped_worker_ends_its_commands(run_pgsched: PgschedRunner, client: Client, tmp_path: Path) -> None:
    file = tmp_path / "pid"
    (tmp_path / "commands.json").write_text(json.dumps({"slow": ["sh", "-c", f"echo $$ > {file}; sleep 1000"]}))
    worker = run_pgsched("worker", "--allow-shell", "@commands.json", "--shutdown-timeout", "0.2")
    task_id = client.schedule("shell", {"command": "slow"})
    pid = int(wait_until(lambda: file.exists() and file.read_text().strip(), message="the command has started"))
    assert worker.stop() == 0
    assert client.get(task_id).status == "pending"  # given back
    with pytest.raises(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "Missing option '--app': there is no handler to serve; give it, or --http, --allow-sql"),
        (("--no-http", "--http-allow-private"), "Missing option '--app': there is no handler to serve"),
        (("--allow-shell", "nonsense"), "allow-shell must be NAME=COMMAND, a JSON object or @FILE, got 'nonsense'"),
        (("--allow-shell", "@/no/such/file"), "allow-shell @/no/such/file cannot be read"),
        (("--http-allow", "http://x"), "http-allow must be a network, an address or a host, got 'http://x'"),
    ],
)
def test_allowance_that_cannot_be_read_is_wrong_usage(dsn: str, arguments: tuple[str, ...], said: str) -> None:
    refused = pgsched("worker", *arguments, dsn=dsn)
    assert refused.code == 2
    assert said in refused.error
