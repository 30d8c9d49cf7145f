"""``pgsched dead``, ``queue``, ``worker list`` and ``stats``."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest

from tests.support.commands import Ended, pgsched
from tests.support.tables import restoring


def dead_task(dsn: str, task_type: str = "greet", *, queue: str = "default", days: int = 0) -> int:
    with psycopg.connect(dsn, autocommit=True) as connection, restoring(connection):
        row = connection.execute(
            "insert into pgsched.tasks (task_type, queue, status, died_at, attempts, last_error)"
            " values (%s, %s, 'dead', now() - make_interval(days => %s), 3, %s) returning id",
            (task_type, queue, days, "ValueError: no\nTraceback"),
        ).fetchone()
    assert row is not None
    return int(row[0])


def dead_ids(dsn: str, *options: str) -> list[int]:
    return [task["id"] for task in pgsched("dead", "list", *options, "--json", dsn=dsn).json()]


def test_dead_list_shows_the_latest_first_with_the_first_line_of_the_error(dsn: str) -> None:
    older, newer = dead_task(dsn, days=2), dead_task(dsn)
    _header, *rows = pgsched("dead", "list", dsn=dsn).stdout.splitlines()
    assert [row.split()[0] for row in rows] == [str(newer), str(older)]
    assert rows[0].endswith("ValueError: no")


def test_dead_list_filters(dsn: str) -> None:
    mail, other = dead_task(dsn, queue="mail"), dead_task(dsn, "digest")
    assert dead_ids(dsn, "--queue", "mail") == [mail]
    assert dead_ids(dsn, "--type", "digest") == [other]
    assert len(dead_ids(dsn, "--limit", "1")) == 1


def test_dead_retry_takes_what_matches(dsn: str) -> None:
    mail, other = dead_task(dsn, queue="mail"), dead_task(dsn)
    assert pgsched("dead", "retry", "--queue", "mail", "--yes", dsn=dsn).stdout == "1 dead task will run again\n"
    assert dead_ids(dsn) == [other]
    assert pgsched("task", "show", mail, "--json", dsn=dsn).json()["status"] == "pending"


def test_dead_purge_deletes_what_matches(dsn: str) -> None:
    dead_task(dsn, days=8)
    newer = dead_task(dsn, days=6)
    ended = pgsched("dead", "purge", "--older-than", "7d", "--yes", dsn=dsn)
    assert ended == Ended(0, "1 dead task deleted\n", "")
    assert dead_ids(dsn) == [newer]
    assert pgsched("dead", "purge", "--type", "greet", "--yes", dsn=dsn).stdout == "1 dead task deleted\n"


def test_dead_purge_refuses_an_age_it_cannot_read(dsn: str) -> None:
    ended = pgsched("dead", "purge", "--older-than", "old", dsn=dsn)
    assert ended.code == 1
    assert "old" in ended.error


def test_queue_is_paused_and_resumed(dsn: str) -> None:
    pgsched("task", "add", "greet", "--queue", "mail", dsn=dsn)

    def mail() -> dict[str, Any]:
        queues: list[dict[str, Any]] = pgsched("queue", "list", "--json", dsn=dsn).json()
        return next(queue for queue in queues if queue["name"] == "mail")

    assert mail()["paused"] is False
    assert pgsched("queue", "pause", "mail", dsn=dsn) == Ended(0, "queue mail: paused\n", "")
    assert mail()["paused"] is True
    assert "mail" in pgsched("queue", "list", dsn=dsn).stdout
    assert pgsched("queue", "resume", "mail", dsn=dsn) == Ended(0, "queue mail: resumed\n", "")
    assert mail()["paused"] is False


def test_worker_list_shows_the_registered_workers(dsn: str) -> None:
    assert pgsched("worker", "list", dsn=dsn).stdout.startswith("no workers")
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            "insert into pgsched.workers (id, hostname, pid, queues, task_types, concurrency, lease)"
            " values (gen_random_uuid(), 'here', 42, '{mail,default}', '{greet}', 20, '30 s')"
        )
    assert "mail, default" in pgsched("worker", "list", dsn=dsn).stdout
    (worker,) = pgsched("worker", "list", "--json", dsn=dsn).json()
    assert (worker["hostname"], worker["pid"], worker["queues"]) == ("here", 42, ["mail", "default"])


def test_stats_are_an_object(dsn: str) -> None:
    pgsched("task", "add", "greet", dsn=dsn)
    assert isinstance(pgsched("stats", "--json", dsn=dsn).json(), dict)
    assert pgsched("stats", dsn=dsn).code == 0


@pytest.mark.parametrize("command", [("task",), ("dead",), ("queue",), ("worker",)])
def test_empty_list_is_an_empty_array_for_programs(dsn: str, command: tuple[str, ...]) -> None:
    assert json.loads(pgsched(*command, "list", "--json", dsn=dsn).stdout) == []
