"""The examples: their servers and workers as processes of their own, asked over a socket."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.django_site import variables_of
from tests.support.processes import CHECKOUT, PgschedProcess
from tests.support.tables import database
from tests.support.waiting import wait_until

FASTAPI = CHECKOUT / "examples" / "fastapi_app"
TOKEN = "a-token-that-only-this-test-has"


def _asked(socket: Path) -> httpx.Client:
    return httpx.Client(transport=httpx.HTTPTransport(uds=str(socket)), base_url="http://localhost", timeout=15)


def _completed(http: httpx.Client, path: str, status: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        found: dict[str, Any] = http.get(path).json()
        return found if found["status"] == status else None

    found = wait_until(look, message=f"{path} is {status}")
    assert found is not None
    return found


@pytest.mark.slow
def test_django_site_places_orders_and_its_worker_confirms_them(empty_dsn: str, tmp_path: Path) -> None:
    env = variables_of(empty_dsn)
    socket = tmp_path / "http"
    with PgschedProcess(["migrate"], folder=tmp_path, name="migrate", env=env, module="manage") as migrating:
        assert migrating.wait() == 0, migrating.output
    with (
        PgschedProcess(
            ["pgsched_worker", "--concurrency", "5"], folder=tmp_path, name="worker", env=env, module="manage"
        ) as worker,
        PgschedProcess(
            ["site_of_orders.asgi:application", "--uds", str(socket)],
            folder=tmp_path,
            name="site",
            env=env,
            module="uvicorn",
        ) as site,
        _asked(socket) as http,
    ):
        site.wait_for_output("running on")
        worker.wait_for_output("worker_started")
        placed = http.post("/orders/", json={"buyer": "ada"})
        assert placed.status_code == 201, placed.text
        assert http.post("/orders/", json={"buyer": ""}).status_code == 400
        found = _completed(http, f"/results/{placed.json()['result']}/", "SUCCESSFUL")
        assert found["value"] == "confirmed to ada"
        assert http.get(f"/orders/{placed.json()['number']}/").json() == {"status": "confirmed"}
        assert worker.stop() == 0, worker.output
    with database(empty_dsn) as connection:
        rows = connection.execute("select task_type::text, queue::text from pgsched.tasks order by id").fetchall()
        assert [tuple(row.values()) for row in rows] == [("orders.sweep", "default"), ("orders.tasks.confirm", "mail")]
        row = connection.execute("select count(*) as orders from orders_order").fetchone()
        assert row == {"orders": 1}
    with PgschedProcess(["pgsched", "stats"], folder=tmp_path, name="stats", env=env, module="manage") as stats:
        assert stats.wait() == 0, stats.output
        assert "default" in stats.stdout


def test_fastapi_app_places_orders_and_shows_the_dashboard(dsn: str, tmp_path: Path) -> None:
    env = {"PYTHONPATH": os.pathsep.join([str(CHECKOUT), str(FASTAPI)]), "OPERATOR_TOKEN": TOKEN}
    socket = tmp_path / "http"
    with (
        PgschedProcess(
            ["main:api", "--uds", str(socket)], folder=tmp_path, name="api", dsn=dsn, env=env, module="uvicorn"
        ) as api,
        PgschedProcess(
            ["worker", "--app", "tasks:app", "--queue", "mail"], folder=tmp_path, name="worker", dsn=dsn, env=env
        ) as worker,
        _asked(socket) as http,
    ):
        api.wait_for_output("running on")
        worker.wait_for_output("worker_started")
        placed = http.post("/orders", json={"buyer": "ada"}).json()
        assert http.post("/orders", json={"buyer": ""}).status_code == 422
        found = _completed(http, f"/tasks/{placed['task']}", "completed")
        assert found["result"] == f"order {placed['number']} is confirmed to ada"
        assert http.get("/orders").json() == ["ada"]
        assert http.get("/tasks/404").status_code == 404
        assert http.get("/jobs/api/v1/tasks").status_code == 401
        listed = http.get("/jobs/api/v1/tasks", headers={"Authorization": f"Bearer {TOKEN}"})
        assert listed.status_code == 200, listed.text
        assert [task["id"] for task in listed.json()["items"]] == [placed["task"]]
        assert worker.stop() == 0, worker.output
        api.stop()  # uvicorn ends by the signal itself
        assert "Application shutdown complete" in api.output
