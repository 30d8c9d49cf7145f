"""Real processes under a service manager: what it is told of workers and of the web face, and what it is not."""

from __future__ import annotations

import os
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

from chaos.proxy import Proxy
from tests.support.commands import pgsched
from tests.support.notify_socket import NotifySocket, notify_socket
from tests.support.processes import PgschedProcess, PgschedRunner
from tests.support.tables import database
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

WATCHDOG = 2.0
SILENCE = 0.8
"""Three beats would have come in that time."""
APP = """
import os, time
from pathlib import Path

from pgsched.app import App

app = App()


def told() -> list[str]:
    return [name for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID") if name in os.environ]


@app.task("told")
async def of_worker() -> list[str]:
    return told()


@app.task("child-told", executor="process")
def of_child() -> list[str]:
    return told()


@app.task("block")
async def block() -> None:
    while not Path("gate").exists():
        time.sleep(0.02)
"""


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[NotifySocket]:
    (tmp_path / "mod.py").write_text(APP)
    with notify_socket() as there:
        yield there


def start(run: PgschedRunner, manager: NotifySocket, *options: str, dsn: str | None = None) -> PgschedProcess:
    environment = manager.environment(watchdog=WATCHDOG)
    worker = run("worker", "--app", "mod:app", "--poll-interval", "0.2", *options, dsn=dsn, env=environment)
    try:
        manager.wait_for("READY=1")
    except AssertionError as error:
        raise AssertionError(f"{error}\n{worker.output}") from None
    return worker


def test_manager_hears_that_a_worker_is_ready_lives_and_stops_and_its_tasks_do_not_know_it(
    run_pgsched: PgschedRunner, manager: NotifySocket, dsn: str
) -> None:
    worker = start(run_pgsched, manager)
    manager.wait_for_beats(3)
    manager.wait_for("STATUS=running 0 of 20")
    with database(dsn) as connection:
        connection.execute("insert into pgsched.tasks (task_type) values ('told'), ('child-told')")
        done = "select result from pgsched.tasks where status = 'completed'"
        wait_until(lambda: len(connection.execute(done).fetchall()) == 2, message="both are completed")
        assert [row["result"] for row in connection.execute(done)] == [[], []]
    assert "STOPPING=1" not in manager.messages
    assert worker.stop() == 0, worker.output
    manager.wait_for("STOPPING=1")
    assert manager.messages.count("READY=1") == 1


def test_beats_stay_away_while_a_handler_blocks_the_event_loop(
    run_pgsched: PgschedRunner, manager: NotifySocket, dsn: str, tmp_path: Path
) -> None:
    worker = start(run_pgsched, manager)
    assert manager.beats_within(SILENCE) >= 2
    with database(dsn) as connection:
        connection.execute("insert into pgsched.tasks (task_type) values ('block')")
    worker.wait_for_output("watchdog_withheld")
    assert manager.beats_within(SILENCE) == 0
    (tmp_path / "gate").touch()
    manager.wait_for_beats(2)
    assert worker.stop() == 0, worker.output


def test_beats_go_on_while_the_database_is_away(run_pgsched: PgschedRunner, manager: NotifySocket, dsn: str) -> None:
    if not str(conninfo_to_dict(dsn).get("host")).startswith("/"):
        pytest.skip("the proxy needs a server on a unix socket")
    with Proxy(dsn) as proxy:
        worker = start(run_pgsched, manager, "--metrics-port", "0", "--lease", "1", dsn=proxy.dsn)
        port = worker.wait_for_output(r'"port": (\d+), "event": "metrics_served"')[1]
    worker.wait_for_output("heartbeat_failed")
    wait_until(lambda: ask(port, "readyz") == 503, message="three leases have passed, or the connection is gone")
    manager.wait_for_beats(6)
    assert ask(port, "healthz") == 200
    assert "watchdog_withheld" not in worker.output
    worker.kill()


def test_every_process_counts(run_pgsched: PgschedRunner, manager: NotifySocket, dsn: str) -> None:
    worker = start(run_pgsched, manager, "--processes", "2", "--concurrency", "5")
    manager.wait_for("STATUS=running 0 of 10")
    with database(dsn) as connection:
        pids = [row["pid"] for row in connection.execute("select pid from pgsched.workers")]
    assert len(pids) == 2, "ready is when both are"
    manager.wait_for_beats(2)
    os.kill(pids[0], signal.SIGSTOP)
    try:
        worker.wait_for_output("process [01] does not answer.*watchdog_withheld")
        assert manager.beats_within(SILENCE) == 0
    finally:
        os.kill(pids[0], signal.SIGCONT)
    manager.wait_for_beats(2)
    os.kill(pids[1], signal.SIGKILL)  # is started again by the parent: no matter for the manager
    worker.wait_for_output("process_died")
    manager.wait_for_beats(2)
    assert worker.stop() == 0, worker.output
    manager.wait_for("STOPPING=1")


def test_manager_hears_that_the_web_face_serves_and_stops(run_pgsched: PgschedRunner, manager: NotifySocket) -> None:
    web = run_pgsched("web", "--port", "0", env=manager.environment())
    manager.wait_for("READY=1")
    found = web.wait_for_output(r"http://127\.0\.0\.1:(\d+)/")
    assert ask(found[1], "readyz") == 200
    assert web.stop() == 0, web.output
    manager.wait_for("STOPPING=1")


def test_socket_that_cannot_be_read_is_wrong_usage(manager: NotifySocket, dsn: str) -> None:
    ended = pgsched("worker", "--http", dsn=dsn, env={"NOTIFY_SOCKET": "here"})
    assert (ended.code, ended.error) == (
        2,
        "NOTIFY_SOCKET must be a path, or a name that starts with @, got 'here'",
    )


def ask(port: str, path: str) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=60) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
