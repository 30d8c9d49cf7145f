"""``pgsched worker``: options, environment, and how it ends; what it does with tasks is tested elsewhere."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from tests.support.commands import pgsched
from tests.support.processes import PgschedRunner
from tests.support.waiting import wait_until

APP = """
from pgsched.app import App

app = App()


@app.task("greet")
async def greet(name: str) -> str:
    return f"Hello, {name}!"
"""


@pytest.fixture(autouse=True)
def mod(tmp_path: Path) -> None:
    (tmp_path / "mod.py").write_text(APP)


def test_worker_of_an_app_in_the_current_folder_runs_tasks_until_sigterm(run_pgsched: PgschedRunner, dsn: str) -> None:
    payload = json.dumps({"name": "you"})
    task_id = int(pgsched("task", "add", "greet", "--payload", payload, "--queue", "mail", dsn=dsn).stdout)
    worker = run_pgsched("worker", "--app", "mod:app", "--queue", "mail", "--queue", "reports")

    def completed() -> bool:
        task = pgsched("task", "show", task_id, "--json", dsn=dsn).json()
        return bool(task["status"] == "completed")

    wait_until(completed, message="the task is completed")
    (listed,) = pgsched("worker", "list", "--json", dsn=dsn).json()
    assert (listed["pid"], listed["queues"]) == (worker.pid, ["mail", "reports"])
    assert (worker.stop(), worker.stdout) == (0, ""), worker.output
    assert pgsched("worker", "list", "--json", dsn=dsn).json() == []


def test_worker_takes_every_option_from_the_environment(run_pgsched: PgschedRunner, dsn: str) -> None:
    worker = run_pgsched(
        "worker",
        env={
            "PGSCHED_APP": "mod:app",
            "PGSCHED_QUEUE": "mail reports",
            "PGSCHED_CONCURRENCY": "3",
            "PGSCHED_TRANSACTIONS": "2",
            "PGSCHED_PROCESSES": "1",
            "PGSCHED_METRICS_PORT": "0",
            "PGSCHED_METRICS_HOST": "127.0.0.1",
            "PGSCHED_LEASE": "12",
            "PGSCHED_POLL_INTERVAL": "2.5",
            "PGSCHED_SHUTDOWN_TIMEOUT": "7",
            "PGSCHED_LOG_LEVEL": "info",
        },
    )
    worker.wait_for_output("metrics_served")
    (listed,) = wait_until(lambda: pgsched("worker", "list", "--json", dsn=dsn).json())
    assert (listed["queues"], listed["concurrency"]) == (["mail", "reports"], 3)
    assert listed["lease"] == "12 secs"
    assert all(json.loads(line)["level"] == "info" for line in worker.stderr.splitlines())
    assert worker.stop() == 0


def test_worker_serves_no_http_unless_asked(run_pgsched: PgschedRunner) -> None:
    worker = run_pgsched("worker", "--app", "mod:app")
    worker.wait_for_output("worker_started")
    assert worker.stop() == 0
    assert "metrics_served" not in worker.stderr


@pytest.mark.parametrize("path", ["nowhere:app", "mod:nothing", "mod"])
def test_worker_without_its_app_is_wrong_usage_in_one_line(run_pgsched: PgschedRunner, path: str) -> None:
    worker = run_pgsched("worker", "--app", path)
    assert worker.wait() == 2
    (line,) = worker.stderr.splitlines()
    assert line.startswith("pgsched: app ")


def test_worker_whose_metrics_port_is_taken_works_and_serves_once_it_is_free(
    run_pgsched: PgschedRunner, dsn: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        task_id = int(pgsched("task", "add", "greet", "--payload", '{"name": "you"}', dsn=dsn).stdout)
        worker = run_pgsched("worker", "--app", "mod:app", "--metrics-port", str(port))
        worker.wait_for_output(rf'"port": {port}, .*"event": "metrics_not_served"')
        wait_until(
            lambda: pgsched("task", "show", task_id, "--json", dsn=dsn).json()["status"] == "completed",
            message="the task is completed",
        )
    worker.wait_for_output(rf'"port": {port}, "event": "metrics_served"')
    assert worker.stop() == 0


def test_worker_whose_metrics_host_is_none_of_this_machine_is_wrong_usage_in_one_line(
    run_pgsched: PgschedRunner,
) -> None:
    worker = run_pgsched("worker", "--app", "mod:app", "--metrics-host", "192.0.2.1", "--metrics-port", "0")
    assert worker.wait() == 2
    (line,) = worker.stderr.splitlines()
    assert line.startswith("pgsched: metrics cannot be served on 192.0.2.1:0: ")


def test_worker_without_a_schema_says_what_to_do(run_pgsched: PgschedRunner, empty_dsn: str) -> None:
    worker = run_pgsched("worker", "--app", "mod:app", dsn=empty_dsn)
    assert worker.wait() == 1
    assert worker.stderr == "pgsched: the database has no pgsched schema: run 'pgsched migrate'\n"
