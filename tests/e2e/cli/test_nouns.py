"""Lists and records of executions, the audit log, schedules, groups, queues and workers."""

from __future__ import annotations

import json
from pathlib import Path

import psycopg
import pytest

from pgsched import App
from pgsched.testing import run_due
from tests.support.commands import Ended, pgsched


@pytest.fixture
def ran(dsn: str) -> tuple[int, int]:
    """A task that has completed, and one that failed and is dead."""
    app = App(dsn=dsn)

    @app.task("greet")
    def greet() -> str:
        return "hello"

    @app.task("fail", max_attempts=1, queue="mail")
    def fail() -> None:
        raise ValueError("no luck")

    with app.client() as client:
        ids = int(client.schedule("greet")), int(client.schedule("fail", queue="mail"))
        run_due(app, raises=False)
    app.close()
    return ids


def ids(ended: Ended, name: str = "id") -> list[int]:
    return [one[name] for one in ended.json()]


def test_executions_are_listed_by_every_filter(dsn: str, ran: tuple[int, int]) -> None:
    completed, failed = ran

    def tasks(*options: object) -> set[int]:
        return set(ids(pgsched("execution", "list", *options, "--json", dsn=dsn), "task_id"))

    assert tasks() == {completed, failed}
    assert tasks("--queue", "mail") == tasks("--type", "fail") == {failed}
    assert tasks("--status", "completed") == {completed}
    assert tasks("--since", "5m") == tasks("--within", "5m") == {completed, failed}
    assert tasks("--until", "5m") == tasks("--since", "now") == set()
    assert tasks("--task", failed) == {failed}
    assert "no luck" in pgsched("execution", "list", dsn=dsn).stdout


def test_executions_are_listed_page_by_page(dsn: str, ran: tuple[int, int]) -> None:
    first = pgsched("execution", "list", "--limit", 1, "--json", dsn=dsn)
    cursor = first.stderr.split("--cursor ")[1].strip()
    second = pgsched("execution", "list", "--limit", 1, "--cursor", cursor, "--json", dsn=dsn)
    assert {*ids(first, "task_id"), *ids(second, "task_id")} == set(ran)


def test_executions_of_a_task_that_is_not_there_and_filters_that_exclude_each_other(dsn: str) -> None:
    assert pgsched("execution", "list", "--task", 99, dsn=dsn) == Ended(1, "", "pgsched: task 99 does not exist\n")
    assert pgsched("execution", "list", "--task", 99, "--queue", "mail", dsn=dsn).code == 2
    assert pgsched("execution", "list", "--within", "1h", "--since", "1h", dsn=dsn).code == 2


def test_audit_log_is_listed_by_every_filter(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            "insert into pgsched.audit_log (at, actor, role, action, task_id, queue) values"
            " (now() - interval '2 days', 'Ann', 'operator', 'task.cancel', 7, null),"
            " (now(), 'Bob', 'operator', 'queue.pause', null, 'mail')"
        )

    def actors(*options: object) -> list[str]:
        return [one["actor"] for one in pgsched("audit", "list", *options, "--json", dsn=dsn).json()]

    assert actors() == ["Bob", "Ann"]
    assert actors("--actor", "Ann") == actors("--action", "task") == actors("--task", 7) == ["Ann"]
    assert actors("--queue", "mail") == actors("--since", "1d") == ["Bob"]
    assert actors("--until", "1d") == ["Ann"]
    assert actors("--limit", 1) == ["Bob"]
    assert "queue mail" in pgsched("audit", "list", dsn=dsn).stdout


def test_schedules_are_listed_without_other_tasks_and_changed_by_their_keys(dsn: str) -> None:
    pgsched("task", "add", "greet", dsn=dsn)
    schedule = int(pgsched("task", "add", "greet", "--every", "1h", "--key", "hourly", dsn=dsn).stdout)
    assert ids(pgsched("schedule", "list", "--json", dsn=dsn)) == [schedule]
    assert "every 1h" in pgsched("schedule", "list", dsn=dsn).stdout
    assert pgsched("schedule", "disable", "hourly", dsn=dsn).stdout == f"task {schedule}: disabled\n"
    assert ids(pgsched("schedule", "list", "--paused", "--json", dsn=dsn)) == [schedule]
    assert pgsched("schedule", "show", "hourly", "--json", dsn=dsn).json()["id"] == schedule


def test_groups_are_listed(dsn: str, tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({"steps": [{"task_type": "greet"}]}))
    pgsched("task", "add", "greet", dsn=dsn)
    group = int(pgsched("group", "add", plan, dsn=dsn).stdout)
    assert ids(pgsched("group", "list", "--json", dsn=dsn)) == [group]


def test_queue_is_shown_with_its_numbers_and_settings(dsn: str) -> None:
    pgsched("task", "add", "greet", "--queue", "mail", dsn=dsn)
    pgsched("queue", "limit", "mail", "--concurrency", 3, dsn=dsn)
    found = pgsched("queue", "show", "mail", "--json", dsn=dsn).json()
    assert (found["due"], found["limits"], found["events"]) == (1, {"concurrency": 3}, False)
    assert "3 at once" in pgsched("queue", "show", "mail", dsn=dsn).stdout


def test_worker_is_shown_with_its_tasks(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        row = connection.execute(
            "insert into pgsched.workers (id, hostname, pid, queues, task_types, concurrency, lease)"
            " values (gen_random_uuid(), 'here', 42, '{mail}', '{greet}', 20, '30 s') returning id"
        ).fetchone()
    assert row is not None
    found = pgsched("worker", "show", row[0], "--json", dsn=dsn).json()
    assert (found["hostname"], found["tasks"]) == ("here", [])
    assert "no running tasks" in pgsched("worker", "show", row[0], dsn=dsn).stdout


def test_shown_task_says_why_it_waits_also_as_json(dsn: str) -> None:
    task_id = pgsched("task", "add", "greet", dsn=dsn).stdout.strip()
    why = pgsched("task", "show", task_id, "--json", dsn=dsn).json()["why"]
    assert why["status"] == "pending"
    assert why["reasons"]
