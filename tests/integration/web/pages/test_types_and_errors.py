"""Types and errors from what upkeep has counted: pages, REST, command line, and acts on all dead tasks of an error."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from pgsched.client.async_client import AsyncClient
from pgsched.client.client import Client
from pgsched.domain.errors import ErrorNotFound, InvalidTask
from pgsched.web import WebSettings
from tests.support.pages import Page
from tests.support.retained import finished
from tests.support.roll_ups import add_attempts, count_all
from tests.support.tables import database
from tests.support.web_face import OPERATOR_TOKEN, VIEWER_TOKEN, web

Database = psycopg.Connection[dict[str, Any]]
HIDING = WebSettings(viewer_token=VIEWER_TOKEN, operator_token=OPERATOR_TOKEN, hide_payloads=True)


def ago(**given: float) -> datetime:
    return datetime.now(UTC) - timedelta(**given)


async def some_history(dsn: str, db: Database) -> None:
    """Mail that fails more than yesterday, and a report that is slow."""
    db.execute('select pgsched.register(\'[{"task_type": "mail", "version": "2026.2"}]\')')
    add_attempts(db, 90, ended=ago(minutes=20), run=0.2)
    add_attempts(
        db, 10, ended=ago(minutes=20), status="failed", error="ValueError: order 17 is gone: sesame", task_id=500
    )
    add_attempts(db, 100, ended=ago(days=1, minutes=20), run=0.1)
    add_attempts(db, 2, ended=ago(minutes=20), task_type="report", queue="slow", run=30)
    await count_all(dsn)


async def test_types_stand_beside_the_day_before(dsn: str) -> None:
    with database(dsn) as db:
        await some_history(dsn, db)
    async with web(dsn) as face:
        page = Page((await face.get("/types")).text)
        rows = [row.text for row in page.all("tr")]
        assert rows[1].startswith("mail")
        assert "10.0 % was 0 %" in rows[1]
        assert "+87 %" not in rows[1]
        assert "+100 %" in rows[1] or "+99 %" in rows[1] or "×2" in rows[1], "it runs twice as long"
        slowest = Page((await face.get("/types?sort=run")).text)
        assert slowest.all("tr")[1].text.startswith("report")
        other = Page((await face.get("/types?queue=slow&within=7d&beside=week")).text)
        assert [row.text.split()[0] for row in other.all("tr")[1:]] == ["report"]
        assert (await face.get("/types?within=2h")).status_code == 422


async def test_one_page_has_the_numbers_of_a_type_and_its_register(dsn: str) -> None:
    with database(dsn) as db:
        await some_history(dsn, db)
    async with web(dsn) as face:
        for path in ("/types/type?name=mail", "/handlers/type?name=mail"):
            answer = await face.get(path)
            page = Page(answer.text)
            assert answer.status_code == 200
            assert not page.unbalanced
            words = " ".join(one.text for one in page.all("main"))
            assert "Throughput" in words
            assert "2026.2" in words
            assert "ValueError" in words
            assert len([one for one in page.all("svg") if one.attributes.get("class") == "chart"]) == 5
            assert [one.text for one in page.all("summary")][:2] == ["These charts as a table", "Histograms as a table"]
        unregistered = await face.get("/types/type?name=report")
        assert unregistered.status_code == 200
        assert "No handler of this type is registered" in unregistered.text
        assert (await face.get("/types/type?name=nobody")).status_code == 404


@pytest.mark.parametrize("within", ["1h", "6h", "24h", "7d", "30d"])
async def test_every_range_has_its_pages(dsn: str, within: str) -> None:
    with database(dsn) as db:
        await some_history(dsn, db)
    async with web(dsn) as face:
        for path in ("/types", "/types/type?name=mail", "/errors"):
            page = Page(
                (await face.get(path, params={"within": within, **({"name": "mail"} if "name" in path else {})})).text
            )
            assert "mail" in " ".join(one.text for one in page.all("main"))


async def test_messages_are_hidden_where_payloads_are(dsn: str) -> None:
    with database(dsn) as db:
        await some_history(dsn, db)
    async with web(dsn, HIDING, token=VIEWER_TOKEN) as face:
        found = (await face.get("/api/v1/errors")).json()
        assert found[0]["message"] is None
        assert found[0]["exception"] == "ValueError"
        for path in ("/errors", f"/errors/{found[0]['id']}", "/types/type?name=mail"):
            text = (await face.get(path)).text
            assert "ValueError" in text
            assert "sesame" not in text
        assert (await face.get(f"/errors/{found[0]['id']}/retry")).status_code == 403
        assert (await face.post(f"/api/v1/errors/{found[0]['id']}/retry", json={})).status_code == 403
    async with web(dsn, HIDING, token=OPERATOR_TOKEN) as face:
        assert "sesame" in (await face.get("/errors")).text


async def test_all_dead_tasks_of_an_error_are_retried_and_no_others(dsn: str) -> None:
    with database(dsn) as db:
        await some_history(dsn, db)
        same = [
            finished(db, status="dead", last_error=f"ValueError: order {n} is gone: sesame\n\nTrace") for n in (1, 2, 3)
        ]
        other = finished(db, status="dead", last_error="ValueError: order 1 is late")
        async with web(dsn) as face:
            (error, *_) = (await face.get("/api/v1/errors")).json()
            asks = await face.get(f"/errors/{error['id']}/retry")
            assert "3 dead tasks failed with it" in Page(asks.text).all("main")[0].text
            dry = await face.post(f"/api/v1/errors/{error['id']}/retry", json={"dry_run": True})
            assert dry.json() == {"number": 3}
            answer = await face.post(f"/errors/{error['id']}/retry")
            assert answer.status_code == 303
        found = db.execute("select id, status from pgsched.tasks order by id").fetchall()
        assert {row["id"] for row in found if row["status"] == "pending"} == set(same)
        assert {row["id"] for row in found if row["status"] == "dead"} == {other}
        (entry,) = db.execute("select * from pgsched.audit_log").fetchall()
        assert entry["action"] == "error.retry"
        assert entry["after"]["number"] == 3


async def test_all_dead_tasks_of_an_error_are_deleted(dsn: str) -> None:
    with database(dsn) as db:
        await some_history(dsn, db)
        for n in range(3):
            finished(db, status="dead", last_error=f"ValueError: order {n} is gone: sesame")
        other = finished(db, status="dead", last_error="ValueError: order 1 is late")
        async with web(dsn) as face:
            (error, *_) = (await face.get("/api/v1/errors")).json()
            assert (await face.post(f"/api/v1/errors/{error['id']}/delete", json={})).json() == {"number": 3}
            assert (await face.post("/api/v1/errors/other/delete", json={})).status_code in (404, 422)
            assert (await face.get("/api/v1/errors/ffff")).status_code == 404
        assert [row["id"] for row in db.execute("select id from pgsched.tasks").fetchall()] == [other]


async def test_clients_have_the_same(dsn: str) -> None:
    with database(dsn) as db:
        await some_history(dsn, db)
        dead = [finished(db, status="dead", last_error="ValueError: order 8 is gone: sesame") for _ in range(2)]
    with Client(dsn) as client:
        mail = client.type_stats("mail")[0]
        assert (mail.processed, mail.failed) == (100, 10)
        assert [one.task_type for one in client.type_stats(queue="slow")] == ["report"]
        assert client.type_stats("mail", ago="1d")[0].failed == 0
        assert sum(one.completed for one in client.type_history("mail")) == 90
        assert sum(one.runs for one in client.type_histogram("mail")) == 100
        now = datetime.now(UTC)
        assert [one.version for one in client.deployments(since=now - timedelta(hours=1), until=now)] == ["2026.2"]
        (error,) = client.errors()
        assert (error.exception, error.number, sum(error.trend), error.versions) == ("ValueError", 10, 10, [])
        told: list[int] = []
        assert client.count_dead_of_error(error.id) == 2
        assert client.count_dead_of_error(error.id, most=1) == 1
        assert client.retry_error(error.id, on_progress=told.append) == 2
        assert told == [2]
        assert all(client.get(id).status == "pending" for id in dead)
        with pytest.raises(ErrorNotFound):
            client.error("nothing")
        with pytest.raises(InvalidTask, match="within must be between 5 minutes and 400 days"):
            client.type_stats(within="1m")
    async with AsyncClient(dsn) as other:
        assert (await other.errors(within="1h", task_type="mail"))[0].number == 10
        assert (await other.counted_time()).counted_until is not None
