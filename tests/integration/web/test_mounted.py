"""The web face within an app of somebody else: below its path, and without a lifespan of its own."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any
from unittest import mock

import httpx
import pytest
import structlog
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route

from pgsched.client.async_client import AsyncClient
from pgsched.web import create_app
from tests.support.pages import Page
from tests.support.tables import database, insert_task, task_row
from tests.support.waiting import wait_until_async
from tests.support.web_face import HOST, OPERATOR_TOKEN, PAGES, PROTECTED

PLACE = "/tools/jobs"
ORIGIN = {"Origin": HOST}
FRAMEWORKS = ("starlette", "fastapi")


def mounted(framework: str, inner: FastAPI, *, closes: bool = True) -> Any:
    """An app with a page of its own that has ours below :data:`PLACE`."""

    @contextlib.asynccontextmanager
    async def lifespan(_app: Any) -> AsyncIterator[None]:
        yield
        if closes:
            await inner.state.web.close()

    async def home(request: Request) -> Response:
        return PlainTextResponse(f"home, cookies: {sorted(request.cookies)}")

    if framework == "starlette":
        return Starlette(routes=[Route("/", home), Mount(PLACE, app=inner)], lifespan=lifespan)
    outer = FastAPI(lifespan=lifespan)
    outer.add_route("/", home)
    outer.mount(PLACE, inner)
    return outer


@contextlib.asynccontextmanager
async def asking(outer: Any, *, root_path: str = "") -> AsyncIterator[httpx.AsyncClient]:
    """A client of an app that runs its lifespan."""
    transport = httpx.ASGITransport(app=outer, root_path=root_path)
    async with (
        outer.router.lifespan_context(outer),
        httpx.AsyncClient(transport=transport, base_url=HOST) as client,
    ):
        yield client


def connections(dsn: str) -> int:
    """How many others are connected to the database."""
    with database(dsn) as connection:
        row = connection.execute(
            "select count(*) as n from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
        ).fetchone()
    assert row is not None
    return int(row["n"])


async def log_in(client: httpx.AsyncClient, place: str = PLACE) -> httpx.Response:
    return await client.post(f"{place}/login", data={"token": OPERATOR_TOKEN, "name": "Ann"}, headers=ORIGIN)


@pytest.mark.parametrize("framework", FRAMEWORKS)
async def test_login_is_good_for_its_path_alone(dsn: str, framework: str) -> None:
    async with asking(mounted(framework, create_app(dsn, settings=PROTECTED))) as client:
        assert (await client.get(f"{PLACE}/")).headers["location"] == f"{PLACE}/login"
        done = await log_in(client)
        assert (done.status_code, done.headers["location"]) == (303, f"{PLACE}/")
        assert f"Path={PLACE}" in done.headers["set-cookie"].split("; ")
        assert (await client.get(f"{PLACE}/")).status_code == 200
        assert (await client.get("/")).text == "home, cookies: []"
        assert "content-security-policy" not in (await client.get("/")).headers
        assert (await client.post(f"{PLACE}/logout", headers=ORIGIN)).headers["location"] == f"{PLACE}/login"
        assert (await client.get(f"{PLACE}/")).status_code == 303


@pytest.mark.parametrize("framework", FRAMEWORKS)
async def test_every_page_leads_to_pages_and_files_below_it(dsn: str, framework: str) -> None:
    with database(dsn) as connection:
        made = insert_task(connection)
    async with asking(mounted(framework, create_app(dsn, settings=PROTECTED))) as client:
        await log_in(client)
        seen: set[str] = set()
        for path in (*PAGES, f"/tasks/{made}", f"/tasks/{made}/edit", f"/workflows/{made}", "/nothing"):
            page = Page((await client.get(PLACE + path)).text)
            names = ("href", "src", "action", "data-root", "data-schedule")
            found = [e.attributes[name] for e in page.elements for name in names if name in e.attributes]
            assert [one for one in found if not f"{one}/".startswith((f"{PLACE}/", "#"))] == [], path
            seen |= {e.attributes[name] for e in page.elements for name in ("href", "src") if name in e.attributes}
        for one in sorted(seen):
            if not one.startswith("#"):
                assert (await client.get(one)).status_code == 200, one


@pytest.mark.parametrize("framework", FRAMEWORKS)
async def test_changes_are_made_by_its_own_pages_and_no_others(dsn: str, framework: str) -> None:
    with database(dsn) as connection:
        made = insert_task(connection)
        async with asking(mounted(framework, create_app(dsn, settings=PROTECTED))) as client:
            await log_in(client)
            for headers in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {}):
                refused = await client.post(f"{PLACE}/tasks/{made}/cancel", headers=headers)
                assert refused.status_code == 403
            assert task_row(connection, made)["status"] == "pending"
            done = await client.post(f"{PLACE}/tasks/{made}/cancel", headers=ORIGIN)
            assert done.headers["location"] == f"{PLACE}/tasks/{made}"
            assert task_row(connection, made)["status"] == "cancelled"


@pytest.mark.parametrize("framework", FRAMEWORKS)
async def test_api_is_below_it_too(dsn: str, framework: str) -> None:
    async with asking(mounted(framework, create_app(dsn, settings=PROTECTED))) as client:
        client.headers["Authorization"] = f"Bearer {OPERATOR_TOKEN}"
        made = await client.post(f"{PLACE}/api/v1/tasks", json={"task_type": "mail"})
        assert made.status_code == 201
        assert made.headers["location"] == f"{PLACE}/api/v1/tasks/{made.json()['id']}"
        assert (await client.get(made.headers["location"])).status_code == 200
        unknown = await client.get(f"{PLACE}/api/v1/nothing")
        assert (unknown.status_code, unknown.headers["content-type"]) == (404, "application/problem+json")
        assert (await client.get(f"{PLACE}/readyz")).text == "ok\n"


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("taken_off", [True, False])
async def test_proxy_before_the_outer_app_may_take_its_prefix_off(dsn: str, framework: str, taken_off: bool) -> None:
    inner = create_app(dsn, settings=PROTECTED)
    async with asking(mounted(framework, inner), root_path="/site") as client:
        asked = PLACE if taken_off else f"/site{PLACE}"
        done = await log_in(client, asked)
        assert (done.status_code, done.headers["location"]) == (303, f"/site{PLACE}/")
        assert f"Path=/site{PLACE}" in done.headers["set-cookie"].split("; ")
        client.headers["Authorization"] = f"Bearer {OPERATOR_TOKEN}"
        page = await client.get(f"{asked}/queues")
        assert f'href="/site{PLACE}/tasks"' in page.text
        assert (await client.get(f"{asked}/static/app.css")).status_code == 200


@pytest.mark.parametrize("framework", FRAMEWORKS)
async def test_connections_are_opened_when_first_needed_and_closed_with_the_outer_app(dsn: str, framework: str) -> None:
    inner = create_app(dsn, settings=PROTECTED)
    async with asking(mounted(framework, inner)) as client:
        assert (await client.get("/")).status_code == 200
        assert (await client.get(f"{PLACE}/login")).status_code == 200
        assert connections(dsn) == 0
        await log_in(client)
        assert (await client.get(f"{PLACE}/")).status_code == 200
        assert connections(dsn) > 0
    await wait_until_async(lambda: connections(dsn) == 0, message="the connections are closed")
    await inner.state.web.close()  # a second time does no harm


async def test_outer_app_that_does_not_close_leaves_connections_open(dsn: str) -> None:
    inner = create_app(dsn, settings=PROTECTED)
    async with asking(mounted("starlette", inner, closes=False)) as client:
        await log_in(client)
        await client.get(f"{PLACE}/")
    assert connections(dsn) > 0
    await inner.state.web.close()


async def test_error_in_an_app_that_set_up_no_logging_shows_no_values(
    dsn: str, capsys: pytest.CaptureFixture[str]
) -> None:
    # structlog's own way, where rich is installed, prints the values of variables: payloads among them.
    structlog.reset_defaults()
    inner = create_app(dsn, settings=PROTECTED)
    body = {"task_type": "mail", "payload": {"card": "4111-1111"}}
    defect = mock.patch.object(AsyncClient, "schedule", side_effect=RuntimeError("a defect"))
    headers = {"Authorization": f"Bearer {OPERATOR_TOKEN}", **ORIGIN}
    async with asking(mounted("fastapi", inner)) as http:
        with defect:
            failed = await http.post(f"{PLACE}/api/v1/tasks", json=body, headers=headers)
    assert failed.status_code == 500
    said = capsys.readouterr().out
    assert "request_failed" in said
    assert "RuntimeError: a defect" in said
    assert "4111-1111" not in said
