"""The command as a whole: help, version, exit codes, errors in one line, settings from the environment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pgsched import __version__
from pgsched.db.migrations.runner import migration_script
from tests.support.commands import pgsched
from tests.support.processes import CHECKOUT, PgschedProcess, PgschedRunner

NOWHERE = "postgresql://nobody:secret@127.0.0.1:1/nothing"
COMMANDS = ("migrate", "worker", "dev", "task", "group", "dead", "queue", "stats")


def test_help_names_every_command() -> None:
    ended = pgsched("--help")
    assert ended.code == 0
    assert all(f"\n  {command} " in ended.stdout for command in COMMANDS)


@pytest.mark.parametrize("command", [(), ("task",), ("group",), ("queue",), ("dead",)])
def test_group_without_a_command_is_wrong_usage_and_shows_the_help(command: tuple[str, ...]) -> None:
    ended = pgsched(*command)
    assert ended.code == 2
    assert ended.stderr.startswith("Usage: pgsched")


def test_version_is_that_of_the_package() -> None:
    ended = pgsched("--version")
    assert ended.code == 0
    assert ended.stdout == f"pgsched {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nonsense",), "No such command 'nonsense'"),
        (("task", "list", "--colour"), "No such option '--colour'"),
        (("task", "list", "--limit", "0"), "Invalid value for '--limit'"),
        (("task", "list", "--limit", "many"), "Invalid value for '--limit'"),
        (("task", "list", "--status", "tired"), "Invalid value for '--status'"),
        (("task", "show"), "Missing argument 'ID|KEY'"),
        (("task", "show", "17", "--key", "17"), "Give one task, by its id or by its key."),
        (("task", "show", str(2**63)), "Invalid value for 'ID|KEY'"),
        (("task", "cancel"), "Missing argument 'ID|KEY...'"),
        (("task", "cancel", str(2**63)), "Invalid value for 'ID|KEY...'"),
        (("--log-level", "loud", "stats"), "Invalid value for '--log-level'"),
        (("worker",), "Missing option '--app'"),
        (("worker", "--app", "a:b", "--processes", "0"), "Invalid value for '--processes'"),
        (("worker", "--app", "a:b", "--metrics-port", "65536"), "Invalid value for '--metrics-port'"),
        (("worker", "--app", "a:b", "--lease", "0"), "lease must be between 1 and 86400, got 0"),
        (("worker", "--app", "a:b", "--concurrency", "0"), "concurrency must be between 1 and 10000, got 0"),
        (("worker", "--app", "a:b", "--transactions", "0"), "transactions must be between 1 and 10000, got 0"),
        (("dev", "--demo", "--app", "a:b"), "--demo runs its own handlers"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(arguments: tuple[str, ...], message: str) -> None:
    ended = pgsched(*arguments, dsn=NOWHERE)
    assert message in ended.error
    assert ended.code == 2


@pytest.mark.parametrize("command", [("stats",), ("migrate",), ("task", "list"), ("task", "cancel", "1")])
def test_dsn_that_leads_nowhere_is_one_line_without_the_password(command: tuple[str, ...]) -> None:
    ended = pgsched(*command, dsn=NOWHERE)
    assert ended.code == 1
    assert ended.error.startswith("cannot connect to PostgreSQL at 127.0.0.1:1/nothing: ")
    assert "secret" not in ended.error


def test_dsn_that_cannot_be_read_is_wrong_usage() -> None:
    ended = pgsched("--dsn", "postgresql://[", "stats")
    assert ended.code == 2
    assert "the DSN cannot be read" in ended.error


def test_missing_schema_says_what_to_do(empty_dsn: str) -> None:
    ended = pgsched("task", "list", dsn=empty_dsn)
    assert (ended.code, ended.error) == (1, "the database has no pgsched schema: run 'pgsched migrate'")


def test_debug_adds_the_traceback(empty_dsn: str) -> None:
    ended = pgsched("--log-level", "debug", "stats", dsn=empty_dsn)
    assert "Traceback" in ended.stderr
    assert ended.stderr.splitlines()[-1].startswith("pgsched: the database has no pgsched schema")


def test_migrate_names_what_it_applied_and_then_has_nothing_to_do(empty_dsn: str) -> None:
    first, second = pgsched("migrate", dsn=empty_dsn), pgsched("migrate", dsn=empty_dsn)
    assert first.code == second.code == 0
    applied = first.stdout.splitlines()
    assert applied[0] == "applied 0001_schema"
    assert second.stdout == f"the schema is up to date (version {len(applied)})\n"


def test_migrate_sql_prints_the_schema_without_a_database() -> None:
    ended = pgsched("migrate", "--sql", dsn=NOWHERE)
    assert (ended.code, ended.stdout.strip()) == (0, migration_script().strip())


def test_options_come_from_the_environment_and_the_command_line_wins(dsn: str) -> None:
    assert pgsched("task", "list", "--json", env={"PGSCHED_DSN": dsn}).json() == []
    assert pgsched("--dsn", dsn, "task", "list", "--json", env={"PGSCHED_DSN": NOWHERE}).json() == []
    assert "'--concurrency'" in pgsched("worker", env={"PGSCHED_CONCURRENCY": "many"}).error
    assert "lease must" in pgsched("worker", env={"PGSCHED_APP": "a:b", "PGSCHED_LEASE": "0"}).error


def test_queues_of_a_worker_in_the_environment_do_not_filter_lists(dsn: str) -> None:
    task_id = int(pgsched("task", "add", "greet", dsn=dsn).stdout)
    listed = pgsched("task", "list", "--json", dsn=dsn, env={"PGSCHED_QUEUE": "mail reports"}).json()
    assert [task["id"] for task in listed] == [task_id]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("tasks", 'app must be written as module:attribute, as "tasks:app", got "tasks"'),
        ("no_such_module:app", 'there is no module "no_such_module"'),
        ("no_such_package.tasks:app", 'there is no module "no_such_package"'),
        ("plain:missing", 'the module plain has no "missing"'),
        ("plain:app", "must be a pgsched.App, got an int"),
        ("broken:app", "importing broken failed: ZeroDivisionError: division by zero ("),
        ("wanting:app", "importing wanting failed: ModuleNotFoundError: No module named 'no_such_library'"),
    ],
)
def test_app_that_cannot_be_loaded_is_wrong_usage(
    path: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pgsched.app.loading import load_app
    from pgsched.domain.errors import ConfigError

    (tmp_path / "plain.py").write_text("app = 1\n")
    (tmp_path / "broken.py").write_text("app = 1 / 0\n")
    (tmp_path / "wanting.py").write_text("import no_such_library\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    for name in ("plain", "broken", "wanting"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(ConfigError) as refused:
        load_app(path)
    assert message in str(refused.value)


def test_app_of_the_current_folder_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pgsched.app.loading import load_app

    (tmp_path / "mine_here.py").write_text("from pgsched.app import App\nclass box:\n    app = App()\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    assert load_app("mine_here:box.app") is sys.modules["mine_here"].box.app


# The real command in a real process.


def test_process_ends_with_the_exit_code_of_the_command(run_pgsched: PgschedRunner) -> None:
    added = run_pgsched("task", "add", "greet")
    assert (added.wait(), added.stderr) == (0, "")
    shown, missing, wrong = (
        run_pgsched("task", "show", added.stdout.strip(), "--json"),
        run_pgsched("task", "show", "999999"),
        run_pgsched("task", "list", "--limit", "none"),
    )
    assert [shown.wait(), missing.wait(), wrong.wait()] == [0, 1, 2]
    assert missing.stderr == "pgsched: task 999999 does not exist\n"


def test_reader_that_goes_away_is_no_error(dsn: str) -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "pgsched", "--dsn", dsn, "task", "list", "--json"]
    ended = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, cwd=CHECKOUT, check=False)
    os.close(write)
    assert ended.stderr == b""


def test_ctrl_c_ends_a_short_command_with_130(tmp_path: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:  # accepts, and never answers
        dsn = f"postgresql://nobody@127.0.0.1:{server.getsockname()[1]}/nothing"
        with PgschedProcess(["stats"], folder=tmp_path, dsn=dsn) as process:
            server.settimeout(20)
            connection, _address = server.accept()
            with connection:
                process.signal(signal.SIGINT)
                assert process.wait() == 130
    assert "Traceback" not in process.stderr
