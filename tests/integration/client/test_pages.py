"""Lists come in pages that follow each other by one cursor, at every face; and take the same filters."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from pgsched import Client, InvalidTask
from tests.support.commands import pgsched
from tests.support.tables import set_dead
from tests.support.web_face import web

API = "/api/v1"
Database = psycopg.Connection[dict[str, Any]]

LISTS: dict[str, tuple[Callable[..., Any], tuple[str, ...], str]] = {
    "tasks": (Client.list_tasks, ("task", "list"), "/tasks"),
    "dead": (Client.dead, ("dead", "list"), "/dead"),
    "upcoming": (Client.upcoming, ("task", "upcoming"), "/upcoming"),
}


@pytest.fixture
def five(client: Client, db: Database) -> list[int]:
    """Dead ones and later ones."""
    made = [client.schedule("mail", queue="q") for _ in range(5)]
    for hours, one in enumerate(made):
        set_dead(db, one, ago=f"{hours} hours")
    for hours in range(1, 6):
        client.schedule("mail", queue="later", delay=3600 * hours)
    return made


def pages(read: Callable[..., Any]) -> list[list[int]]:
    """The ids of each page."""
    found, cursor = [], None
    while True:
        page = read(limit=2, **({} if cursor is None else {"cursor": cursor}))
        found.append([one.id for one in page])
        cursor = page.next_cursor
        if cursor is None:
            return found


@pytest.mark.usefixtures("five")
@pytest.mark.parametrize("name", LISTS)
def test_pages_follow_each_other_by_their_cursors(client: Client, name: str) -> None:
    read, _, _ = LISTS[name]
    expected = [one.id for one in read(client)]
    found = pages(lambda **given: read(client, **given))
    assert [one for page in found for one in page] == expected
    assert all(len(page) == 2 for page in found[:-1])


@pytest.mark.usefixtures("five")
@pytest.mark.parametrize("name", LISTS)
async def test_a_cursor_is_the_same_at_every_face(dsn: str, client: Client, name: str) -> None:
    read, words, path = LISTS[name]
    first = read(client, limit=2)
    second = [one.id for one in read(client, limit=2, cursor=first.next_cursor)]
    async with web(dsn) as http:
        answer = (await http.get(f"{API}{path}?limit=2")).json()
        inner, _, mark = answer["next_cursor"].partition("~")
        assert (inner, len(mark)) == (first.next_cursor, 8), "REST's goes with its filters alone, too"
        answer = (await http.get(f"{API}{path}?limit=2&cursor={answer['next_cursor']}")).json()
        assert [one["id"] for one in answer["items"]] == second
    told = pgsched(*words, "--limit", "2", dsn=dsn)
    assert told.stderr == f"there may be more: --cursor {first.next_cursor}\n"
    listed = pgsched(*words, "--limit", "2", "--cursor", first.next_cursor, "--json", dsn=dsn).json()
    assert [one["id"] for one in listed] == second


def test_found_tasks_have_the_cursor_of_the_list(client: Client) -> None:
    for _ in range(3):
        client.schedule("mail")
    found, listed = client.find_tasks(limit=2), client.list_tasks(limit=2)
    assert found.next_cursor == listed.next_cursor
    assert len(client.find_tasks(limit=2, cursor=found.next_cursor).tasks) == 1


def test_the_attempts_at_a_task_come_in_pages(client: Client, db: Database) -> None:
    task = client.schedule("mail")
    db.execute(
        "insert into pgsched.executions (task_id, task_type, queue, attempt, fencing_token, status, started_at,"
        " finished_at, duration_ms) select %s, 'mail', 'default', i, i, 'failed', now(), now(), 1"
        " from generate_series(1, 5) i",
        (task,),
    )
    first = client.executions(task, limit=3)
    rest = client.executions(task, limit=3, cursor=first.next_cursor)
    assert [one.attempt for one in (*first, *rest)] == [5, 4, 3, 2, 1]
    assert rest.next_cursor is None


def test_a_place_and_a_cursor_exclude_each_other(client: Client) -> None:
    client.schedule("mail")
    cursor = client.list_tasks(limit=1).next_cursor
    with pytest.raises(InvalidTask, match="cursor excludes before_id"):
        client.list_tasks(cursor=cursor, before_id=3)
    with pytest.raises(InvalidTask, match="cursor must be the next_cursor of a response of this very list"):
        client.dead(cursor=cursor)


# Filters.


@pytest.mark.parametrize(
    ("filters", "columns"),
    [
        ({"user_id": "u"}, {"user_id": "u"}),
        ({"tenant_id": "t"}, {"tenant_id": "t"}),
        ({"created_by": "me"}, {"created_by": "me"}),
        ({"idempotency_key": "k"}, {"idempotency_key": "k"}),
        ({"name": "DIGEST"}, {"name": "weekly digest"}),
    ],
)
def test_the_list_takes_the_filters_of_the_search(
    client: Client, filters: dict[str, Any], columns: dict[str, Any]
) -> None:
    client.schedule("mail")
    fits = client.schedule("mail", **columns)
    assert [one.id for one in client.list_tasks(**filters)] == [fits]
    assert [one.id for one in client.find_tasks(**filters).tasks] == [fits]


def test_the_list_takes_dates(client: Client) -> None:
    client.schedule("mail")
    now = datetime.now(UTC)
    assert len(client.list_tasks(created_after=now - timedelta(hours=1))) == 1
    assert client.list_tasks(created_before=now - timedelta(hours=1)) == []


@pytest.mark.parametrize(
    ("filters", "options", "columns"),
    [
        ({"user_id": "u"}, ("--user", "u"), {"user_id": "u"}),
        ({"tenant_id": "t"}, ("--tenant", "t"), {"tenant_id": "t"}),
        ({"created_by": "me"}, ("--created-by", "me"), {"created_by": "me"}),
        ({"name": "DIGEST"}, ("--name", "DIGEST"), {"name": "weekly digest"}),
    ],
)
async def test_dead_letters_are_filtered_alike_at_every_face(
    dsn: str, client: Client, db: Database, filters: dict[str, Any], options: tuple[str, ...], columns: dict[str, Any]
) -> None:
    other, fits = client.schedule("mail"), client.schedule("mail", **columns)
    for one in (other, fits):
        set_dead(db, one)
    assert [one.id for one in client.dead(**filters)] == [fits]
    assert [one["id"] for one in pgsched("dead", "list", *options, "--json", dsn=dsn).json()] == [fits]
    async with web(dsn) as http:
        answer = await http.get(f"{API}/dead", params=filters)
        assert [one["id"] for one in answer.json()["items"]] == [fits]


async def test_dead_letters_are_filtered_by_when_they_died(dsn: str, client: Client, db: Database) -> None:
    old, young = client.schedule("mail"), client.schedule("mail")
    set_dead(db, old, ago="2 days")
    set_dead(db, young)
    yesterday = datetime.now(UTC) - timedelta(days=1)
    assert [one.id for one in client.dead(ended_after=yesterday)] == [young]
    assert [one.id for one in client.dead(ended_before=yesterday)] == [old]
    listed = pgsched("dead", "list", "--died-before", yesterday.isoformat(), "--json", dsn=dsn).json()
    assert [one["id"] for one in listed] == [old]
    async with web(dsn) as http:
        answer = await http.get(f"{API}/dead", params={"ended_after": yesterday.isoformat()})
        assert [one["id"] for one in answer.json()["items"]] == [young]
