from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import psycopg
import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from psycopg.rows import dict_row
from starlette.applications import Starlette
from starlette.routing import Mount

from pgsched.domain.errors import InvalidTask
from pgsched.web import WebSettings, create_app
from pgsched.web.auth.access import Operator, Viewer
from pgsched.web.auth.session import COOKIE
from pgsched.web.services.audit import audited
from tests.support.web_face import HOST, OPERATOR_TOKEN, PROTECTED, VIEWER_TOKEN, web

ORIGIN = {"Origin": HOST}
SAFE = {"GET", "HEAD", "OPTIONS"}
OPEN = {"/login", "/logout", "/healthz", "/readyz"}
"""Routes that ask for no token."""
READING = re.compile(r"/(preview|check|validate)$")
"""Routes that change nothing although their method may."""


def probed(dsn: str, settings: WebSettings | None = None) -> FastAPI:
    """The app with routes that say who asks, and one that cancels a task."""
    app = create_app(dsn, settings=settings or WebSettings())

    @app.get("/api/v1/probe")
    async def look(actor: Viewer) -> dict[str, Any]:
        return {"name": actor.name, "role": actor.role, "remote": actor.remote, "sees": actor.sees_payloads}

    @app.post("/api/v1/probe")
    async def change(actor: Operator) -> dict[str, Any]:
        return {"name": actor.name}

    @app.post("/api/v1/probe/{id}/cancel")
    async def cancel(id: int, actor: Operator, then_fail: bool = False) -> dict[str, Any]:
        async with audited(actor, "task.cancel", task_id=id) as change:
            await change.client.cancel(id)
            if then_fail:
                raise InvalidTask("must be between 1 and 10", field="priority", value=99)
        return {}

    @app.post("/api/v1/probe/{id}/payload")
    async def payload(id: int, actor: Operator) -> dict[str, Any]:
        async with audited(actor, "task.update", task_id=id) as change:
            await change.client.update(id, {"password": "hunter2"}, priority=9)
        return {}

    @app.get("/probe-crash")
    @app.get("/api/v1/probe-crash")
    async def crash(actor: Viewer) -> None:
        raise RuntimeError("a secret")

    return app


@pytest.fixture
def connection(dsn: str) -> Iterator[psycopg.Connection[dict[str, Any]]]:
    with psycopg.connect(dsn, autocommit=True, row_factory=dict_row) as one:
        yield one


# Without tokens.


async def test_whoever_sits_at_this_machine_is_an_operator(dsn: str) -> None:
    async with web(dsn, app=probed(dsn)) as http:
        assert (await http.get("/api/v1/probe")).json() == {
            "name": "local", "role": "operator", "remote": "127.0.0.1", "sees": True,
        }  # fmt: skip
        assert (await http.post("/api/v1/probe")).status_code == 200


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    ("remote", "headers"),
    [
        ("10.0.0.9", {}),
        ("127.0.0.1", {"Host": "evil.example:8080"}),  # its name was led here
        ("127.0.0.1", {"Host": "127.0.0.1.evil.example"}),
        ("127.0.0.1", {"Host": ""}),
        ("127.0.0.1", {"X-Forwarded-For": "10.0.0.9"}),
        ("127.0.0.1", {"Forwarded": "for=10.0.0.9"}),
    ],
)
async def test_nobody_else_is_served_without_tokens(
    dsn: str, remote: str, headers: dict[str, str], method: str
) -> None:
    async with web(dsn, app=probed(dsn), remote=remote, headers=headers) as http:
        refused = await http.request(method, "/api/v1/probe")
        assert refused.status_code == 403
        assert refused.headers["content-type"] == "application/problem+json"
        page = await http.get("/login")
        assert page.status_code == 403


@pytest.mark.parametrize("host", ["localhost:8080", "127.0.0.1", "[::1]:8080"])
async def test_every_name_of_this_machine_is_served(dsn: str, host: str) -> None:
    async with web(dsn, app=probed(dsn), headers={"Host": host}) as http:
        assert (await http.get("/api/v1/probe")).status_code == 200


# With tokens.


