"""``--output``, ``--watch``, ``--quiet``, ``--tz`` and colours, on lists and records."""

from __future__ import annotations

import csv
import io
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import click
import psycopg
import pytest

from pgsched.cli import commands
from tests.e2e.cli.test_lists import dead_task
from tests.support.commands import Ended, pgsched
from tests.support.processes import CHECKOUT
from tools.docs.cli_page import walk

OTHERWISE = {
    *(
        "pgsched event follow",
        "pgsched top",
        "pgsched check",
        "pgsched doctor",
        "pgsched schedule sync",
        "pgsched sync",
    ),
    *(TABLES := {"pgsched schedule next", "pgsched shard list"}),
}
"""Commands with ``--output`` that cannot be watched: they follow, show live, or check."""


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def run_on_terminal(*words: str, env: dict[str, str] | None = None) -> str:
    """What a command prints to a terminal."""
    ours, its = pty.openpty()
    environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    with subprocess.Popen(
        [sys.executable, "-m", "pgsched", *words],
        stdout=its,
        stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
        cwd=CHECKOUT,
        env=environment | {"TERM": "xterm"} | (env or {}),
    ):
        os.close(its)
        text = b"".join(_chunks(ours))
    os.close(ours)
    return text.decode()


def _chunks(terminal: int) -> Iterator[bytes]:
    while True:
        try:
            yield os.read(terminal, 65_536)
        except OSError:  # Linux: the other side is closed
            return


def test_every_list_and_record_has_the_same_outputs() -> None:
    names = ("list", "show", "why", "tree", "upcoming", "stats", "backfill", "top", "doctor", "check", "next", "sync")
    shown = {path: command for path, command in walk(commands, "pgsched") if path.split()[-1] in names}
    assert len(shown) > 30
    for path, command in shown.items():
        options = {one.name: one for one in command.params}
        kind: Any = options["output"].type
        kinds = list(kind.choices)
        assert kinds == (["table", "json"] if path in OTHERWISE - TABLES else ["table", "json", "csv"]), path
        assert ("watch" in options) == (path not in OTHERWISE), path


def test_csv_has_the_keys_of_json_and_no_formula(dsn: str) -> None:
    dead_task(dsn, "=cmd")
    (found,) = rows_of(pgsched("dead", "list", "--output", "csv", dsn=dsn).stdout)
    (same,) = pgsched("dead", "list", "-o", "json", dsn=dsn).json()
    assert list(found) == list(same)
    assert (found["task_type"], found["id"], found["queue"]) == ("'=cmd", str(same["id"]), "default")


def test_record_is_one_row_of_csv(dsn: str) -> None:
    task_id = pgsched("task", "add", "greet", "--payload", '{"name": "Ada"}', dsn=dsn).stdout.strip()
    (found,) = rows_of(pgsched("task", "show", task_id, "--output", "csv", dsn=dsn).stdout)
    assert (found["id"], found["payload"]) == (task_id, '{"name": "Ada"}')


def test_empty_list_is_empty_in_csv_and_an_array_in_json(dsn: str) -> None:
    assert pgsched("task", "list", "-o", "csv", dsn=dsn).stdout == ""
    assert pgsched("task", "list", "-o", "json", dsn=dsn).json() == []


def test_json_and_another_output_exclude_each_other() -> None:
    assert pgsched("task", "list", "--json", "--output", "csv").error.startswith("Give either --json or --output csv.")


def test_cut_list_says_on_stderr_how_to_go_on_in_every_output(dsn: str) -> None:
    for _ in range(2):
        pgsched("task", "add", "greet", dsn=dsn)
    for output in ("table", "json", "csv"):
        ended = pgsched("task", "list", "--limit", "1", "-o", output, dsn=dsn)
        assert ended.stderr.startswith("there may be more: --cursor ")
    assert pgsched("--quiet", "task", "list", "--limit", "1", dsn=dsn).stderr == ""


def test_quiet_prints_data_and_errors_but_no_outcomes(dsn: str) -> None:
    task_id = pgsched("--quiet", "task", "add", "greet", dsn=dsn).stdout.strip()
    assert task_id.isdigit()
    done = pgsched("--quiet", "task", "cancel", task_id, dsn=dsn)
    assert (done.code, done.stdout, done.stderr) == (0, "", "")
    assert pgsched("-q", "task", "cancel", task_id, dsn=dsn).code == 1


