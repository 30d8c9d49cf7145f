"""What HTTP itself asks of an API: methods, types of content, keys that may be sent again, cursors, compression."""

from __future__ import annotations

import asyncio
import gzip
import json
from typing import Any

import pytest
from psycopg.types.json import Jsonb

from pgsched.web import WebSettings, create_app
from pgsched.web.static_files import IMMUTABLE, content_name
from tests.support.roll_ups import add_error
from tests.support.tables import WORKER, database, insert_task, set_dead, set_running
from tests.support.web_face import web

API = "/api/v1"
JSON = {"Content-Type": "application/json"}
PATHS = {path: methods for path, methods in create_app("").openapi()["paths"].items() if path.startswith(API)}


# Methods.


@pytest.mark.parametrize("path", PATHS)
async def test_every_route_answers_options_and_says_what_it_allows(dsn: str, path: str) -> None:
    url = path.replace("{id}", "1").replace("{name}", "mail").replace("{key}", "k")
    methods = {one.upper() for one in PATHS[path]} | {"OPTIONS"}
    methods |= {"HEAD"} if "GET" in methods else set()
    async with web(dsn) as http:
        answer = await http.options(url)
        assert answer.status_code == 204
        assert methods <= set(answer.headers["allow"].split(", "))
        refused = await http.request("TRACE", url)
        assert (refused.status_code, refused.headers["allow"]) == (405, answer.headers["allow"])


@pytest.mark.parametrize("path", [one for one in PATHS if "get" in PATHS[one]])
async def test_head_says_what_get_says_without_the_content(dsn: str, path: str) -> None:
    with database(dsn) as connection:
        task_id = insert_task(connection, idempotency_key="k")
        set_running(connection, task_id)
        connection.execute("insert into pgsched.calendars (name, days) values ('mail', '{12-25}')")
        connection.execute("insert into pgsched.saved_views (name, query, saved_by) values ('mail', 'a', 'ann')")
        connection.execute(
            "insert into pgsched.bulk_changes (action, filter, described, actor, role, starts_at)"
            " values ('run', '{}', '', 'ann', 'operator', now() + interval '1 day')"
        )
        add_error(connection, str(task_id))
    id = str(WORKER) if "/workers/{id}" in path else str(task_id)
    url = path.replace("{id}", id).replace("{name}", "mail").replace("{key}", "k")
    query = {"cron": "0 8 * * 1"} if path.endswith("/preview") else {}
    async with web(dsn) as http, asyncio.timeout(20):
        answer = await http.head(url, params=query)
        assert (answer.status_code, answer.content) == (200, b"")
        if not path.endswith("/events") or "{" in path:
            found = await http.get(url, params=query)
            same = ("content-type", "etag", "vary", "content-encoding")
            assert [answer.headers.get(name) for name in same] == [found.headers.get(name) for name in same]


async def test_pages_and_files_answer_head_and_options(dsn: str) -> None:
    async with web(dsn) as http, asyncio.timeout(20):
        for path in ("/", "/tasks", "/healthz", "/static/app.css", "/live"):
            head = await http.head(path)
            assert (head.status_code, head.content) == (200, b""), path
            assert "GET" in (await http.options(path)).headers["allow"]
        assert (await http.head("/nothing")).status_code == 404
        assert (await http.options("/nothing")).status_code == 404


# Bodies.


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/xml", ""])
async def test_body_that_is_not_said_to_be_json_is_refused(dsn: str, kind: str) -> None:
    async with web(dsn) as http:
        for path in ("/tasks", "/tasks/bulk", "/dead/retry"):
            headers = {"Content-Type": kind} if kind else {}
            answer = await http.post(API + path, content=b'{"task_type": "mail"}', headers=headers)
            assert answer.status_code == 415
            assert answer.headers["accept"] == "application/json"
            assert answer.json()["detail"].startswith("Content-Type must be application/json, got ")


async def test_other_names_of_json_are_taken_and_other_codings_are_not(dsn: str) -> None:
    body = json.dumps({"task_type": "mail"})
    async with web(dsn) as http:
        for kind in ("application/json; charset=utf-8", "Application/JSON", "application/vnd.example+json"):
            assert (await http.post(f"{API}/tasks", content=body, headers={"Content-Type": kind})).status_code == 201
        latin = {"Content-Type": "application/json; charset=latin-1"}
        assert (await http.post(f"{API}/tasks", content=body, headers=latin)).status_code == 415
        packed = JSON | {"Content-Encoding": "gzip"}
        answer = await http.post(f"{API}/tasks", content=gzip.compress(body.encode()), headers=packed)
        assert (answer.status_code, answer.json()["detail"]) == (415, "Content-Encoding must be identity, got 'gzip'")