async def test_without_a_token_nothing_is_shown_on_this_machine_either(dsn: str) -> None:
    async with web(dsn, app=probed(dsn, PROTECTED)) as http:
        refused = await http.get("/api/v1/probe")
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, 'Bearer realm="pgsched"')
        page = await http.get("/")
        assert (page.status_code, page.headers["location"]) == (303, "/login")


@pytest.mark.parametrize(
    "header",
    [
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        f"Basic {OPERATOR_TOKEN}",
        OPERATOR_TOKEN,
        f"Bearer {OPERATOR_TOKEN}x",
        "Bearer \xff",
    ],
)
async def test_wrong_token_opens_nothing(dsn: str, header: str) -> None:
    async with web(dsn, app=probed(dsn, PROTECTED)) as http:
        refused = await http.get("/api/v1/probe", headers={"Authorization": header.encode("latin-1")})  # type: ignore[dict-item]
        assert refused.status_code == 401
        assert OPERATOR_TOKEN not in refused.text


async def test_viewer_looks_and_changes_nothing(dsn: str) -> None:
    async with web(dsn, app=probed(dsn, PROTECTED), token=VIEWER_TOKEN) as http:
        assert (await http.get("/api/v1/probe")).json()["role"] == "viewer"
        refused = await http.post("/api/v1/probe")
        assert (refused.status_code, refused.json()["detail"]) == (
            403, "changes need an operator's token, this is a viewer's",
        )  # fmt: skip


async def test_operator_looks_and_changes(dsn: str) -> None:
    async with web(dsn, app=probed(dsn, PROTECTED), token=OPERATOR_TOKEN, remote="10.0.0.9") as http:
        assert (await http.get("/api/v1/probe")).json()["role"] == "operator"
        assert (await http.post("/api/v1/probe")).status_code == 200


async def test_payloads_are_hidden_from_viewers_only(dsn: str) -> None:
    hiding = WebSettings(viewer_token=VIEWER_TOKEN, operator_token=OPERATOR_TOKEN, hide_payloads=True)
    for token, sees in ((VIEWER_TOKEN, False), (OPERATOR_TOKEN, True)):
        async with web(dsn, app=probed(dsn, hiding), token=token) as http:
            assert (await http.get("/api/v1/probe")).json()["sees"] is sees


# The login of people.


async def test_login_gives_a_cookie_that_scripts_and_other_sites_do_not_get(dsn: str) -> None:
    async with web(dsn, app=probed(dsn, PROTECTED)) as http:
        done = await http.post("/login", data={"token": OPERATOR_TOKEN, "name": "Ann"}, headers=ORIGIN)
        assert (done.status_code, done.headers["location"]) == (303, "/")
        cookie = done.headers["set-cookie"]
        assert {"HttpOnly", "SameSite=lax", "Path=/"} <= set(cookie.split("; "))
        assert OPERATOR_TOKEN not in cookie
        assert (await http.get("/api/v1/probe")).json()["name"] == "Ann"
        assert (await http.post("/api/v1/probe", headers=ORIGIN)).json() == {"name": "Ann"}


async def test_cookie_is_for_tls_only_where_there_is_tls(dsn: str) -> None:
    async with web(dsn, app=probed(dsn, PROTECTED), host="https://jobs.example") as http:
        done = await http.post("/login", data={"token": VIEWER_TOKEN}, headers={"Origin": "https://jobs.example"})
        assert "Secure" in done.headers["set-cookie"].split("; ")


async def test_wrong_token_is_told_on_the_page(dsn: str) -> None:
    async with web(dsn, app=probed(dsn, PROTECTED)) as http:
        refused = await http.post("/login", data={"token": "wrong", "name": "<script>"}, headers=ORIGIN)
        assert refused.status_code == 401
        assert "this token is not valid" in refused.text
        assert "<script>" not in refused.text
        assert "set-cookie" not in refused.headers


