"""``pgsched dev``: an embedded PostgreSQL, a worker and the demonstration, in a folder of one's own."""

from __future__ import annotations

import signal
import socket
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.support.commands import pgsched
from tests.support.processes import PgschedProcess, PgschedRunner
from tests.support.waiting import wait_until


@pytest.fixture
def private_folder() -> Iterator[Path]:
    """Not pytest's own: that is closed to the user who runs the server for root."""
    with tempfile.TemporaryDirectory(prefix="pgsched-dev-") as name:
        yield Path(name)


def answers(url: str) -> bool:
    """Whether somebody answers that all is well."""
    try:
        with urllib.request.urlopen(url) as answer:
            return bool(answer.status == 200)
    except urllib.error.URLError:
        return False


def test_first_look_runs_a_task_and_ends_in_order_when_its_time_is_over(run_pgsched: PgschedRunner, dsn: str) -> None:
    process = run_pgsched("--dsn", dsn, "dev", "--demo", "--metrics-port", "0", "--for", "6")
    process.wait_for_output(r"first task done")
    assert process.wait() == 0, process.output
    assert "Traceback" not in process.output
    assert "stopped; the data is kept" in process.stdout


def test_demonstration_shows_every_kind_of_task(run_pgsched: PgschedRunner, dsn: str) -> None:
    process = run_pgsched("--dsn", dsn, "dev", "--demo", "--metrics-port", "0")
    for happened in (
        r"greet +Hello, you!",
        r"flaky +attempt 1 fails",
        r"flaky +attempt 2 succeeds",
        r"greet +Hello, later!",
        r"greet +Hello, again!",
        r"report +the report planned for \d\d:\d\d:\d0 UTC is written",
    ):
        process.wait_for_output(happened)
    assert process.stop() == 0, process.output


def test_ctrl_c_ends_it_in_order(run_pgsched: PgschedRunner, dsn: str) -> None:
    process = run_pgsched("--dsn", dsn, "dev", "--demo", "--metrics-port", "0")
    process.wait_for_output(r"first task done")
    process.signal(signal.SIGINT, group=True)
    assert process.wait() == 0, process.output


def test_second_demonstration_greets_again_and_keeps_one_cron_schedule(run_pgsched: PgschedRunner, dsn: str) -> None:
    for _ in range(2):
        process = run_pgsched("--dsn", dsn, "dev", "--demo", "--metrics-port", "0")
        process.wait_for_output(r"first task done")
        assert process.stop() == 0, process.output
    schedules = pgsched("task", "list", "--schedule-type", "recurring", "--json", dsn=dsn).json()
    assert [task["task_type"] for task in schedules] == ["report"]


def test_row_inserted_as_the_demonstration_says_is_run(run_pgsched: PgschedRunner, dsn: str) -> None:
    process = run_pgsched("--dsn", dsn, "dev", "--demo", "--metrics-port", "0")
    process.wait_for_output(r"first task done")
    told = process.wait_for_output(r'-c "(insert into .*)"$')[1].replace('\\"', '"')
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(told.encode())
    process.wait_for_output(r"Hello, psql!")
    assert process.stop() == 0, process.output


def test_app_of_ones_own_is_run(run_pgsched: PgschedRunner, dsn: str) -> None:
    (run_pgsched.folder / "mine.py").write_text(
        "from pgsched.app import App\n"
        "app = App()\n"
        "@app.task('mine')\n"
        "def mine() -> None:\n"
        "    print('my own handler', flush=True)\n"
    )
    pgsched("task", "add", "mine", dsn=dsn)
    process = run_pgsched("--dsn", dsn, "dev", "--app", "mine:app", "--metrics-port", "0")
    process.wait_for_output(r"^my own handler$")
    assert process.stop() == 0, process.output


def test_app_that_is_not_there_is_one_line(run_pgsched: PgschedRunner, dsn: str) -> None:
    process = run_pgsched("--dsn", dsn, "dev", "--app", "nowhere:app", "--metrics-port", "0")
    assert process.wait() == 2
    assert process.stderr == 'pgsched: app "nowhere:app": there is no module "nowhere" here or installed\n'


