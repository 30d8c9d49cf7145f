"""``pgsched dev``: an embedded PostgreSQL, a worker and the demonstration, in a folder of one's own."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.commands import pgsched
from tests.processes import PgschedProcess, PgschedRunner


@pytest.fixture
def private_folder() -> Iterator[Path]:
    """Not pytest's own: that is closed to the user who runs the server for root."""
    with tempfile.TemporaryDirectory(prefix="pgsched-dev-") as name:
        yield Path(name)


def test_first_look_runs_a_task_and_ends_in_order_when_its_time_is_over(run_pgsched: PgschedRunner) -> None:
    process = run_pgsched("dev", "--demo", "--metrics-port", "0", "--for", "6")
    process.wait_for_output(r"first task done", timeout=30)
    assert process.wait() == 0, process.output
    assert "Traceback" not in process.output
    assert "ended in order" in process.stdout


def test_demonstration_shows_every_kind_of_task(run_pgsched: PgschedRunner, dsn: str) -> None:
    process = run_pgsched("dev", "--demo", "--metrics-port", "0")
    for happened in (
        r"greet +Hello, you!",
        r"flaky +attempt 1 fails",
        r"flaky +attempt 2 succeeds",
        r"greet +Hello, later!",
        r"greet +Hello, again!",
        r"report +the report planned for \d\d:\d\d:\d0 UTC is written",
    ):
        process.wait_for_output(happened, timeout=30)
    assert process.stop() == 0, process.output


def test_ctrl_c_ends_it_in_order(run_pgsched: PgschedRunner) -> None:
    process = run_pgsched("dev", "--demo", "--metrics-port", "0")
    process.wait_for_output(r"first task done", timeout=30)
    process.signal(signal.SIGINT, group=True)
    assert process.wait() == 0, process.output


def test_second_demonstration_greets_again_and_keeps_one_cron_schedule(run_pgsched: PgschedRunner, dsn: str) -> None:
    for _ in range(2):
        process = run_pgsched("dev", "--demo", "--metrics-port", "0")
        process.wait_for_output(r"first task done", timeout=30)
        assert process.stop() == 0, process.output
    schedules = pgsched("task", "list", "--schedule-type", "recurring", "--json", dsn=dsn).json()
    assert [task["task_type"] for task in schedules] == ["report"]


def test_row_inserted_as_the_demonstration_says_is_run(run_pgsched: PgschedRunner, dsn: str) -> None:
    process = run_pgsched("dev", "--demo", "--metrics-port", "0")
    process.wait_for_output(r"first task done", timeout=30)
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
    process = run_pgsched("dev", "--app", "mine:app", "--metrics-port", "0")
    process.wait_for_output(r"^my own handler$", timeout=30)
    assert process.stop() == 0, process.output


def test_app_that_is_not_there_is_one_line(run_pgsched: PgschedRunner) -> None:
    process = run_pgsched("dev", "--app", "nowhere:app", "--metrics-port", "0")
    assert process.wait() == 2
    assert process.stderr == 'pgsched: app "nowhere:app": there is no module "nowhere" here or installed\n'


def test_without_a_dsn_it_brings_its_own_postgresql_and_keeps_the_data(private_folder: Path) -> None:
    arguments = ["dev", "--demo", "--metrics-port", "0"]
    for schema in (r"schema: +\d+ migrations applied", r"schema: +up to date"):
        with PgschedProcess(arguments, folder=private_folder) as process:
            process.wait_for_output(schema, timeout=60)
            process.wait_for_output(r"first task done", timeout=60)
            assert process.stop() == 0, process.output
    data = private_folder / ".pgsched" / "data"
    assert (data / "PG_VERSION").exists()
    assert not (data / "postmaster.pid").exists()
