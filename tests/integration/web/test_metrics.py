"""/metrics of the web face: the table's gauges, for who may have them, with no worker about."""

from __future__ import annotations

import psycopg
import pytest
from prometheus_client.parser import text_string_to_metric_families

from pgsched.db.migrations.runner import migrate
from pgsched.web import WebSettings, create_app
from tests.support.roles import login
from tests.support.tables import database, insert_task, set_dead
from tests.support.web_face import OPERATOR_TOKEN, PROTECTED, VIEWER_TOKEN, web

METRICS_TOKEN = "metrics-token-of-the-tests"
SCRAPED = WebSettings(viewer_token=VIEWER_TOKEN, operator_token=OPERATOR_TOKEN, metrics_token=METRICS_TOKEN)


def values(text: str) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_the_tables_gauges_are_told_without_a_worker(dsn: str) -> None:
    with database(dsn) as db:
        insert_task(db)
        set_dead(db, insert_task(db, queue="other"))
    async with web(dsn) as http:
        answer = await http.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    found = values(answer.text)
    assert found["pgsched_tasks", "default", "pending"] == found["pgsched_queue_due", "default"] == 1
    assert found["pgsched_tasks", "other", "dead"] == 1
    assert found["pgsched_workers",] == found["pgsched_schedules_stalled",] == 0
    assert found["pgsched_unhandled_due", "default", "mail"] == 1
    assert ("pgsched_slots",) not in found, "what only a worker knows is not made up"


async def test_who_asks_seldom_gets_fresh_counts(dsn: str) -> None:
    with database(dsn) as db:
        app = create_app(dsn)
        async with web(dsn, app=app) as http:
            assert ("pgsched_queue_due", "default") not in values((await http.get("/metrics")).text)
            insert_task(db)
            gauges = app.state.web.table_gauges
            gauges._text.forget()
            assert ("pgsched_queue_due", "default") not in values((await http.get("/metrics")).text), "from the cache"
            gauges._text.forget()
            gauges._gauges._renew_after = 0.0  # much later …
            gauges._gauges._scraped_at -= 10_000  # … the next one asks
            assert values((await http.get("/metrics")).text)["pgsched_queue_due", "default"] == 1


@pytest.mark.parametrize(
    ("settings", "token", "status"),
    [
        (PROTECTED, None, 401),
        (PROTECTED, "not-the-token-of-anybody", 401),
        (PROTECTED, METRICS_TOKEN, 401),
        (PROTECTED, VIEWER_TOKEN, 200),
        (SCRAPED, METRICS_TOKEN, 200),
        (SCRAPED, OPERATOR_TOKEN, 200),
        (SCRAPED, None, 401),
    ],
)
async def test_metrics_are_for_viewers_and_for_who_has_the_token_for_them(
    dsn: str, settings: WebSettings, token: str | None, status: int
) -> None:
    async with web(dsn, settings, token=token) as http:
        assert (await http.get("/metrics")).status_code == status


async def test_the_token_for_metrics_opens_nothing_else(dsn: str) -> None:
    async with web(dsn, SCRAPED, token=METRICS_TOKEN) as http:
        for path in ("/tasks", "/api/v1/tasks", "/api/v1/openapi.json"):
            refused = await http.get(path)
            assert (path, refused.status_code) == (path, 403)
        assert (await http.post("/api/v1/tasks", json={"task_type": "mail"})).status_code == 403
    async with web(dsn, SCRAPED) as http:
        refused = await http.post("/login", data={"token": METRICS_TOKEN})
        assert (refused.status_code, "set-cookie" in refused.headers) == (401, False)


async def test_other_machines_get_no_metrics_without_tokens(dsn: str) -> None:
    async with web(dsn, remote="10.0.0.9") as http:
        assert (await http.get("/metrics")).status_code == 403


async def test_a_database_that_is_away_is_told_by_503(dsn: str) -> None:
    async with web("postgresql://127.0.0.1:1/nowhere?connect_timeout=2") as http:
        answer = await http.get("/metrics")
    assert answer.status_code == 503


async def test_a_viewer_of_the_database_may_count(dsn: str) -> None:
    migrate(dsn, roles=True)
    with psycopg.connect(dsn) as connection:
        name = f"metrics_{connection.info.dbname}"
    with login(dsn, name, member_of="pgsched_viewer") as viewer_dsn:
        async with web(viewer_dsn) as http:
            answer = await http.get("/metrics")
    assert answer.status_code == 200, answer.text
    assert values(answer.text)["pgsched_workers",] == 0
