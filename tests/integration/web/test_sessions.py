"""Sessions of people: how they begin, where they lead, and that they end."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import httpx
import psycopg
import pytest

from pgsched.web import create_app
from pgsched.web.auth.session import COOKIE, open_session
from pgsched.web.services import revocations
from pgsched.web.services.streams import Client
from tests.support.pages import Page
from tests.support.tables import database, insert_task
from tests.support.web_face import HOST, OPERATOR_TOKEN, PROTECTED, VIEWER_TOKEN, web

ORIGIN = {"Origin": HOST}
ELSEWHERE = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}


async def log_in(http: httpx.AsyncClient, **fields: str) -> httpx.Response:
    return await http.post("/login", data={"token": OPERATOR_TOKEN, "name": "Ann", **fields}, headers=ORIGIN)


async def test_cookie_that_was_logged_out_opens_nothing(dsn: str) -> None:
    async with web(dsn, PROTECTED) as http:
        await log_in(http)
        kept = {"Cookie": f"{COOKIE}={http.cookies[COOKIE]}"}
        assert (await http.get("/api/v1/tasks", headers=kept)).status_code == 200
        await http.post("/logout", headers=ORIGIN)
        assert (await http.get("/api/v1/tasks", headers=kept)).status_code == 401
        await log_in(http)
        assert (await http.get("/api/v1/tasks")).status_code == 200


async def test_logout_holds_in_every_process_on_the_database(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revocations, "SECONDS", 0.0)
    async with web(dsn, PROTECTED) as one, web(dsn, PROTECTED) as other:
        await log_in(one)
        kept = {"Cookie": f"{COOKIE}={one.cookies[COOKIE]}"}
        assert (await other.get("/api/v1/tasks", headers=kept)).status_code == 200
        await one.post("/logout", headers=ORIGIN)
        assert (await other.get("/api/v1/tasks", headers=kept)).status_code == 401
    async with web(dsn, PROTECTED) as later:  # a restart forgets nothing either
        assert (await later.get("/api/v1/tasks", headers=kept)).status_code == 401


async def test_logout_ends_the_streams_of_the_session(dsn: str) -> None:
    app = create_app(dsn, settings=PROTECTED)
    async with web(dsn, app=app) as http:
        await log_in(http)
        place = app.state.front.streams.join(_client_of(http))
        await http.post("/logout", headers=ORIGIN)
        assert place.ended.is_set()


def _client_of(http: httpx.AsyncClient) -> Client:
    session = open_session(PROTECTED, http.cookies[COOKIE].strip('"'))
    assert session is not None
    return Client("127.0.0.1", session.id)


async def test_dashboard_that_only_looks_can_log_out_too(dsn: str) -> None:
    with database(dsn) as connection:
        connection.execute("select pgsched.revoke_session('an-id-of-twenty-chars', now() + interval '1 hour')")
        with pytest.raises(psycopg.errors.InvalidParameterValue):
            connection.execute("select pgsched.revoke_session('an-id-of-twenty-char2', now() + interval '1 year')")
        connection.execute("update pgsched.revoked_sessions set ends_at = now() - interval '1 hour'")
        connection.execute("select pgsched.revoke_session('an-id-of-twenty-char3', now() + interval '1 hour')")
        found = connection.execute("select id from pgsched.revoked_sessions").fetchall()
    assert [row["id"] for row in found] == ["an-id-of-twenty-char3"]


async def test_link_from_elsewhere_leads_to_the_page_when_one_is_logged_in(dsn: str) -> None:
    async with web(dsn, PROTECTED) as http:
        done = await log_in(http)
        assert "SameSite=lax" in done.headers["set-cookie"]
        assert (await http.get("/queues", headers=ELSEWHERE)).status_code == 200


@pytest.mark.parametrize("changed", [{"Sec-Fetch-Dest": "iframe"}, {"Sec-Fetch-Mode": "no-cors"}])
@pytest.mark.parametrize("path", ["/live", "/queues", "/api/v1/tasks"])
async def test_other_sites_load_nothing_into_their_pages(dsn: str, path: str, changed: dict[str, str]) -> None:
    async with web(dsn) as http:
        assert (await http.get(path, headers=ELSEWHERE | changed)).status_code == 403


async def test_login_goes_on_to_the_page_that_was_wanted(dsn: str) -> None:
    async with web(dsn, PROTECTED) as http:
        asked = await http.get("/tasks?status=dead&q=a%26b")
        to = urlsplit(asked.headers["location"])
        assert (asked.status_code, to.path) == (303, "/login")
        assert parse_qs(to.query)["next"] == ["/tasks?status=dead&q=a%26b"]
        form = Page((await http.get(asked.headers["location"])).text)
        (hidden,) = [e for e in form.elements if e.attributes.get("name") == "next"]
        wrong = await http.post("/login", data={"token": "wrong", "next": hidden.attributes["value"]}, headers=ORIGIN)
        assert "q=a%26b" in wrong.text
        done = await log_in(http, next=hidden.attributes["value"])
        assert done.headers["location"] == "/tasks?status=dead&q=a%26b"


@pytest.mark.parametrize(
    "to",
    ["//evil.example", "/\\evil.example", "https://evil.example", "/\t/evil.example", "\\/evil", "/a b", "/a\r\nX: y",
     "", "javascript:alert(1)", "/login?next=/login", "/logout", "/" + "a" * 3000],
)  # fmt: skip
async def test_login_goes_on_to_our_own_pages_alone(dsn: str, to: str) -> None:
    async with web(dsn, PROTECTED) as http:
        assert (await log_in(http, next=to)).headers["location"] == "/"


# What was done.


async def test_address_says_nothing_of_what_was_done(dsn: str) -> None:
    async with web(dsn) as http:
        page = await http.get("/tasks?did=cancel&n=99999")
        assert "99999" not in page.text


async def test_page_says_once_what_was_done(dsn: str) -> None:
    with database(dsn) as connection:
        made = insert_task(connection)
    async with web(dsn, PROTECTED) as http:
        await log_in(http)
        done = await http.post(f"/tasks/{made}/cancel", headers=ORIGIN)
        assert done.headers["location"] == f"/tasks/{made}"
        part = await http.get(f"/tasks/{made}", headers={"Sec-Fetch-Mode": "cors", "Sec-Fetch-Site": "same-origin"})
        other = await http.get("/tasks")
        page = await http.get(f"/tasks/{made}")
        again = await http.get(f"/tasks/{made}")
    said = f"Task {made} was cancelled."
    assert [said in one.text for one in (part, other, page, again)] == [False, False, True, False]


async def test_notice_that_we_did_not_sign_is_not_said(dsn: str) -> None:
    with database(dsn) as connection:
        made = insert_task(connection)
    async with web(dsn) as http, web(dsn) as other:
        done = await other.post(f"/tasks/{made}/cancel", headers=ORIGIN)
        forged = done.headers["set-cookie"].split(";")[0]  # signed with the key of another process without tokens
        assert "was cancelled" not in (await http.get(f"/tasks/{made}", headers={"Cookie": forged})).text


async def test_viewer_of_another_token_is_another_session(dsn: str) -> None:
    async with web(dsn, PROTECTED) as http:
        await http.post("/login", data={"token": VIEWER_TOKEN}, headers=ORIGIN)
        assert (await http.post("/api/v1/tasks", json={"task_type": "mail"}, headers=ORIGIN)).status_code == 403