def test_without_a_dsn_it_brings_its_own_postgresql_and_keeps_the_data(private_folder: Path) -> None:
    arguments = ["dev", "--demo", "--metrics-port", "0"]
    for schema in (r"schema: +\d+ migrations applied", r"schema: +up to date"):
        with PgschedProcess(arguments, folder=private_folder) as process:
            process.wait_for_output(schema)
            process.wait_for_output(r"first task done")
            assert process.stop() == 0, process.output
    data = private_folder / ".pgsched" / "data"
    assert (data / "PG_VERSION").exists()
    assert not (data / "postmaster.pid").exists()


def test_exported_dsn_is_neither_migrated_nor_used(private_folder: Path, empty_dsn: str) -> None:
    parts = conninfo_to_dict(empty_dsn)
    elsewhere = {
        "PGSCHED_DSN": empty_dsn,
        "PGHOST": str(parts["host"]),
        "PGHOSTADDR": "127.0.0.1",  # where nobody listens
        "PGPORT": str(parts.get("port", 5432)),
        "PGDATABASE": str(parts["dbname"]),
        "PGUSER": "somebody",
        "PGOPTIONS": "-c search_path=nowhere",
        "PGSSLMODE": "verify-full",
        "PGTARGETSESSIONATTRS": "standby",
    }
    with PgschedProcess(["dev", "--demo", "--metrics-port", "0"], folder=private_folder, env=elsewhere) as process:
        process.wait_for_output(r"PostgreSQL: runs on the data in \./\.pgsched")
        process.wait_for_output(r"first task done")
        assert process.stop() == 0, process.output
    with psycopg.connect(empty_dsn) as connection:
        assert connection.execute("select to_regnamespace('pgsched')").fetchone() == (None,)


def test_handlers_schedule_in_the_database_that_they_run_on(private_folder: Path, dsn: str) -> None:
    (private_folder / "mine.py").write_text(
        "from pgsched.app import App\n"
        "app = App()\n"
        "@app.task('first', every='1h')\n"
        "def first() -> None:\n"
        "    app.client().schedule('second')\n"
        "@app.task('second')\n"
        "def second() -> None:\n"
        "    print('the second one', flush=True)\n"
    )
    command = ["dev", "--app", "mine:app", "--metrics-port", "0", "--web-port", "0"]
    with PgschedProcess(command, folder=private_folder, dsn=dsn) as process:
        process.wait_for_output(r"^the second one$")
        assert process.stop() == 0, process.output
    assert pgsched("task", "list", "--json", dsn=dsn).json() == []


def test_second_one_takes_free_ports_and_says_so(private_folder: Path) -> None:
    """In the same folder: both use the one server, and the last one to leave stops it."""
    with PgschedProcess(["dev", "--demo"], folder=private_folder, name="first") as first:
        first.wait_for_output(r"first task done")
        told = first.wait_for_output(r"metrics: +http://127\.0\.0\.1:(\d+)/metrics")
        with PgschedProcess(["dev", "--demo"], folder=private_folder, name="second") as second:
            other = second.wait_for_output(
                r"metrics: +http://127\.0\.0\.1:(\d+)/metrics \(port 9464 is taken\)", timeout=60
            )
            second.wait_for_output(r"dashboard: +\S+ \(port 8080 is taken\)")
            second.wait_for_output(r"first task done")
            assert told[1] != other[1]
            url = f"http://127.0.0.1:{other[1]}/healthz"
            wait_until(lambda: answers(url), message="the second one serves its metrics")
            assert second.stop() == 0, second.output
        assert first.stop() == 0, first.output
    assert not (private_folder / ".pgsched" / "data" / "postmaster.pid").exists()


def test_port_that_was_asked_for_and_is_taken_is_one_line(run_pgsched: PgschedRunner, dsn: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process = run_pgsched("--dsn", dsn, "dev", "--metrics-port", str(port))
        assert process.wait() == 2
        assert f"pgsched: metrics cannot be served on 127.0.0.1:{port}: " in process.stderr
