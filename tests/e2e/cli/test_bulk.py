"""``pgsched task bulk``, ``task list`` with every filter, ``queue clear``."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pytest

from pgsched import Client
from pgsched.domain.task_filters import TaskFilters
from tests.support.commands import Ended, pgsched


def listed(dsn: str, *options: str) -> list[int]:
    return [task["id"] for task in pgsched("task", "list", *options, "--json", dsn=dsn).json()]


def test_bulk_changes_what_fits(dsn: str) -> None:
    with Client(dsn) as client:
        mine = [client.schedule("mail", queue="q", user_id="u1", delay=60) for _ in range(3)]
        other = client.schedule("mail", queue="q", user_id="u2", delay=60)
        told = pgsched("task", "bulk", "cancel", "--user", "u1", "--dry-run", dsn=dsn)
        assert told == Ended(0, "3 tasks would be cancelled\n", "")
        assert pgsched("task", "bulk", "cancel", "--user", "u1", "--yes", dsn=dsn) == Ended(
            0, "3 tasks cancelled\n", ""
        )
        assert [client.get(one).status for one in (*mine, other)] == ["cancelled"] * 3 + ["pending"]
        answer = pgsched("task", "bulk", "retry", "--user", "u1", "--yes", "--json", dsn=dsn).json()
        assert answer == {"action": "retry", "dry_run": False, "changed": 3, "more": False}


def test_bulk_asks_first(dsn: str) -> None:
    with Client(dsn) as client:
        client.schedule("mail", queue="q", delay=60)
    ended = pgsched("task", "bulk", "delete", "--queue", "q", dsn=dsn)
    assert ended.code == 2
    assert "Delete 1 tasks (queue q)?" in ended.error


def test_bulk_needs_a_filter(dsn: str) -> None:
    assert "must have a filter" in pgsched("task", "bulk", "delete", "--yes", dsn=dsn).error


def test_a_queue_is_cleared(dsn: str) -> None:
    with Client(dsn) as client:
        for _ in range(3):
            client.schedule("mail", queue="q")
        kept = client.schedule("mail")
        assert pgsched("queue", "clear", "q", "--yes", dsn=dsn).stdout == "queue q: 3 tasks deleted\n"
        assert [one.id for one in client.list_tasks()] == [kept]


def test_the_list_takes_every_filter(dsn: str) -> None:
    """Checked against the filters that Python and REST know."""
    options = set(re.findall(r"^\s+--([a-z-]+)", pgsched("task", "list", "--help", dsn=dsn).stdout, re.MULTILINE))
    called = {
        "ids": "id",
        "task_type": "type",
        "tenant_id": "tenant",
        "user_id": "user",
        "parent_id": "parent",
        "idempotency_key": "key",
        "locked_by": "worker",
        "query": "where",
    }
    of_queries = {"text", "label"}  # a word of a query stands for them
    wanted = {called.get(name, name).replace("_", "-") for name in TaskFilters.__optional_keys__ - of_queries}
    assert wanted <= options


@pytest.mark.parametrize(
    ("options", "columns"),
    [
        (("--user", "u"), {"user_id": "u"}),
        (("--tenant", "t"), {"tenant_id": "t"}),
        (("--created-by", "me"), {"created_by": "me"}),
        (("--key", "k"), {"idempotency_key": "k"}),
        (("--name", "DIGEST"), {"name": "weekly digest"}),
        (("--priority", "9"), {"priority": 9}),
        (("--concurrency-key", "c"), {"concurrency_key": "c"}),
        (("--due-after", "2040-01-01"), {"at": datetime(2041, 1, 1, tzinfo=UTC)}),
        (("--search", "needle"), {"payload": {"in": "a needle"}}),
        (("--payload", '{"in": 1}'), {"payload": {"in": 1, "and": 2}}),
        (("--queue", "a", "--queue", "b"), {"queue": "b"}),
        (("--tag", "red"), {"tags": ["red"]}),
    ],
)
def test_the_list_shows_only_what_fits(dsn: str, options: tuple[str, ...], columns: dict[str, Any]) -> None:
    with Client(dsn) as client:
        client.schedule("mail")
        fits = client.schedule("mail", columns.pop("payload", None), **columns)
    assert listed(dsn, *options) == [fits]


def test_pages_of_the_list_follow_each_other(dsn: str) -> None:
    with Client(dsn) as client:
        made = [client.schedule("mail") for _ in range(5)]
    first = listed(dsn, "--limit", "3")
    assert first == made[:1:-1]
    assert listed(dsn, "--limit", "3", "--before-id", str(first[-1])) == made[1::-1]