@pytest.mark.parametrize(
    ("body", "field", "detail"),
    [
        (
            '{"task_type": "mail", "payload": {"order": [{"sum": 0.12345678901234567890}]}}',
            "payload.order[0].sum",
            "payload.order[0].sum must be a number that a double holds exactly, got 0.12345678901234567890; "
            "write it as text",
        ),
        (
            '{"task_type": "mail", "payload": {"n": 1e400}}',
            "payload.n",
            "payload.n must be a number that a double holds exactly, got 1e400; write it as text",
        ),
        (
            '{"task_type": "mail", "payload": {"n": NaN}}',
            "payload.n",
            "payload.n must be a number that a double holds exactly, got NaN; write it as text",
        ),
        (
            '{"task_type": "mail", "payload": {"a": {"b": 1, "c": 2, "b": 3}}}',
            "payload.a.b",
            "payload.a.b must be there once: an object has this key twice",
        ),
        (
            '{"task_type": "mail", "task_type": "sms"}',
            "task_type",
            "task_type must be there once: an object has this key twice",
        ),
    ],
)
async def test_what_readers_would_read_differently_is_refused(dsn: str, body: str, field: str, detail: str) -> None:
    async with web(dsn) as http:
        answer = await http.post(f"{API}/tasks", content=body, headers=JSON)
    assert answer.status_code == 422
    assert (answer.json()["field"], answer.json()["detail"]) == (field, detail)


async def test_numbers_that_are_exact_are_kept(dsn: str) -> None:
    body = '{"task_type": "mail", "payload": {"n": [0.1, 0.10, 1.5e3, 1e22, 0.1234567890123456, 36893488147419103233]}}'
    async with web(dsn) as http:
        answer = await http.post(f"{API}/tasks", content=body, headers=JSON)
    assert answer.status_code == 201, answer.text
    assert answer.json()["payload"]["n"] == [0.1, 0.1, 1500, 10**22, 0.1234567890123456, 36893488147419103233]


# Keys.


async def test_request_with_an_idempotency_key_may_be_sent_again(dsn: str) -> None:
    body = {"task_type": "mail", "payload": {"to": "ada"}, "delay": "1h"}
    async with web(dsn) as http:
        answers = await asyncio.gather(
            *(http.post(f"{API}/tasks", json=body, headers={"Idempotency-Key": '"order-17"'}) for _ in range(8))
        )
        assert sorted(one.status_code for one in answers) == [200] * 7 + [201]
        assert len({one.json()["id"] for one in answers}) == 1
        assert {one.json()["idempotency_key"] for one in answers} == {"order-17"}
        plain = await http.post(f"{API}/tasks", json=body, headers={"Idempotency-Key": "order-17"})
        assert plain.json()["id"] == answers[0].json()["id"]
        other = await http.post(
            f"{API}/tasks", json=body | {"payload": {"to": "bob"}}, headers={"Idempotency-Key": "order-17"}
        )
        assert (other.status_code, other.json()["field"]) == (422, "Idempotency-Key")
        assert "differs in payload: use another key for another request" in other.json()["detail"]
        group = {"name": "nightly", "steps": ["extract", "load"]}
        made = [await http.post(f"{API}/groups", json=group, headers={"Idempotency-Key": "night"}) for _ in range(2)]
        assert [one.status_code for one in made] == [201, 200]


@pytest.mark.parametrize(
    ("header", "more", "query"),
    [
        ("", {}, {}),
        ('"open', {}, {}),
        ("x" * 501, {}, {}),
        ("k", {"idempotency_key": "other"}, {}),
        ("k", {}, {"on_conflict": "update"}),
    ],
)
async def test_key_that_cannot_be_is_refused(
    dsn: str, header: str, more: dict[str, Any], query: dict[str, str]
) -> None:
    async with web(dsn) as http:
        answer = await http.post(
            f"{API}/tasks", json={"task_type": "mail"} | more, params=query, headers={"Idempotency-Key": header}
        )
        assert answer.status_code == 422, answer.text
        assert "Idempotency-Key" in answer.json()["detail"]
        assert (await http.get(f"{API}/tasks")).json()["items"] == []


# Cursors.


async def test_cursor_is_refused_with_other_filters(dsn: str) -> None:
    with database(dsn) as connection:
        for _ in range(3):
            set_dead(connection, insert_task(connection, "mail", queue="mail"))
            insert_task(connection, "mail", queue="mail", scheduled_for="2040-01-01")
    async with web(dsn) as http:
        for path, query, other in (
            ("/tasks", {"queue": "mail"}, {"queue": "mail", "status": "dead"}),
            ("/tasks", {"queue": "mail"}, {}),
            ("/dead", {"queue": "mail"}, {"task_type": "mail"}),
            ("/upcoming", {"queue": "mail", "within": "200000h"}, {"within": "200000h"}),
        ):
            page = (await http.get(API + path, params=query | {"limit": 1})).json()
            cursor = {"limit": 1, "cursor": page["next_cursor"]}
            following = await http.get(API + path, params=query | cursor)
            assert following.status_code == 200, following.text
            assert following.json()["items"] != page["items"]
            refused = await http.get(API + path, params=other | cursor)
            assert (refused.status_code, refused.json()["field"]) == (422, "cursor"), path
            assert "must be given with the filters that it was created with" in refused.json()["detail"]
        bulk = {"action": "cancel", "filter": {"queue": ["mail"]}, "limit": 1, "dry_run": True}
        told = (await http.post(f"{API}/tasks/bulk", json=bulk)).json()
        again = await http.post(
            f"{API}/tasks/bulk", json=bulk | {"filter": {"queue": ["sms"]}, "cursor": told["next_cursor"]}
        )
        assert again.status_code == 422