def test_times_are_shown_in_the_chosen_zone_but_json_is_utc(dsn: str) -> None:
    pgsched("task", "add", "greet", "--at", "2030-07-01T07:00Z", dsn=dsn)
    assert "2030-07-01T07:00:00Z (in " in pgsched("task", "list", dsn=dsn).stdout
    assert "2030-07-01T09:00:00+02:00 (in " in pgsched("--tz", "Europe/Berlin", "task", "list", dsn=dsn).stdout
    env = {"PGSCHED_TZ": "Europe/Berlin"}
    assert "T09:00:00+02:00" in pgsched("task", "list", dsn=dsn, env=env).stdout
    (found,) = pgsched("task", "list", "--json", dsn=dsn, env=env).json()
    assert found["next_run_at"].startswith("2030-07-01T07:00:00")
    wrong = pgsched("--tz", "Atlantis/Capital", "stats", dsn=dsn)
    assert (wrong.code, "Atlantis/Capital" in wrong.error) == (2, True)


def test_filters_take_relative_times(dsn: str) -> None:
    task_id = pgsched("task", "add", "greet", "--at", "+2h", dsn=dsn).stdout.strip()
    for filters in (["--since", "1h"], ["--created-after", "5m ago"], ["--due-before", "+3h"], ["--until", "now"]):
        assert [str(one["id"]) for one in pgsched("task", "list", *filters, "--json", dsn=dsn).json()] == [task_id], (
            filters
        )
    assert pgsched("task", "list", "--until", "1h", "--json", dsn=dsn).json() == []


def test_watch_prints_again_until_it_is_interrupted(dsn: str) -> None:
    command = [sys.executable, "-m", "pgsched", "--dsn", dsn, "queue", "list", "--json", "--watch=0.2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=CHECKOUT, text=True) as process:
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(3)] == ["[]\n"] * 3
        process.send_signal(2)
        assert process.wait(20) == 130


def test_colours_are_for_terminals_and_can_be_turned_off(dsn: str) -> None:
    pgsched("task", "add", "greet", dsn=dsn)
    dead_task(dsn)
    assert "\x1b" not in pgsched("task", "list", dsn=dsn).stdout
    words = ("--dsn", dsn, "task", "list", "--status", "dead")
    assert "\x1b[31mdead\x1b[0m" in run_on_terminal(*words)
    assert "\x1b" not in run_on_terminal(*words, env={"NO_COLOR": "1"})
    assert "\x1b" not in run_on_terminal("--no-color", *words)


def test_table_cut_by_head_is_no_error(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("insert into pgsched.tasks (task_type) select 'greet' from generate_series(1, 500)")
    command = f"{sys.executable} -m pgsched --dsn '{dsn}' task list --limit 1000 --json | head -1"
    ended = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=CHECKOUT, check=False)
    assert (ended.stdout, ended.stderr) == ("[\n", "")


def test_empty_list_points_out_names_that_do_not_exist(dsn: str) -> None:
    pgsched("task", "add", "greet", "--queue", "mail", dsn=dsn)
    ended = pgsched("task", "list", "--queue", "mial", dsn=dsn)
    assert (ended.stdout, ended.stderr) == ("no tasks\n", "pgsched: there is no queue 'mial'. Did you mean 'mail'?\n")
    assert pgsched("dead", "list", "--queue", "mail", dsn=dsn).stderr == ""


def test_paused_queue_that_does_not_exist_points_out_the_nearest_one(dsn: str) -> None:
    pgsched("task", "add", "greet", "--queue", "mail", dsn=dsn)
    hint = "pgsched: there is no queue 'mial'. Did you mean 'mail'?\n"
    assert pgsched("queue", "pause", "mial", dsn=dsn) == Ended(0, "queue mial: paused\n", hint)
    assert pgsched("queue", "pause", "mail", dsn=dsn).stderr == ""


def test_key_that_no_task_has_is_answered_with_the_nearest_schedule(dsn: str) -> None:
    pgsched("task", "add", "report", "--every", "1d", "--key", "nightly-report", dsn=dsn)
    ended = pgsched("task", "show", "nightly-raport", dsn=dsn)
    assert (ended.code, "Did you mean 'nightly-report'?" in ended.error) == (1, True)


@pytest.mark.parametrize(
    "command", [["queue", "show", "mial"], ["handler", "show", "mial"], ["worker", "show", "mial"]]
)
def test_object_that_does_not_exist_ends_with_1(dsn: str, command: list[str]) -> None:
    assert pgsched(*command, dsn=dsn).code == 1


def test_help_of_click_is_not_coloured() -> None:
    assert click.unstyle(pgsched("--help").stdout) == pgsched("--help").stdout
