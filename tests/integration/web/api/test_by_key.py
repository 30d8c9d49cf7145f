"""The REST API and the dashboard on a task that is named by its idempotency key."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest

from pgsched import Client
from pgsched.web import create_app
from pgsched.web.settings import WebSettings
from tests.support.tables import database
from tests.support.web_face import PROTECTED, VIEWER_TOKEN, web

API = "/api/v1"
BY_KEY = f"{API}/tasks/by-key"
KEYS = ("invoice-7", "17", "a/b", "a/cancel", "tree", "größe 5 % + ?#&", "😀", "%2F", "a//b/", "by-key/x", "x" * 500)


@pytest.mark.parametrize("key", KEYS)
async def test_any_key_is_one_part_of_a_path(dsn: str, key: str) -> None:
    quoted = quote(key, safe="")
    async with web(dsn) as http:
        made = await http.post(f"{API}/tasks", json={"task_type": "mail", "idempotency_key": key})
        id = made.json()["id"]
        for path in ("", "/tree"):
            found = await http.get(f"{BY_KEY}/{quoted}{path}")
            assert (found.status_code, found.json()["id"]) == (200, id)
        cancelled = await http.post(f"{BY_KEY}/{quoted}/cancel")
        assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")
        led = await http.get(f"/tasks/by-key/{quoted}")
        assert (led.status_code, led.headers["location"]) == (303, f"/tasks/{id}")


async def test_below_a_prefix_too(dsn: str) -> None:
    with Client(dsn) as client:
        id = client.schedule("mail", idempotency_key="a/b")
    async with web(dsn, WebSettings(path_prefix="/queue")) as http:
        assert (await http.get(f"/queue{BY_KEY}/a%2Fb")).json()["id"] == id
        assert (await http.get("/queue/tasks/by-key/a%2Fb")).headers["location"] == f"/queue/tasks/{id}"


async def test_what_is_done_by_id_is_done_by_key(dsn: str) -> None:
    async with web(dsn) as http:
        made = await http.post(f"{API}/tasks", json={"task_type": "mail", "idempotency_key": "a/b", "delay": "1h"})
        id = made.json()["id"]
        task = f"{BY_KEY}/a%2Fb"
        edited = await http.patch(task, json={"priority": 9})
        assert (edited.status_code, edited.json()["priority"]) == (200, 9)
        for verb in ("disable", "enable", "run", "cancel", "retry"):
            answer = await http.post(f"{task}/{verb}")
            assert (answer.status_code, answer.json()["id"]) == (200, id), verb
        for part in ("executions", "logs", "missed-ticks"):
            assert (await http.get(f"{task}/{part}")).status_code == 200, part
        assert (await http.delete(task)).status_code == 204
        assert (await http.get(f"{API}/tasks/{id}")).status_code == 404
    with database(dsn) as db:
        noted = db.execute("select distinct task_id from pgsched.audit_log").fetchall()
    assert noted == [{"task_id": id}]


async def test_unknown_key_is_named(dsn: str) -> None:
    async with web(dsn) as http:
        for answer in (
            await http.get(f"{BY_KEY}/no%2Fbody"),
            await http.post(f"{BY_KEY}/no%2Fbody/cancel"),
            await http.patch(f"{BY_KEY}/no%2Fbody", json={"priority": 1}),
        ):
            assert (answer.status_code, answer.json()["detail"]) == (
                404,
                "a task with the key 'no/body' does not exist",
            )
        page = await http.get("/tasks/by-key/no%2Fbody")
        assert page.status_code == 404
        assert "no/body" in page.text
        assert (await http.get(f"{BY_KEY}/{'x' * 501}")).status_code == 422


async def test_viewer_reads_by_key_and_changes_nothing(dsn: str) -> None:
    with Client(dsn) as client:
        client.schedule("mail", idempotency_key="k")
    async with web(dsn, PROTECTED, token=VIEWER_TOKEN) as http:
        assert (await http.get(f"{BY_KEY}/k")).status_code == 200
        assert (await http.post(f"{BY_KEY}/k/cancel")).status_code == 403
    async with web(dsn, PROTECTED) as http:
        assert (await http.get(f"{BY_KEY}/k")).status_code == 401


def test_description_has_each_route_of_a_task_by_its_key(dsn: str) -> None:
    paths: dict[str, Any] = create_app(dsn).openapi()["paths"]
    by_id = [path for path in paths if path.startswith(f"{API}/tasks/{{id}}")]
    assert len(by_id) >= 12
    for path in by_id:
        same = paths[path.replace("{id}", "by-key/{key}")]
        assert same.keys() == paths[path].keys()
        for verb, operation in same.items():
            parameter = next(one for one in operation["parameters"] if one["name"] == "key")
            assert (parameter["in"], "percent-encoded" in parameter["description"]) == ("path", True)
            assert not any(one["name"] == "id" for one in operation["parameters"])
            assert "404" in operation["responses"]
            assert operation.get("requestBody") == paths[path][verb].get("requestBody")


async def test_search_of_the_dashboard_leads_to_a_key(dsn: str) -> None:
    with Client(dsn) as client:
        id = client.schedule("mail", idempotency_key="invoice 7/a")
        digits = client.schedule("mail", idempotency_key="4711")
    async with web(dsn) as http:
        led = await http.get("/tasks", params={"q": 'key:"invoice 7/a"', "jump": "1"})
        assert (led.status_code, led.headers["location"]) == (303, f"/tasks/{id}")
        offered = await http.get("/tasks", params={"q": '"invoice 7/a"', "jump": "1"})
        assert (offered.status_code, f'<a href="/tasks/{id}">Task {id}</a> has this key' in offered.text) == (200, True)
        part = await http.get("/tasks", params={"q": "invoice", "jump": "1"})
        assert (part.status_code, f'href="/tasks/{id}"' in part.text) == (200, True)
        assert "has this key" not in part.text
        listed = await http.get("/tasks", params={"idempotency_key": "4711"})
        assert f'href="/tasks/{digits}"' in listed.text
        assert f'href="/tasks/{id}"' not in listed.text


async def test_making_a_task_says_what_became_of_it(dsn: str) -> None:
    body = {"task_type": "mail", "idempotency_key": "k", "cron_expression": "0 8 * * *", "priority": 7}
    async with web(dsn) as http:
        made = await http.post(f"{API}/tasks", json=body)
        same = await http.post(f"{API}/tasks", json=body)
        other = await http.post(
            f"{API}/tasks", json={"task_type": "mail", "idempotency_key": "k", "repeat_interval": "1h", "priority": 8}
        )
        without = await http.post(f"{API}/tasks", json={"task_type": "mail"})
    said = [
        (one.status_code, one.json()["outcome"], one.json()["differs"], one.headers["Pgsched-Outcome"])
        for one in (made, same, other, without)
    ]
    assert said == [
        (201, "created", [], "created"),
        (200, "existing", [], "existing"),
        (200, "existing", ["priority", "repeat_interval"], "existing"),
        (201, "created", [], "created"),
    ]
    assert other.json()["priority"] == 7
    with database(dsn) as db:
        noted = [row["action"] for row in db.execute("select action from pgsched.audit_log order by id")]
    assert noted == ["task.create", "task.create"]
