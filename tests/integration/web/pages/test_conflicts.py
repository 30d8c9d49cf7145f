"""Two people with the same form open: nobody undoes the other, and nothing that was typed is lost."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from pgsched.client.client import Client
from pgsched.web.dashboard import task as task_pages
from tests.support.engine import engine
from tests.support.pages import Page, form_of
from tests.support.tables import database, insert_task, task_row
from tests.support.web_face import web


def sent_of(text: str) -> dict[str, str]:
    """The fields of the form on a page as a browser sends them, with those that nobody sees."""
    page = Page(text)
    hidden = [e for e in page.all("input") if "main" in e.inside and e.attributes.get("type") == "hidden"]
    return form_of(page) | {e.attributes["name"]: e.attributes["value"] for e in hidden}


async def form(http: httpx.AsyncClient, path: str) -> dict[str, str]:
    """The fields of a form as a browser sends them."""
    answer = await http.get(path)
    assert answer.status_code == 200
    return sent_of(answer.text)


def choices(page: Page) -> list[str]:
    """The fields that somebody must decide about."""
    return sorted({e.attributes["name"] for e in page.all("input") if e.attributes.get("name", "").startswith("take.")})


async def test_saves_of_two_people_that_changed_different_fields_are_both_kept(dsn: str) -> None:
    with database(dsn) as connection:
        task_id = insert_task(connection, cron_expression="0 8 * * *", priority=5)
        async with web(dsn) as http:
            mine = await form(http, f"/tasks/{task_id}/edit")
            theirs = await form(http, f"/tasks/{task_id}/edit")
            assert (await http.post(f"/tasks/{task_id}/edit", data=theirs | {"priority": "9"})).status_code == 303
            assert (await http.post(f"/tasks/{task_id}/edit", data=mine | {"name": "mine"})).status_code == 303
        row = task_row(connection, task_id)
        assert (row["priority"], row["task_name"]) == (9, "mine")


async def test_field_that_both_changed_is_asked_about_and_the_choice_is_saved(dsn: str) -> None:
    with database(dsn) as connection:
        task_id = insert_task(connection, priority=5, payload='{"a": 1, "b": 2}')
        async with web(dsn) as http:
            path = f"/tasks/{task_id}/edit"
            mine = await form(http, path)
            theirs = mine | {"priority": "9", "payload": '{\n  "a": 1,\n  "b": 3\n}', "tenant_id": "acme"}
            assert (await http.post(path, data=theirs)).status_code == 303
            mine |= {"priority": "1", "payload": '{\n  "a": 0,\n  "b": 2\n}', "name": "mine"}
            asked = await http.post(path, data=mine)
            assert asked.status_code == 409
            page = Page(asked.text)
            assert choices(page) == ["take.payload", "take.priority"]
            assert "<code>9</code>" in asked.text
            assert "<code>1</code>" in asked.text
            assert any(e.text == 'theirs "b": 3' for e in page.all("span"))
            # What was typed is still there, and what only they changed is theirs.
            again = sent_of(asked.text)
            assert (again["priority"], again["name"], again["tenant_id"]) == ("1", "mine", "acme")
            assert task_row(connection, task_id)["priority"] == 9
            again |= {"take.priority": "theirs", "take.payload": "yours"}
            assert (await http.post(path, data=again)).status_code == 303
        row = task_row(connection, task_id)
        assert (row["priority"], row["payload"], row["task_name"], row["tenant_id"]) == (
            9, {"a": 0, "b": 2}, "mine", "acme",
        )  # fmt: skip


async def test_third_edit_while_one_chooses_is_asked_about_again(dsn: str) -> None:
    with database(dsn) as connection, Client(dsn) as client:
        task_id = insert_task(connection, priority=5)
        async with web(dsn) as http:
            path = f"/tasks/{task_id}/edit"
            mine = (await form(http, path)) | {"priority": "1"}
            client.update(task_id, priority=9)
            again = sent_of((await http.post(path, data=mine)).text) | {"take.priority": "yours"}
            client.update(task_id, priority=8)
            assert (await http.post(path, data=again)).status_code == 409
        assert task_row(connection, task_id)["priority"] == 8


async def test_run_between_look_and_save_is_no_conflict(dsn: str) -> None:
    with database(dsn) as connection:
        task_id = insert_task(connection, repeat_interval="1 hour")
        connection.execute("update pgsched.tasks set next_run_at = now() where id = %s", (task_id,))
        async with web(dsn) as http:
            mine = await form(http, f"/tasks/{task_id}/edit")
            async with engine(dsn) as one:
                await one.claim()
                await one.run()
            saved = await http.post(f"/tasks/{task_id}/edit", data=mine | {"priority": "7"})
            assert saved.status_code == 303
        row = task_row(connection, task_id)
        assert (row["priority"], row["execution_count"]) == (7, 1)


async def test_edit_that_comes_between_reading_and_saving_is_compared_too(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two saves at the same moment: both have read the task before either writes."""
    with database(dsn) as connection:
        task_id = insert_task(connection, priority=5)
        both = asyncio.Barrier(2)
        plain, calls = task_pages.update_task, 0

        async def at_once(*given: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls <= 2:
                await both.wait()
            return await plain(*given, **options)

        monkeypatch.setattr(task_pages, "update_task", at_once)
        async with web(dsn) as http:
            path = f"/tasks/{task_id}/edit"
            mine = await form(http, path)
            answers = await asyncio.gather(
                http.post(path, data=mine | {"name": "mine", "priority": "1"}),
                http.post(path, data=mine | {"tenant_id": "theirs", "priority": "9"}),
            )
        assert sorted(one.status_code for one in answers) == [303, 409]
        row = task_row(connection, task_id)
        assert (row["priority"], row["task_name"], row["tenant_id"]) in ((1, "mine", None), (9, None, "theirs"))


async def test_settings_of_a_queue_are_merged_and_asked_about(dsn: str) -> None:
    with Client(dsn) as client:
        client.limit_queue("mail", concurrency=5)
        async with web(dsn) as http:
            path = "/queues/settings"
            mine = await form(http, f"{path}?queue=mail")
            client.limit_queue("mail", concurrency=7, rate=100)
            client.set_queue("mail", ordering="lifo")
            assert (await http.post(path, data=mine | {"events": "yes"})).status_code == 303
            asked = await http.post(path, data=mine | {"concurrency": "3"})
            assert (asked.status_code, choices(Page(asked.text))) == (409, ["take.concurrency"])
            again = sent_of(asked.text) | {"take.concurrency": "yours"}
            assert (await http.post(path, data=again)).status_code == 303
        queue = client.queue("mail")
        assert (queue.limits["concurrency"], queue.limits["rate"], queue.ordering) == (3, 100, "lifo")
        assert queue.events


async def test_days_of_a_calendar_are_asked_about(dsn: str) -> None:
    with Client(dsn) as client:
        client.set_calendar("holidays", ["12-25"])
        async with web(dsn) as http:
            mine = await form(http, "/calendars/edit?name=holidays")
            client.set_calendar("holidays", ["12-25", "12-26"])
            asked = await http.post("/calendars/edit", data=mine | {"days": "12-25\n01-01"})
            assert (asked.status_code, choices(Page(asked.text))) == (409, ["take.days"])
            assert [one.days for one in client.calendars()] == [["12-25", "12-26"]]
            again = sent_of(asked.text) | {"take.days": "yours"}
            assert (await http.post("/calendars/edit", data=again)).status_code == 303
        assert [sorted(one.days) for one in client.calendars()] == [["01-01", "12-25"]]
