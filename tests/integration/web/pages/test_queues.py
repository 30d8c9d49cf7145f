"""The page of queues: what a queue may be told, and that each change leaves an entry in the audit log."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.support.pages import Page, form_of
from tests.support.tables import database, insert_task
from tests.support.web_face import OPERATOR_TOKEN, PROTECTED, VIEWER_TOKEN, notice_of, web

NAME = "a/b ?&#é"
"""A queue that is hard to name in an address."""
FORM = "/queues/settings"


def row_of(dsn: str, name: str = NAME) -> dict[str, Any] | None:
    with database(dsn) as connection:
        return connection.execute("select * from pgsched.queues where name = %s", (name,)).fetchone()


def noted(dsn: str) -> list[tuple[Any, ...]]:
    with database(dsn) as connection:
        rows = connection.execute("select action, queue, before, after from pgsched.audit_log order by id").fetchall()
    return [tuple(row.values()) for row in rows]


async def shown_form(client: Any, name: str = NAME) -> dict[str, str]:
    """The fields of the form as a browser shows them."""
    answer = await client.get(FORM, params={"queue": name})
    page = Page(answer.text)
    assert (answer.status_code, page.problems()) == (200, [])
    return form_of(page) | {"queue": name}


async def test_queue_is_paused_and_resumed(dsn: str) -> None:
    async with web(dsn) as client:
        for verb, paused in (("pause", True), ("pause", True), ("resume", False)):
            assert (await client.post(f"/queues/{verb}", data={"queue": NAME})).status_code == 303
            row = row_of(dsn)
            assert row is not None
            assert row["paused"] is paused
        assert (await client.post("/queues/stop", data={"queue": NAME})).status_code == 404
    assert noted(dsn) == [
        ("queue.pause", NAME, {"paused": False}, {"paused": True}),
        ("queue.resume", NAME, {"paused": True}, {"paused": False}),
    ]


async def test_how_long_finished_tasks_are_kept_is_set_by_the_form(dsn: str) -> None:
    async with web(dsn) as client:
        given = await shown_form(client)
        kept = {
            "retention": "7d", "retention_count": "100000", "dead_retention": "forever", "dead_retention_count": "0",
            "archive": "yes",
        }  # fmt: skip
        assert (await client.post(FORM, data=given | kept)).status_code == 303
        assert await shown_form(client) == given | kept
        for field, wrong in (("retention", "soon"), ("dead_retention_count", "-1"), ("archive", "maybe")):
            answer = await client.post(FORM, data=given | kept | {field: wrong})
            page = Page(answer.text)
            assert (answer.status_code, page.problems()) == (422, [])
            assert field in page.text
        emptied = dict.fromkeys(kept, "")
        assert (await client.post(FORM, data=given | emptied)).status_code == 303
        assert await shown_form(client) == given
    assert [entry[3] for entry in noted(dsn)] == [
        {
            "retention": "7 days", "retention_count": 100000, "dead_retention": "12000 mons",
            "dead_retention_count": 0, "archive": True,
        },
        dict.fromkeys(kept),
    ]  # fmt: skip


async def test_everything_that_a_queue_may_be_told_is_set_by_one_form(dsn: str) -> None:
    async with web(dsn) as client:
        given = await shown_form(client) | {
            "concurrency": "30", "concurrency_per_key": "2", "rate": "100", "rate_per_key": "10", "per": "1m30s",
            "ageing": "10m", "events": "yes",
        }  # fmt: skip
        answer = await client.post(FORM, data=given)
        assert (answer.status_code, answer.headers["location"]) == (303, "/queues")
        assert notice_of(answer) == "The settings of the queue were updated."
        row = row_of(dsn)
        assert row is not None
        limits = {"concurrency": 30, "concurrency_per_key": 2, "rate": 100, "rate_per_key": 10, "per": "00:01:30"}
        assert row["limits"] == limits
        assert (row["ordering"], row["ageing"], row["events"]) == ("fifo", timedelta(minutes=10), True)
        assert await shown_form(client) == given, "the form shows what was set"
        listed = Page((await client.get("/queues")).text)
        assert listed.problems() == []
        words = "30 at once, 2 at once per key, 100 starts per 1m30s, 10 starts per key per 1m30s"
        for text in (words, "10m", "on"):
            assert text in listed.text
        ((action, queue, before, after),) = noted(dsn)
        assert (action, queue) == ("queue.set", NAME)
        assert before == {"limits": {}, "ageing": None, "events": False}
        assert after == {"limits": limits, "ageing": "600 secs", "events": True}


async def test_form_saved_as_it_is_shown_changes_nothing(dsn: str) -> None:
    with database(dsn) as connection:
        connection.execute(
            "insert into pgsched.queues (name, limits, ageing, events) values (%s, %s, '1 day 2 hours', true)",
            (NAME, '{"rate": 3, "per": "1.5 seconds"}'),
        )
    before = row_of(dsn)
    async with web(dsn) as client:
        assert (await client.post(FORM, data=await shown_form(client))).status_code == 303
    assert (row_of(dsn), noted(dsn)) == (before, [])


async def test_field_that_is_changed_leaves_the_others(dsn: str) -> None:
    with database(dsn) as connection:
        connection.execute(
            "insert into pgsched.queues (name, limits, ordering, paused) values (%s, %s, 'lifo', true)",
            (NAME, '{"rate": 3, "per": "2 minutes"}'),
        )
    async with web(dsn) as client:
        await client.post(FORM, data=await shown_form(client) | {"rate": "4"})
        row = row_of(dsn)
        assert row is not None
        assert (row["limits"], row["ordering"], row["paused"]) == ({"rate": 4, "per": "00:02:00"}, "lifo", True)
        await client.post(FORM, data=await shown_form(client) | {"ordering": "fifo", "ageing": "1h"})
        await client.post(FORM, data=await shown_form(client) | {"rate": "", "per": "", "ageing": ""})
        row = row_of(dsn)
        assert row is not None
        assert (row["limits"], row["ordering"], row["ageing"]) == ({}, "fifo", None)
    assert [entry[0] for entry in noted(dsn)] == ["queue.set"] * 3


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"concurrency": "0"}, "concurrency must be a whole number between 1 and 1000000, got 0"),
        ({"concurrency": "many"}, "concurrency must be a whole number, got 'many'"),
        ({"rate": "1000001"}, "rate must be a whole number between 1 and 1000000, got 1000001"),
        ({"per": "1m"}, "per is the time of a rate: it needs rate or rate_per_key, got '1m' alone"),
        ({"rate": "5", "per": "soon"}, 'per: interval "soon" must be'),
        ({"rate": "5", "per": "40d"}, "per must be between 100 milliseconds and 31 days"),
        ({"ageing": "soon"}, 'ageing: interval "soon" must be'),
        ({"ageing": "0.5"}, "ageing must be between 1 second and 1000 years"),
        ({"ageing": "1m", "ordering": "lifo"}, "ageing needs the ordering fifo"),
        ({"ordering": "random"}, "ordering must be one of fifo, lifo, got 'random'"),
        ({"events": "maybe"}, "events must be yes or no, got 'maybe'"),
    ],
)
async def test_bad_input_is_told_in_one_line_and_nothing_is_lost(dsn: str, wrong: dict[str, str], told: str) -> None:
    async with web(dsn) as client:
        # What is right beside it is not done either, and stays in the form.
        given = {"concurrency_per_key": "7"} | wrong
        answer = await client.post(FORM, data=await shown_form(client) | given)
        page = Page(answer.text)
        assert (answer.status_code, page.problems()) == (422, [])
        (line,) = [e.text for e in page.all("p") if e.attributes.get("role") == "alert"]
        assert told in line
        again = form_of(page)
        kept = {name: again[name] for name in given if name not in ("ordering", "events")}
        assert kept == {name: text for name, text in given.items() if name not in ("ordering", "events")}
    assert (row_of(dsn), noted(dsn)) == (None, [])


@pytest.mark.parametrize("name", ["", "x" * 101, "a\0b"])
async def test_queue_that_cannot_be_is_refused(dsn: str, name: str) -> None:
    async with web(dsn) as client:
        shown = await client.get(FORM, params={"queue": name})
        saved = await client.post(FORM, data={"queue": name, "concurrency": "3"})
        paused = await client.post("/queues/pause", data={"queue": name})
    assert [one.status_code for one in (shown, saved, paused)] == [422] * 3
    assert noted(dsn) == []


async def test_viewer_sees_the_settings_and_no_form(dsn: str) -> None:
    with database(dsn) as connection:
        insert_task(connection, queue="mail")
        connection.execute("insert into pgsched.queues (name, limits) values ('mail', '{\"concurrency\": 3}')")
    async with web(dsn, PROTECTED, token=VIEWER_TOKEN) as client:
        page = Page((await client.get("/queues")).text)
        assert "3 at once" in page.text
        assert not [e for e in page.all("a") if FORM in e.attributes.get("href", "")]
        assert (await client.get(FORM, params={"queue": "mail"})).status_code == 403
    async with web(dsn, PROTECTED, token=OPERATOR_TOKEN) as client:
        page = Page((await client.get("/queues")).text)
        assert [e for e in page.all("a") if e.attributes.get("href") == f"{FORM}?queue=mail"]