# Fields.


async def test_list_has_the_fields_that_are_asked_for_and_reads_no_others_that_are_large(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with database(dsn) as connection:
        for _ in range(5):
            insert_task(connection, payload=Jsonb({"text": "x" * 100_000}))
        set_dead(connection, insert_task(connection, payload=Jsonb({"text": "x" * 100_000})))
    async with web(dsn) as http:
        assert len((await http.get(f"{API}/tasks")).content) > 500_000
        for path in ("/tasks", "/tasks/1", "/dead"):
            small = await http.get(API + path, params={"fields": "id, status,idempotency_key"})
            found = small.json()
            for item in [found] if path == "/tasks/1" else found["items"]:
                assert list(item) == ["id", "status", "idempotency_key"]
            assert len(small.content) < 500
        with_payload = await http.get(f"{API}/tasks", params={"fields": "payload", "limit": 1})
        assert with_payload.json()["items"][0]["payload"]["text"] == "x" * 100_000
        wrong = await http.get(f"{API}/tasks", params={"fields": "id,nothing"})
        assert (wrong.status_code, wrong.json()["field"]) == (422, "fields")
        assert wrong.json()["detail"].endswith("got 'nothing'")

        # The database is not asked for them.
        from pgsched.db.query import Command

        asked = []
        plain = Command.without

        def noting(self: Any, columns: Any) -> Any:
            made = plain(self, columns)
            asked.append(made.statement)
            return made

        monkeypatch.setattr(Command, "without", noting)
        await http.get(f"{API}/tasks", params={"fields": "id,last_error"})
        (statement,) = asked
        assert "null as payload" in statement
        assert "d.payload" not in statement.partition("\nfrom ")[0]
        assert "d.last_error" in statement


# Compression, and files.


async def test_long_answers_are_compressed_for_who_takes_it(dsn: str) -> None:
    with database(dsn) as connection:
        for _ in range(20):
            insert_task(connection)
    async with web(dsn) as http:
        for path in (f"{API}/tasks", "/tasks", "/static/app.css"):
            packed = await http.get(path, headers={"Accept-Encoding": "gzip"})
            plain = await http.get(path, headers={"Accept-Encoding": "identity"})
            assert (packed.headers["content-encoding"], packed.headers["vary"]) == ("gzip", "Accept-Encoding")
            assert "content-encoding" not in plain.headers
            assert int(packed.headers["content-length"]) * 2 < len(plain.content)
        short = await http.get("/healthz", headers={"Accept-Encoding": "gzip"})
        assert "content-encoding" not in short.headers


async def test_files_have_a_path_that_names_their_content_and_are_kept(dsn: str) -> None:
    async with web(dsn, WebSettings(path_prefix="/jobs")) as http:
        html = (await http.get("/jobs/tasks")).text
        named = f"/jobs/static/{content_name()}/app.css"
        assert f'href="{named}"' in html
        kept = await http.get(named)
        assert (kept.status_code, kept.headers["cache-control"]) == (200, IMMUTABLE)
        # That of another version is served, so that an old page goes on, but not kept under the name of what it is not.
        old = await http.get("/jobs/static/0123456789ab/app.css")
        assert (old.content, old.headers["cache-control"]) == (kept.content, "no-cache")
        assert (await http.get(f"/jobs/static/{content_name()}/nothing")).headers["cache-control"] == "no-store"
        assert (await http.get(f"/jobs/static/{content_name()}/%2e%2e/app.py")).status_code == 404


async def test_description_says_how_to_get_in_and_where_it_is(dsn: str) -> None:
    async with web(dsn, WebSettings(path_prefix="/jobs")) as http:
        found = (await http.get(f"/jobs{API}/openapi.json")).json()
    assert found["servers"] == [{"url": "/jobs"}]
    assert found["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    assert found["security"] == [{"token": []}, {}]
    ids = [one["operationId"] for of_path in found["paths"].values() for one in of_path.values()]
    assert len(set(ids)) == len(ids)
    assert {"list_tasks", "create_task", "get_task", "cancel_task", "cancel_task_by_key"} <= set(ids)
    problems = [
        answer["content"]["application/problem+json"]["schema"]
        for of_path in found["paths"].values()
        for one in of_path.values()
        for code, answer in one["responses"].items()
        if code.startswith(("4", "5"))
    ]
    assert problems
    assert all(one == {"$ref": "#/components/schemas/Problem"} for one in problems)
    assert not [name for name in found["components"]["schemas"] if name.endswith("Shape")]


def refs(value: Any) -> set[str]:
    """Every reference in a description."""
    if isinstance(value, dict):
        own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return own.union(*(refs(one) for one in value.values()))
    return set().union(*(refs(one) for one in value)) if isinstance(value, list) else set()


def test_references_of_the_description_lead_somewhere() -> None:
    found = create_app("").openapi()
    names = {f"#/components/schemas/{name}" for name in found["components"]["schemas"]}
    assert refs(found) <= names
