"""The audit log, as a page and at the API: filters, pages, and what differs in words."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pgsched.db.queries.audit import SCAN
from pgsched.web.dashboard.audit import PER_PAGE, Difference, differences
from tests.support.pages import Page
from tests.support.tables import database, insert_task
from tests.support.web_face import OPERATOR_TOKEN, PROTECTED, VIEWER_TOKEN, web

API = "/api/v1/audit"


def note(dsn: str, **columns: Any) -> int:
    """An entry; its id."""
    values = {"actor": "ann", "role": "operator", "action": "task.cancel", "task_id": None, "queue": None} | columns
    with database(dsn) as connection:
        row = connection.execute(
            """
            insert into pgsched.audit_log (actor, role, action, task_id, queue, before, after)
            values (%(actor)s, %(role)s, %(action)s, %(task_id)s, %(queue)s, %(before)s, %(after)s) returning id
            """,
            values | {name: json.dumps(values.get(name)) if values.get(name) else None for name in ("before", "after")},
        ).fetchone()
    assert row is not None
    return int(row["id"])


def rows_of(page: Page) -> list[str]:
    """The text of each row."""
    return [e.text for e in page.all("tr") if "data-row" in e.attributes]


async def test_change_is_shown_with_who_when_what_and_what_differs(dsn: str) -> None:
    with database(dsn) as connection:
        made = insert_task(connection)
    async with web(dsn, PROTECTED, token=OPERATOR_TOKEN, remote="10.0.0.9") as client:
        await client.post(
            f"/tasks/{made}/edit", data={"priority": "9", "name": "the <b>first</b>", "payload": '{"n": 1}'}
        )
        answer = await client.get("/audit")
    page = Page(answer.text)
    assert (answer.status_code, page.problems()) == (200, [])
    (row,) = rows_of(page)
    for text in (
        "operator",
        "10.0.0.9",
        "task.update",
        f"task {made}",
        "was 5 → now 9",
        "was none → now the <b>first</b>",
    ):
        assert text in row, row
    assert "payload now (changed)" in row
    assert "<b>first" not in answer.text
    assert f"/tasks/{made}" in [e.attributes.get("href") for e in page.all("a")]
    assert len(page.all("time")) == 1


def test_difference_takes_objects_apart_and_leaves_out_what_is_alike() -> None:
    before = {"limits": {"rate": 3, "per": "1 second"}, "paused": False, "tags": ["a"], "payload": "(changed)"}
    after = {"limits": {"rate": 4, "per": "1 second"}, "paused": True, "tags": [], "payload": "(changed)"}
    assert differences(before, after) == [
        Difference("limits.rate", "3", "4"),
        Difference("paused", "no", "yes"),
        Difference("tags", '["a"]', "none"),
        Difference("payload", None, "(changed)"),
    ]
    assert differences(None, {"status": "pending"}) == [Difference("status", None, "pending")]
    assert differences({"limits": {}}, {"limits": {"rate": 1}}) == [
        Difference("limits", "none", None),
        Difference("limits.rate", None, "1"),
    ]
    assert differences(None, None) == []


FILTERS = [
    ({"actor": "ann"}, [0, 1, 3]),
    ({"actor": "an"}, []),
    ({"action": "task.cancel"}, [0, 2]),
    ({"action": "task"}, [0, 1, 2]),
    ({"action": "tas"}, []),
    ({"action": "queue", "actor": "ann"}, [3]),
    ({"task_id": "7"}, [0, 1]),
    ({"task_id": "7", "action": "task.run"}, [1]),
    ({"queue": "a/b ?&#é"}, [3]),
    ({}, [0, 1, 2, 3]),
]


@pytest.mark.parametrize(("asked", "wanted"), FILTERS)
async def test_page_and_api_have_the_same_filters(dsn: str, asked: dict[str, str], wanted: list[int]) -> None:
    ids = [
        note(dsn, task_id=7),
        note(dsn, task_id=7, action="task.run"),
        note(dsn, task_id=8, actor="bob"),
        note(dsn, action="queue.pause", queue="a/b ?&#é"),
    ]
    expected = [ids[at] for at in reversed(wanted)]
    async with web(dsn) as client:
        told = (await client.get(API, params=asked)).json()
        assert [entry["id"] for entry in told["items"]] == expected
        page = Page((await client.get("/audit", params=asked)).text)
        assert len(rows_of(page)) == len(expected)
        fields = {e.attributes["name"]: e.attributes.get("value") for e in page.all("input") if "name" in e.attributes}
        assert {name: fields[name] for name in asked} == asked


async def test_pages_go_through_all_of_it_once(dsn: str) -> None:
    ids = [note(dsn, task_id=number + 1, actor="ann" if number % 2 else "bob") for number in range(PER_PAGE * 2 + 20)]
    seen: list[int] = []
    async with web(dsn) as client:
        path: str | None = "/audit?actor=ann"
        sizes = []
        while path is not None:
            page = Page((await client.get(path)).text)
            links = [e.attributes["href"] for e in page.all("a") if e.attributes.get("href", "").startswith("/tasks/")]
            sizes.append(len(links))
            seen += [int(one.removeprefix("/tasks/")) for one in links]
            path = next((e.attributes["href"] for e in page.all("a") if e.attributes.get("rel") == "next"), None)
    assert seen == [number + 1 for number in range(len(ids)) if number % 2][::-1]
    assert sizes[0] == PER_PAGE


async def test_page_that_has_looked_far_enough_says_so(dsn: str) -> None:
    wanted = note(dsn, actor="ann")
    with database(dsn) as connection:
        connection.execute("select setval(pg_get_serial_sequence('pgsched.audit_log', 'id'), %s)", (wanted + SCAN,))
    note(dsn, actor="bob")
    async with web(dsn) as client:
        page = Page((await client.get("/audit?actor=ann")).text)
        assert "No matching changes so far" in page.text
        (further,) = [e for e in page.all("a") if e.attributes.get("rel") == "next"]
        assert further.text == "Search older →"
        assert len(rows_of(Page((await client.get(further.attributes["href"])).text))) == 1
        told = (await client.get(API, params={"actor": "ann"})).json()
        assert told["items"] == []
        told = (await client.get(API, params={"actor": "ann", "cursor": told["next_cursor"]})).json()
        assert [entry["id"] for entry in told["items"]] == [wanted]
        assert told["next_cursor"] is None


@pytest.mark.parametrize(
    ("query", "rule"),
    [
        ("task_id=x", "task_id must be a whole number, got 'x'"),
        ("task_id=0", "task_id must be a whole number from 1 on, got 0"),
        ("before=0", "before_id must be a whole number from 1 on, got 0"),
        ("actor=a%00b", "actor must be text without the character"),
    ],
)
async def test_filter_that_makes_no_sense_is_told(dsn: str, query: str, rule: str) -> None:
    async with web(dsn) as client:
        answer = await client.get(f"/audit?{query}")
        page = Page(answer.text)
        assert (answer.status_code, page.problems()) == (422, [])
        assert rule in page.text


async def test_it_is_for_operators_and_linked_for_them(dsn: str) -> None:
    with database(dsn) as connection:
        made = insert_task(connection)
    async with web(dsn, PROTECTED, token=VIEWER_TOKEN) as client:
        assert (await client.get("/audit")).status_code == 403
        for path in ("/", f"/tasks/{made}"):
            assert "/audit" not in (await client.get(path)).text
    async with web(dsn, PROTECTED, token=OPERATOR_TOKEN) as client:
        page = Page((await client.get("/")).text)
        assert "/audit" in [e.attributes.get("href") for e in page.all("a") if "nav" in e.inside]
        page = Page((await client.get(f"/tasks/{made}")).text)
        assert f"/audit?task_id={made}" in [e.attributes.get("href") for e in page.all("a")]
