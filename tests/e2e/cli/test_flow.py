"""Dependencies and groups on the command line: ``--depends-on``, ``group add``, ``group show``, ``task tree``."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.support.commands import Ended, pgsched
from tests.support.processes import PgschedRunner
from tests.support.waiting import wait_until

APP = """
from pgsched import App, Context, Discard

app = App()


@app.task("load")
def load(path: str) -> dict:
    return {"path": path}


@app.task("join")
def join(ctx: Context) -> list:
    return sorted(ctx.dependencies[name]["path"] for name in ("left", "right"))


@app.task("fail")
def fail() -> None:
    raise Discard("no luck")
"""

PLAN = {
    "steps": [
        {"task_type": "load", "name": "left", "order": 1, "payload": {"path": "l.csv"}},
        {"task_type": "load", "name": "right", "order": 1, "payload": {"path": "r.csv"}, "timeout": "15m"},
        {"task_type": "join"},
    ]
}


def add(dsn: str, *arguments: object, command: str = "task", stdin: str = "") -> int:
    ended = pgsched(command, "add", *arguments, dsn=dsn, stdin=stdin)
    assert (ended.code, ended.stderr) == (0, ""), ended
    return int(ended.stdout)


def show(dsn: str, task_id: int) -> dict[str, Any]:
    found: dict[str, Any] = pgsched("task", "show", task_id, "--json", dsn=dsn).json()
    return found


def tree(dsn: str, task_id: int) -> dict[str, Any]:
    found: dict[str, Any] = pgsched("task", "tree", task_id, "--json", dsn=dsn).json()
    return found


def lines(ended: Ended) -> list[str]:
    """The lines of a table with single spaces."""
    assert (ended.code, ended.stderr) == (0, ""), ended
    return [" ".join(line.split()) for line in ended.stdout.splitlines()]


# Dependencies.


def test_add_takes_dependencies(dsn: str) -> None:
    first, second = add(dsn, "load"), add(dsn, "load")
    task = show(
        dsn,
        add(
            dsn,
            "join",
            *("--depends-on", f"{first}, {second}", "--dependency-mode", "any"),
            *("--on-dependency-dead", "run", "--concurrency-key", "tenant 7"),
        ),
    )
    assert (task["status"], task["depends_on"], task["waiting_for"]) == ("blocked", [first, second], 2)
    assert (task["dependency_mode"], task["on_dependency_dead"]) == ("any", "run")
    assert task["concurrency_key"] == "tenant 7"


def test_edit_changes_dependencies_and_clears_them(dsn: str) -> None:
    first, second = add(dsn, "load"), add(dsn, "load")
    task_id = add(dsn, "join", "--depends-on", first, "--concurrency-key", "k")
    assert pgsched("task", "edit", task_id, "--depends-on", second, dsn=dsn).code == 0
    assert show(dsn, task_id)["depends_on"] == [second]
    cleared = pgsched("task", "edit", task_id, "--clear", "depends-on", "--clear", "concurrency-key", dsn=dsn)
    assert cleared.stdout == f"task {task_id}: changed\n"
    task = show(dsn, task_id)
    assert (task["status"], task["depends_on"], task["concurrency_key"]) == ("pending", [], None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--depends-on", "4711"), "depends_on: task 4711 does not exist"),
        (("--depends-on", "1", "--cron", "@daily"), "depends_on is for one-time tasks, got cron '@daily' with it"),
        (("--dependency-mode", "some"), "dependency_mode must be all, any or each, got 'some'"),
        (("--on-dependency-dead", "skip"), "on_dependency_dead must be cancel, run or wait, got 'skip'"),
        (("--concurrency-key", ""), "concurrency_key must have 1 to 200 characters, got 0"),
    ],
)
def test_add_refuses_in_one_line_what_the_rules_refuse(dsn: str, options: tuple[str, ...], message: str) -> None:
    ended = pgsched("task", "add", "load", *options, dsn=dsn)
    assert (ended.code, ended.error) == (1, message)


@pytest.mark.parametrize("ids", ["first", "1;2", "", "0", "-1", "1,,2", str(2**63)])
def test_ids_that_cannot_be_read_are_wrong_usage(dsn: str, ids: str) -> None:
    ended = pgsched("task", "add", "load", f"--depends-on={ids}", dsn=dsn)
    assert ended.code == 2
    assert "Invalid value for '--depends-on'" in ended.error
    assert "is not the id of a task: write ids as 1,2" in ended.error


def test_tree_shows_what_a_task_needs_and_what_comes_then(dsn: str) -> None:
    top = add(dsn, "load", "--name", "top")
    left, right = add(dsn, "load", "--depends-on", top), add(dsn, "load", "--depends-on", top)
    last = add(dsn, "join", "--depends-on", f"{left},{right}", "--name", "last")
    then = add(dsn, "join", "--depends-on", last)
    assert lines(pgsched("task", "tree", last, dsn=dsn)) == [
        "TASK TYPE STATUS DURATION AFTER ERROR",
        f"{last} last join blocked - {left}, {right} -",
        f"├─ needs {left} load blocked - {top} -",
        f"│ └─ needs {top} top load pending - - -",
        f"├─ needs {right} load blocked - {top} -",
        f"└─ then {then} join blocked - {last} -",
    ]


def test_tree_of_an_unknown_task_is_not_found(dsn: str) -> None:
    for command in (("task", "tree"), ("group", "show")):
        ended = pgsched(*command, 424242, dsn=dsn)
        assert (ended.code, ended.error) == (1, "task 424242 does not exist")


# Groups.


def test_group_is_added_from_a_file_or_stdin(dsn: str, tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    file.write_text(json.dumps(PLAN))
    from_file = show(dsn, add(dsn, file, "--name", "both", "--priority", "9", command="group"))
    from_stdin = show(dsn, add(dsn, "-", "--cron", "@daily", "--disabled", command="group", stdin=json.dumps(PLAN)))
    assert (from_file["task_type"], from_file["task_name"], from_file["priority"]) == ("pgsched.group", "both", 9)
    assert [one["task_type"] for one in from_file["payload"]["steps"]] == ["load", "load", "join"]
    assert from_file["payload"]["steps"][1]["timeout"] == "900 secs"
    assert (from_stdin["schedule_type"], from_stdin["enabled"]) == ("recurring", False)


def test_group_add_json_prints_the_tree(dsn: str) -> None:
    ended = pgsched("group", "add", "-", "--json", dsn=dsn, stdin=json.dumps(PLAN))
    node = ended.json()
    assert (node["task_type"], node["status"], node["children"]) == ("pgsched.group", "pending", [])
    assert tree(dsn, node["id"]) == node


def test_group_runs_and_shows_its_steps(dsn: str, run_pgsched: PgschedRunner, tmp_path: Path) -> None:
    (tmp_path / "mod.py").write_text(APP)
    worker = run_pgsched("worker", "--app", "mod:app")
    task_id = add(dsn, "-", "--name", "both", command="group", stdin=json.dumps(PLAN))
    wait_until(lambda: show(dsn, task_id)["status"] == "completed", message="the group is completed")
    assert show(dsn, task_id)["result"]["join"] == ["l.csv", "r.csv"]
    assert worker.stop() == 0
    node = tree(dsn, task_id)
    left, right, join = (one["id"] for one in node["children"])
    took = r"[0-9.]+ m?s"
    shown = lines(pgsched("group", "show", task_id, dsn=dsn))
    patterns = [
        "TASK TYPE STATUS DURATION AFTER ERROR",
        f"{task_id} both pgsched.group completed {took} - -",
        f"├─ {left} left load completed {took} - -",
        f"├─ {right} right load completed {took} - -",
        f"└─ {join} join join completed {took} {left}, {right} -",
    ]
    assert len(shown) == len(patterns)
    for line, pattern in zip(shown, patterns, strict=True):
        assert re.fullmatch(pattern, line), (line, pattern)


def test_group_with_a_failed_step_tells_why(dsn: str, run_pgsched: PgschedRunner, tmp_path: Path) -> None:
    (tmp_path / "mod.py").write_text(APP)
    run_pgsched("worker", "--app", "mod:app")
    plan = {"steps": [{"task_type": "fail"}, {"task_type": "load", "payload": {"path": "x"}}]}
    task_id = add(dsn, "-", command="group", stdin=json.dumps(plan))
    wait_until(lambda: show(dsn, task_id)["status"] == "dead", message="the group is dead")
    failed, behind = lines(pgsched("group", "show", task_id, dsn=dsn))[2:]
    assert failed.endswith("Discard: no luck")
    assert "cancelled" in behind
    assert "which it depends on, is dead" in behind


@pytest.mark.parametrize(
    ("plan", "code", "message"),
    [
        ("[1]", 1, "plan must be a JSON object, got [1]"),
        ('{"steps": []}', 1, "steps must be between 1 and 10000, got 0"),
        ('{"steps": [{"task_type": "a", "colour": 1}]}', 1, "step 'a': 'colour' is no key of a step"),
        ('{"steps": [{"task_type": "a", "after": ["a"]}]}', 1, "payload of a group: step 'a' waits for itself"),
        ("{steps", 2, "Invalid value for 'FILE': invalid JSON"),
    ],
)
def test_plan_that_makes_no_sense_is_refused_in_one_line(dsn: str, plan: str, code: int, message: str) -> None:
    ended = pgsched("group", "add", "-", dsn=dsn, stdin=plan)
    assert ended.code == code
    assert message in ended.error
    assert pgsched("task", "list", "--json", dsn=dsn).json() == []


def test_plan_that_cannot_be_read_is_wrong_usage(dsn: str) -> None:
    ended = pgsched("group", "add", "no-such-file", dsn=dsn)
    assert ended.code == 2
    assert "no-such-file cannot be read: No such file or directory" in ended.error


def test_group_is_scheduled_and_waits_like_any_task(dsn: str) -> None:
    first = add(dsn, "load")
    task_id = add(dsn, "-", "--depends-on", first, command="group", stdin=json.dumps(PLAN))
    assert show(dsn, task_id)["status"] == "blocked"
    with psycopg.connect(dsn) as connection:
        found = connection.execute("select upstream_id from pgsched.dependencies where task_id = %s", (task_id,))
        assert found.fetchall() == [(first,)]
