"""Durable tasks by the REST API: steps, events, restarts; who may, and what the audit log says."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg

from pgsched import Client
from pgsched.testing import drain
from pgsched.web.settings import WebSettings
from tests.support.durable import order_app, waiting_order
from tests.support.tables import set_completed
from tests.support.web_face import OPERATOR_TOKEN, PROTECTED, VIEWER_TOKEN, web

API = "/api/v1"
Database = psycopg.Connection[dict[str, Any]]


def audit(db: Database) -> list[dict[str, Any]]:
    return db.execute("select action, task_id, before, after from pgsched.audit_log order by id").fetchall()


async def test_an_event_is_sent_and_read(client: Client, dsn: str, db: Database) -> None:
    task_id = client.schedule("order", {"order_id": 7}, idempotency_key="a/b")
    async with web(dsn) as http:
        first = await http.post(f"{API}/tasks/{task_id}/events/approved")
        second = await http.post(
            f"{API}/tasks/by-key/a%2Fb/events/approved", json={"payload": ["x", None], "event_key": "click"}
        )
        again = await http.post(f"{API}/tasks/{task_id}/events/approved", json={"payload": 2, "event_key": "click"})
        odd = await http.post(f"{API}/tasks/{task_id}/events/a%2Fb%20%C3%BC")
        assert [one.status_code for one in (first, second, again, odd)] == [201] * 4
        assert again.json() == second.json() != first.json()
        found = await http.get(f"{API}/tasks/by-key/a%2Fb/events")
        told = [(one["id"], one["name"], one["payload"], one["key"], one["consumed_at"]) for one in found.json()]
        assert told == [
            (first.json()["id"], "approved", None, None, None),
            (second.json()["id"], "approved", ["x", None], "click", None),
            (odd.json()["id"], "a/b ü", None, None, None),
        ]
    entry = audit(db)[1]
    assert entry == {
        "action": "task.emit",
        "task_id": task_id,
        "before": {},
        "after": {"event": "approved", "id": second.json()["id"], "key": "click"},
    }


async def test_what_is_recorded_and_awaited_is_read(client: Client, dsn: str) -> None:
    app, _ = order_app(dsn)
    task_id = await asyncio.to_thread(waiting_order, client, app)
    async with web(dsn) as http:
        steps = (await http.get(f"{API}/tasks/{task_id}/steps")).json()
        assert [(one["name"], one["key"], one["status"]) for one in steps] == [
            ("charge", "", "completed"),
            ("book", "a", "completed"),
            ("book", "b", "completed"),
            ("approved", "", "waiting"),
        ]
        task = (await http.get(f"{API}/tasks/{task_id}")).json()
        assert (task["awaits"], task["wakes_at"]) == (["event:approved"], steps[3]["wakes_at"])
        assert len((await http.get(f"{API}/tasks/{task_id}/steps?limit=2")).json()) == 2
        assert (await http.get(f"{API}/tasks/{task_id}/events")).json() == []
        for part in ("steps", "events"):
            assert (await http.get(f"{API}/tasks/99/{part}")).status_code == 404


async def test_a_restart_goes_on_from_a_step(client: Client, dsn: str, db: Database) -> None:
    app, _ = order_app(dsn)
    task_id = await asyncio.to_thread(waiting_order, client, app)
    async with web(dsn) as http:
        url = f"{API}/tasks/{task_id}/restart"
        answer = await http.post(url, json={"from_step": "book", "from_key": "b"})
        assert (answer.status_code, answer.json()["status"]) == (200, "pending")
        steps = (await http.get(f"{API}/tasks/{task_id}/steps")).json()
        assert [(one["name"], one["key"]) for one in steps] == [("charge", ""), ("book", "a")]
        assert (await http.post(url)).status_code == 200
        [first, second] = audit(db)
        assert first["action"] == "task.restart"
        assert first["before"]["status"] == "blocked"
        told = {name: first["after"][name] for name in ("status", "from_step", "from_key")}
        assert told == {"status": "pending", "from_step": "book", "from_key": "b"}
        assert "from_step" not in second["after"]
        missing = await http.post(url, json={"from_step": "nothing"})
        assert (missing.status_code, missing.json()["detail"]) == (
            409,
            f"task {task_id} has recorded no step: there is nothing to restart",
        )


async def test_what_cannot_be_is_refused_in_one_line(client: Client, dsn: str, db: Database) -> None:
    app, _ = order_app(dsn)
    waits, done = await asyncio.to_thread(waiting_order, client, app), client.schedule("order")
    set_completed(db, done)
    async with web(dsn) as http:
        for url, body, status, detail in (
            (f"{waits}/events/", None, 422, "name must have 1 to 200 characters, got 0"),
            (f"{waits}/events/a", {"event_key": ""}, 422, "event_key must have 1 to 500 characters, got 0"),
            (f"{waits}/events/a", {"other": 1}, 422, "other: Extra inputs are not permitted, got 1"),
            (f"{done}/events/a", None, 409, f"task {done} is completed: no wait of it can take event 'a'"),
            ("99/events/a", None, 404, "task 99 does not exist"),
            (f"{waits}/restart", {"from_step": "x"}, 404, f"task {waits} has recorded no step 'x'"),
            (f"{done}/restart", None, 409, f"task {done} is completed and cannot be restarted"),
            ("99/restart", None, 404, "task 99 does not exist"),
        ):
            answer = await http.post(f"{API}/tasks/{url}", json=body)
            assert (answer.status_code, answer.json()["detail"]) == (status, detail)
        large = await http.post(f"{API}/tasks/{waits}/events/a", json={"payload": "x" * 1_048_577})
        assert (large.status_code, large.json()["field"]) == (422, "payload")
    assert audit(db) == []


async def test_a_viewer_reads_and_changes_nothing(client: Client, dsn: str) -> None:
    app, _ = order_app(dsn)
    task_id = await asyncio.to_thread(waiting_order, client, app)
    client.emit(task_id, "secret", {"card": 4711})
    hiding = WebSettings(viewer_token=VIEWER_TOKEN, operator_token=OPERATOR_TOKEN, hide_payloads=True)
    async with web(dsn, PROTECTED, token=VIEWER_TOKEN) as http:
        assert (await http.post(f"{API}/tasks/{task_id}/events/approved")).status_code == 403
        assert (await http.post(f"{API}/tasks/{task_id}/restart")).status_code == 403
        assert (await http.get(f"{API}/tasks/{task_id}/events")).json()[0]["payload"] == {"card": 4711}
    async with web(dsn, hiding, token=VIEWER_TOKEN) as http:
        assert (await http.get(f"{API}/tasks/{task_id}/events")).json()[0]["payload"] is None
        assert (await http.get(f"{API}/tasks/{task_id}/steps")).json()[0]["result"] is None
    async with web(dsn, PROTECTED, token=OPERATOR_TOKEN) as http:
        assert (await http.post(f"{API}/tasks/{task_id}/events/approved")).status_code == 201
    await asyncio.to_thread(drain, app)
    assert client.get(task_id).status == "completed"
