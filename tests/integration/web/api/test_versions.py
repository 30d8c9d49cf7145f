"""ETag and If-Match: a change is made only of what its author has seen."""

from __future__ import annotations

import asyncio

import pytest

from pgsched.client.client import Client
from pgsched.web import WebSettings
from tests.support.engine import engine
from tests.support.tables import database, insert_task, set_dead, task_row
from tests.support.web_face import OPERATOR_TOKEN, VIEWER_TOKEN, web

API = "/api/v1"


async def test_edit_with_the_tag_that_was_read_is_made_and_a_second_one_is_refused(dsn: str) -> None:
    with database(dsn) as connection:
        task_id = insert_task(connection, scheduled_for="2040-01-01")
        async with web(dsn) as http:
            url = f"{API}/tasks/{task_id}"
            read = await http.get(url)
            tag = read.headers["etag"]
            assert tag == f'"{read.json()["version"]}"'
            edited = await http.patch(url, json={"priority": 9}, headers={"If-Match": tag})
            assert edited.status_code == 200
            assert edited.headers["etag"] == (await http.get(url)).headers["etag"] != tag
            refused = await http.patch(url, json={"priority": 1}, headers={"If-Match": tag})
            assert refused.status_code == 412
            assert refused.headers["content-type"] == "application/problem+json"
            assert refused.json()["field"] == "If-Match"
            assert refused.json()["detail"].startswith(f"somebody else has changed task {task_id}: the version is now ")
            gone = await http.delete(url, headers={"If-Match": edited.headers["etag"]})
            assert gone.status_code == 204


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ("*", 200),
        ('"{version}"', 200),
        ('"another", "{version}"', 200),
        ('W/"{version}"', 412),  # a weak tag never matches: RFC 9110, 13.1.1
        ('"another"', 412),
        ('""', 412),
        ("{version}", 422),
        ('"a" "b"', 422),
        ("", 422),
    ],
)
async def test_if_match_is_read_as_the_standard_says(dsn: str, header: str, status: int) -> None:
    with database(dsn) as connection, Client(dsn) as client:
        task_id = insert_task(connection, scheduled_for="2040-01-01")
        sent = {"If-Match": header.replace("{version}", client.version(task_id))}
        async with web(dsn) as http:
            for method, path, body in (("PATCH", "", {"priority": 9}), ("POST", "/disable", None)):
                sent = {"If-Match": header.replace("{version}", client.version(task_id))}
                answer = await http.request(method, f"{API}/tasks/{task_id}{path}", json=body, headers=sent)
                assert answer.status_code == status, answer.text
            sent = {"If-Match": header.replace("{version}", client.version(task_id))}
            answer = await http.delete(f"{API}/tasks/{task_id}", headers=sent)
            assert answer.status_code == (204 if status == 200 else status)


async def test_tag_of_a_schedule_stays_while_it_runs(dsn: str) -> None:
    with database(dsn) as connection:
        task_id = insert_task(connection, repeat_interval="1 hour")
        connection.execute("update pgsched.tasks set next_run_at = now() where id = %s", (task_id,))
        async with web(dsn) as http:
            url = f"{API}/tasks/{task_id}"
            tag = (await http.get(url)).headers["etag"]
            async with engine(dsn) as one:
                await one.claim()
                await one.run()
            assert (await http.patch(url, json={"priority": 9}, headers={"If-Match": tag})).status_code == 200
        assert task_row(connection, task_id)["execution_count"] == 1


async def test_of_ten_edits_at_once_with_the_same_tag_one_is_made(dsn: str) -> None:
    with database(dsn) as connection:
        task_id = insert_task(connection, scheduled_for="2040-01-01")
        async with web(dsn) as http:
            url = f"{API}/tasks/{task_id}"
            tag = (await http.get(url)).headers["etag"]
            edits = (http.patch(url, json={"tags": [str(n)]}, headers={"If-Match": tag}) for n in range(10))
            answers = await asyncio.gather(*edits)
        assert sorted(one.status_code for one in answers) == [200] + [412] * 9


async def test_dead_task_that_was_edited_is_not_retried_by_who_has_not_seen_it(dsn: str) -> None:
    with database(dsn) as connection, Client(dsn) as client:
        task_id = insert_task(connection)
        set_dead(connection, task_id)
        tag = f'"{client.version(task_id)}"'
        client.update(task_id, {"a": 1})
        async with web(dsn) as http:
            refused = await http.post(f"{API}/tasks/{task_id}/retry", headers={"If-Match": tag})
        assert refused.status_code == 412
        assert task_row(connection, task_id)["status"] == "dead"


async def test_queues_settings_and_calendars_have_tags(dsn: str) -> None:
    async with web(dsn) as http:
        calendar = f"{API}/calendars/holidays"
        assert (await http.put(calendar, json={"days": ["12-25"]}, headers={"If-Match": "*"})).status_code == 412
        made = await http.put(calendar, json={"days": ["12-25"]})
        assert (made.status_code, made.headers["etag"]) == (201, (await http.get(calendar)).headers["etag"])
        for url, method, path, body, other in (
            (calendar, "PUT", "", {"days": ["12-26"]}, {"days": []}),
            (f"{API}/queues/mail/settings", "PATCH", "", {"events": True}, {"ordering": "lifo"}),
            (f"{API}/queues/sms/settings", "PUT", "/../limits", {"concurrency": 1}, {"concurrency": 2}),
            (f"{API}/settings", "PATCH", "", {"retention": "7d"}, {"archive": True}),
        ):
            target = url.removesuffix("/settings") + "/limits" if path else url
            tag = {"If-Match": (await http.get(url)).headers["etag"]}
            changed = await http.request(method, target, json=body, headers=tag)
            assert changed.status_code == 200, changed.text
            assert changed.headers["etag"] == (await http.get(url)).headers["etag"] != tag["If-Match"]
            assert (await http.request(method, target, json=other, headers=tag)).status_code == 412
        tag = {"If-Match": (await http.get(f"{API}/queues/mail/settings")).headers["etag"]}
        assert (await http.post(f"{API}/queues/mail/pause")).status_code == 200
        # Whether it is paused is no setting: nobody's edit of those is undone by a pause.
        settings = await http.patch(f"{API}/queues/mail/settings", json={"events": False}, headers=tag)
        assert settings.status_code == 200
        assert (await http.delete(calendar, headers={"If-Match": made.headers["etag"]})).status_code == 412
        assert (await http.delete(calendar, headers={"If-Match": "*"})).status_code == 204
        assert (await http.get(calendar)).status_code == 404


async def test_viewer_from_whom_payloads_are_hidden_gets_no_tag_to_guess_them_by(dsn: str) -> None:
    settings = WebSettings(viewer_token=VIEWER_TOKEN, operator_token=OPERATOR_TOKEN, hide_payloads=True)
    with database(dsn) as connection:
        task_id = insert_task(connection, payload='{"pin": 1234}')
    async with web(dsn, settings, token=VIEWER_TOKEN) as http:
        read = await http.get(f"{API}/tasks/{task_id}")
        assert "etag" not in read.headers
        assert read.json()["version"] is None
        assert "etag" not in (await http.get(f"{API}/queues/mail/settings")).headers