async def test_logout_takes_the_cookie_back(dsn: str) -> None:
    async with web(dsn, app=probed(dsn, PROTECTED)) as http:
        await http.post("/login", data={"token": VIEWER_TOKEN}, headers=ORIGIN)
        assert (await http.get("/api/v1/probe")).status_code == 200
        await http.post("/logout", headers=ORIGIN)
        assert COOKIE not in http.cookies
        assert (await http.get("/api/v1/probe")).status_code == 401


@pytest.mark.parametrize("headers", [{"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {}])
async def test_page_of_another_site_changes_nothing_with_our_cookie(dsn: str, headers: dict[str, str]) -> None:
    async with web(dsn, app=probed(dsn, PROTECTED)) as http:
        await http.post("/login", data={"token": OPERATOR_TOKEN}, headers=ORIGIN)
        assert (await http.post("/api/v1/probe", headers=ORIGIN)).status_code == 200
        assert (await http.post("/api/v1/probe", headers=headers)).status_code == 403


async def test_page_of_another_site_changes_nothing_without_tokens_either(dsn: str) -> None:
    async with web(dsn, app=probed(dsn)) as http:
        assert (await http.post("/api/v1/probe", headers={"Origin": "http://evil.example"})).status_code == 403


# Every route.


def routes(app: FastAPI) -> set[tuple[str, str]]:
    """Each method and path of the app, with numbers for what is left open in it."""
    found = set()
    for one in iter_route_contexts(app.routes):
        for method in one.methods or set():
            path = re.sub(r"\{[^}]*:uuid\}", str(UUID(int=1)), one.path or "")
            path = re.sub(r"\{[^}]*\}", "1", path)
            if method != "HEAD" and one.path not in OPEN and not (one.path or "").startswith("/static"):
                found.add((method, path))
    return found


async def unguarded(app: FastAPI, dsn: str) -> set[tuple[str, str]]:
    """The routes that answer without a token."""
    async with web(dsn, app=app) as http:
        return {
            (method, path)
            for method, path in routes(app)
            if (await http.request(method, path)).status_code not in (401, 303)
        }


async def changeable_by_viewers(app: FastAPI, dsn: str) -> set[tuple[str, str]]:
    """The routes that let a viewer change something."""
    async with web(dsn, app=app, token=VIEWER_TOKEN) as http:
        return {
            (method, path)
            for method, path in routes(app)
            if method not in SAFE and not READING.search(path)
            if (await http.request(method, path)).status_code != 403
        }


async def test_every_route_asks_for_a_token(dsn: str) -> None:
    app = create_app(dsn, settings=PROTECTED)
    assert ("GET", "/api/v1/openapi.json") in routes(app)
    assert await unguarded(app, dsn) == set()


async def test_no_route_lets_a_viewer_change_something(dsn: str) -> None:
    app = create_app(dsn, settings=PROTECTED)
    assert await changeable_by_viewers(app, dsn) == set()


async def test_route_that_forgets_to_ask_is_found(dsn: str) -> None:
    app = create_app(dsn, settings=PROTECTED)

    @app.get("/forgotten")
    async def forgotten() -> str:
        return "open"

    @app.delete("/too-weak")
    async def too_weak(actor: Viewer) -> str:
        return actor.role

    assert await unguarded(app, dsn) == {("GET", "/forgotten")}
    assert await changeable_by_viewers(app, dsn) == {("DELETE", "/too-weak")}


# What every answer has.


@pytest.mark.parametrize(
    "path", ["/login", "/api/v1/nothing", "/nothing", "/healthz", "/static/nothing", "/probe-crash"]
)
async def test_every_answer_has_the_headers(dsn: str, path: str) -> None:
    async with web(dsn, app=probed(dsn, PROTECTED), token=VIEWER_TOKEN) as http:
        headers = (await http.get(path)).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert "*" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["cache-control"] == "no-store"
    assert "access-control-allow-origin" not in headers


async def test_static_file_is_kept_and_asked_for_again(dsn: str) -> None:
    async with web(dsn, PROTECTED) as http:
        file = await http.get("/static/app.css")
        assert (file.status_code, file.headers["cache-control"]) == (200, "no-cache")
        again = await http.get("/static/app.css", headers={"If-None-Match": file.headers["etag"]})
        assert (again.status_code, again.headers["cache-control"]) == (304, "no-cache")
        assert (await http.get("/static/../app.py")).status_code in (404, 303)
        assert (await http.get("/static/%2e%2e/app.py")).status_code == 404


async def test_unknown_path_is_a_problem_in_the_api_and_a_page_elsewhere(dsn: str) -> None:
    async with web(dsn) as http:
        problem = await http.get("/api/v1/nothing")
        assert (problem.status_code, problem.headers["content-type"]) == (404, "application/problem+json")
        assert problem.json()["status"] == 404
        page = await http.get("/nothing/<script>")
        assert page.status_code == 404
        assert page.headers["content-type"].startswith("text/html")
        assert "<script>" not in page.text


async def test_error_that_nobody_expected_tells_nothing_and_is_logged(
    dsn: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async with web(dsn, app=probed(dsn)) as http:
        for path in ("/api/v1/probe-crash", "/probe-crash"):
            failed = await http.get(path)
            assert failed.status_code == 500
            assert "a secret" not in failed.text


async def test_query_is_not_logged_when_a_request_is_refused(dsn: str, capsys: pytest.CaptureFixture[str]) -> None:
    async with web(dsn, app=probed(dsn, PROTECTED)) as http:
        await http.get("/api/v1/probe?token=a-token-in-the-query")
    said = "".join(capsys.readouterr())
    assert "request_refused" in said
    assert "a-token-in-the-query" not in said


JSON = {"Content-Type": "application/json"}


async def test_body_that_is_too_long_is_refused_before_it_is_read(dsn: str) -> None:
    async def chunks() -> Any:
        for _ in range(17):
            yield b" " * 1024**2

    app = probed(dsn)

    @app.put("/api/v1/probe")
    async def put(actor: Operator, body: dict[str, Any]) -> None:
        raise AssertionError("it was read")

    async with web(dsn, app=app) as http:
        declared = await http.put("/api/v1/probe", content=b" " * (16 * 1024**2 + 1), headers=JSON)
        chunked = await http.put("/api/v1/probe", content=chunks(), headers=JSON)
    assert (declared.status_code, chunked.status_code) == (413, 413)


async def test_readiness_is_that_of_the_database(dsn: str, empty_dsn: str) -> None:
    async with web(dsn) as http:
        assert (await http.get("/readyz")).status_code == 200
    async with web(empty_dsn) as http:
        assert (await http.get("/readyz")).status_code == 503
        assert (await http.get("/healthz")).status_code == 200


# Below a prefix.


async def test_prefix_is_served_whether_a_proxy_takes_it_off_or_not(dsn: str) -> None:
    settings = WebSettings(path_prefix="/jobs", operator_token=OPERATOR_TOKEN)
    async with web(dsn, settings) as http:
        for path in ("/jobs/login", "/login"):
            page = await http.get(path)
            assert page.status_code == 200
            assert 'action="/jobs/login"' in page.text
        assert (await http.get("/jobs")).headers["location"] == "/jobs/login"
        done = await http.post("/jobs/login", data={"token": OPERATOR_TOKEN}, headers=ORIGIN)
        assert "Path=/jobs" in done.headers["set-cookie"].split("; ")


async def test_app_mounted_in_another_one_knows_where_it_is(dsn: str) -> None:
    inner = create_app(dsn, settings=PROTECTED)
    outer = Starlette(routes=[Mount("/tools/jobs", app=inner)])
    async with web(dsn, app=outer) as http:
        assert (await http.get("/tools/jobs/")).headers["location"] == "/tools/jobs/login"
        assert 'action="/tools/jobs/login"' in (await http.get("/tools/jobs/login")).text
        assert (await http.get("/tools/jobs/api/v1/nothing")).headers["content-type"] == "application/problem+json"
    await inner.state.web.close()


# The audit log.


async def test_change_is_noted_with_who_made_it_and_what_differs(
    dsn: str, connection: psycopg.Connection[dict[str, Any]]
) -> None:
    task = connection.execute("insert into pgsched.tasks (task_type) values ('mail') returning id").fetchone()
    assert task is not None
    async with web(dsn, app=probed(dsn, PROTECTED), token=OPERATOR_TOKEN, remote="10.0.0.9") as http:
        assert (await http.post(f"/api/v1/probe/{task['id']}/cancel")).status_code == 200
    (entry,) = connection.execute("select * from pgsched.audit_log").fetchall()
    assert (entry["actor"], entry["role"], entry["remote"]) == ("operator", "operator", "10.0.0.9")
    assert (entry["action"], entry["task_id"]) == ("task.cancel", task["id"])
    assert (entry["before"]["status"], entry["after"]["status"]) == ("pending", "cancelled")
    assert "priority" not in entry["before"]


async def test_audit_log_is_read_by_operators_page_by_page(
    dsn: str, connection: psycopg.Connection[dict[str, Any]]
) -> None:
    ids = [
        row["id"]
        for row in connection.execute(
            "insert into pgsched.tasks (task_type) select 'mail' from generate_series(1, 3) returning id"
        )
    ]
    async with web(dsn, app=probed(dsn, PROTECTED), token=OPERATOR_TOKEN) as http:
        for task_id in ids:
            await http.post(f"/api/v1/probe/{task_id}/cancel")
        first = (await http.get("/api/v1/audit?limit=2")).json()
        second = (await http.get("/api/v1/audit", params={"limit": 2, "cursor": first["next_cursor"]})).json()
        assert [entry["task_id"] for entry in first["items"] + second["items"]] == ids[::-1]
        assert second["next_cursor"] is None
        of_one = (await http.get("/api/v1/audit", params={"task_id": ids[1]})).json()["items"]
        assert [(entry["action"], entry["after"]) for entry in of_one] == [("task.cancel", first["items"][1]["after"])]
        for wrong in ("limit=0", "task_id=0", "cursor=x"):
            assert (await http.get(f"/api/v1/audit?{wrong}")).status_code == 422
    async with web(dsn, PROTECTED, token=VIEWER_TOKEN) as http:
        assert (await http.get("/api/v1/audit")).status_code == 403


async def test_change_that_fails_is_undone_and_not_noted(
    dsn: str, connection: psycopg.Connection[dict[str, Any]]
) -> None:
    task = connection.execute("insert into pgsched.tasks (task_type) values ('mail') returning id").fetchone()
    assert task is not None
    async with web(dsn, app=probed(dsn)) as http:
        refused = await http.post(f"/api/v1/probe/{task['id']}/cancel?then_fail=true")
        assert (refused.status_code, refused.json()["field"]) == (422, "priority")
        assert (await http.post("/api/v1/probe/999999/cancel")).status_code == 404
    assert connection.execute("select status from pgsched.tasks").fetchall() == [{"status": "pending"}]
    assert connection.execute("select * from pgsched.audit_log").fetchall() == []


async def test_change_is_undone_when_it_cannot_be_noted(
    dsn: str, connection: psycopg.Connection[dict[str, Any]]
) -> None:
    task = connection.execute("insert into pgsched.tasks (task_type) values ('mail') returning id").fetchone()
    assert task is not None
    connection.execute("alter table pgsched.audit_log add constraint audit_is_closed check (false)")
    async with web(dsn, app=probed(dsn)) as http:
        assert (await http.post(f"/api/v1/probe/{task['id']}/cancel")).status_code == 422
    assert connection.execute("select status from pgsched.tasks").fetchall() == [{"status": "pending"}]


async def test_payload_is_not_kept_in_the_audit_log(dsn: str, connection: psycopg.Connection[dict[str, Any]]) -> None:
    task = connection.execute("insert into pgsched.tasks (task_type) values ('mail') returning id").fetchone()
    assert task is not None
    async with web(dsn, app=probed(dsn)) as http:
        assert (await http.post(f"/api/v1/probe/{task['id']}/payload")).status_code == 200
    (entry,) = connection.execute("select before, after, audit_log::text as whole from pgsched.audit_log").fetchall()
    assert entry["after"] == {"payload": "(changed)", "priority": 9}
    assert "hunter2" not in entry["whole"]
