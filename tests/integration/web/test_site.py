"""Several databases on one site: each below its name, one login, and one that is down."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import httpx
import pytest

from pgsched.client.client import Client
from pgsched.db.databases import read_databases
from pgsched.domain.errors import ConfigError
from pgsched.web import WebSettings, create_site
from pgsched.web.auth.session import COOKIE
from tests.support import servers
from tests.support.pages import Page
from tests.support.tables import database, insert_task
from tests.support.web_face import HOST, OPERATOR_TOKEN, PROTECTED, VIEWER_TOKEN, notice_of, web

pytestmark = pytest.mark.slow

ORIGIN = {"Origin": HOST}
AWAY = "postgresql://somebody@127.0.0.1:1/secretbase"


@pytest.fixture
def other_dsn(server_dsn: str, template_database: str, database_name: str) -> Iterator[str]:
    with servers.fresh_database(server_dsn, f"{database_name}_other", template=template_database) as fresh:
        yield fresh


@asynccontextmanager
async def site(
    databases: dict[str, str], settings: WebSettings | None = None, token: str | None = None
) -> AsyncIterator[httpx.AsyncClient]:
    app = create_site(databases, settings=settings)
    async with app.first.router.lifespan_context(app.first), web("", app=app, token=token) as http:
        yield http


async def test_each_database_has_its_own_pages_and_api_below_its_name(dsn: str, other_dsn: str) -> None:
    with database(dsn) as connection:
        insert_task(connection, task_type="bill")
    async with site({"billing": dsn, "mail": other_dsn}) as http:
        assert [one["task_type"] for one in (await http.get("/billing/api/v1/tasks")).json()["items"]] == ["bill"]
        assert (await http.get("/mail/api/v1/tasks")).json()["items"] == []
        made = await http.post("/mail/api/v1/tasks", json={"task_type": "letter"}, headers=ORIGIN)
        assert made.headers["location"].startswith("/mail/api/v1/tasks/")
        page = Page((await http.get("/billing/tasks")).text)
        links = {e.attributes["href"] for e in page.all("a") if not e.attributes["href"].startswith("#")}
        assert {"/mail/tasks", "/billing/tasks", "/"} <= links  # the switch leads to the same page of the other
        assert [link for link in links if not link.startswith(("/billing/", "/mail/tasks")) and link != "/"] == []
        for link in sorted(links):
            assert (await http.get(link)).status_code == 200, link
        assert (await http.get("/tasks")).status_code == 404
        assert (await http.get("/nothing/api/v1/tasks")).status_code == 404
        assert (await http.get("/mail")).status_code == 200


async def test_first_page_shows_how_each_fares_and_bears_with_one_that_is_down(dsn: str) -> None:
    with Client(dsn) as client:
        client.schedule("bill", {})
    async with site({"billing": dsn, "mail": AWAY}) as http:
        for _ in range(2):
            answer = await http.get("/")
            page = Page(answer.text)
            assert (answer.status_code, page.problems()) == (200, [])
            assert "secretbase" not in answer.text
            assert "127.0.0.1" not in answer.text
            assert "1 of 2 online" in answer.text
        told = (await http.get("/api/v1/databases")).json()
        assert (told["sums"]["up"], told["sums"]["ready"], told["sums"]["workers"]) == (1, 1, 0)
        found = {one["name"]: one for one in told["databases"]}
        assert (found["billing"]["up"], found["billing"]["ready"]) == (True, 1)
        assert found["billing"]["api"] == "/billing/api/v1"
        assert found["billing"]["needs_attention"] >= 1  # nobody runs it
        assert (found["mail"]["up"], found["mail"]["ready"]) == (False, 0)
        assert "secretbase" not in str(found)
        assert (await http.get("/billing/tasks")).status_code == 200
        assert (await http.get("/mail/tasks")).status_code == 503
        assert (await http.get("/readyz")).status_code == 200
    async with site({"billing": AWAY, "mail": AWAY}) as http:
        assert (await http.get("/readyz")).status_code == 503
        assert (await http.get("/healthz")).status_code == 200


async def test_one_login_is_good_for_all_and_one_logout_ends_it(dsn: str, other_dsn: str) -> None:
    async with site({"billing": dsn, "mail": other_dsn}, PROTECTED) as http:
        asked = await http.get("/mail/queues?a=b")
        assert asked.headers["location"] == "/mail/login?next=%2Fqueues%3Fa%3Db"
        assert (await http.get("/")).headers["location"] == "/login"
        done = await http.post("/mail/login", data={"token": OPERATOR_TOKEN, "next": "/queues?a=b"}, headers=ORIGIN)
        assert done.headers["location"] == "/mail/queues?a=b"
        assert "Path=/" in done.headers["set-cookie"].split("; ")
        for path in ("/", "/mail/queues", "/billing/queues"):
            assert (await http.get(path)).status_code == 200
        kept = {"Cookie": f"{COOKIE}={http.cookies[COOKIE]}"}
        await http.post("/billing/logout", headers=ORIGIN)
        for path in ("/", "/mail/queues", "/billing/queues"):
            assert (await http.get(path, headers=kept)).status_code == 303


async def test_logout_holds_while_one_database_is_down(dsn: str) -> None:
    async with site({"billing": dsn, "mail": AWAY}, PROTECTED) as http, web(dsn, PROTECTED) as other:
        await http.post("/login", data={"token": VIEWER_TOKEN}, headers=ORIGIN)
        kept = {"Cookie": f"{COOKIE}={http.cookies[COOKIE]}"}
        assert (await http.get("/billing/tasks", headers=kept)).status_code == 200
        await http.post("/logout", headers=ORIGIN)
        assert (await http.get("/billing/tasks", headers=kept)).status_code == 303
        assert (await other.get("/tasks", headers=kept)).status_code == 303  # it was stored where that was possible


async def test_change_is_said_in_its_own_database(dsn: str, other_dsn: str) -> None:
    for each in (dsn, other_dsn):
        with database(each) as connection:
            made = insert_task(connection)
    async with site({"billing": dsn, "mail": other_dsn}) as http:
        done = await http.post(f"/mail/tasks/{made}/cancel", headers=ORIGIN)
        assert (done.headers["location"], notice_of(done)) == (f"/mail/tasks/{made}", f"Task {made} was cancelled.")
        assert "was cancelled" not in (await http.get(f"/billing/tasks/{made}")).text
        assert "was cancelled" in (await http.get(f"/mail/tasks/{made}")).text


@pytest.mark.parametrize("taken_off", [True, False])
async def test_site_below_a_prefix(dsn: str, other_dsn: str, taken_off: bool) -> None:
    settings = WebSettings(operator_token=OPERATOR_TOKEN, path_prefix="/jobs")
    before = "" if taken_off else "/jobs"
    async with site({"billing": dsn, "mail": other_dsn}, settings) as http:
        assert (await http.get(f"{before}/mail/tasks")).headers["location"] == "/jobs/mail/login?next=%2Ftasks"
        done = await http.post(f"{before}/login", data={"token": OPERATOR_TOKEN}, headers=ORIGIN)
        assert (done.headers["location"], "Path=/jobs" in done.headers["set-cookie"].split("; ")) == ("/jobs/", True)
        signed = {"Authorization": f"Bearer {OPERATOR_TOKEN}"}
        page = (await http.get(f"{before}/mail/tasks", headers=signed)).text
        assert 'href="/jobs/billing/tasks"' in page
        assert 'href="/jobs/mail/queues"' in page
        assert 'href="/jobs/mail/"' in (await http.get(f"{before}/", headers=signed)).text


async def test_database_of_its_own_has_no_switch(dsn: str) -> None:
    async with web(dsn) as http:
        assert "All databases" not in (await http.get("/tasks")).text


def test_databases_are_called_as_given_or_as_the_database() -> None:
    uri, words = "postgresql://u@h/shop?sslmode=require", "host=h dbname=stock"
    assert read_databases([uri, words, f"eu={uri}", f"us={words}"]) == {
        "shop": uri, "stock": words, "eu": uri, "us": words,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (["postgresql://h/a", "postgresql://i/a"], "two --dsn have the name a"),
        (["postgresql://h", "postgresql://h/b"], "names no database"),
        (["api=postgresql://h/a"], "must not be one of"),
        (["postgresql://h/a%20b"], "letters, digits"),
    ],
)
def test_databases_that_cannot_be_told_apart_are_refused(given: list[str], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        read_databases(given)
