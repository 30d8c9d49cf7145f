"""Wrong tokens at the login and at the API: answered more and more seldom, and nobody with a right one pays for it."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from pgsched.web import create_app
from pgsched.web.auth.throttle import FREE, Throttle
from tests.support.clock import Clock
from tests.support.web_face import HOST, OPERATOR_TOKEN, PROTECTED, VIEWER_TOKEN, web

ORIGIN = {"Origin": HOST}
STRANGER, ANN = "10.0.0.9", "10.0.0.1"
TASKS = "/api/v1/tasks"


class Untouched(Throttle):
    """Counts nothing: for the negative control."""

    def note_wrong(self, remote: str | None) -> None:
        pass


async def log_in(http: httpx.AsyncClient, token: str) -> httpx.Response:
    return await http.post("/login", data={"token": token, "name": "x"}, headers=ORIGIN)


async def ask(http: httpx.AsyncClient, token: str) -> httpx.Response:
    return await http.get(TASKS, headers={"Authorization": f"Bearer {token}"})


async def check_login_is_throttled(app: Any, dsn: str) -> None:
    """Wrong tokens are answered 401, then 429; a right one of the same address opens all the same."""
    async with web(dsn, app=app, remote=STRANGER) as http:
        said = [(await log_in(http, f"guess-{number}")).status_code for number in range(FREE + 3)]
        assert said == [401] * (FREE + 1) + [429, 429]
        refused = await log_in(http, "guess-again")
        assert (refused.status_code, "set-cookie" in refused.headers) == (429, False)
        assert int(refused.headers["retry-after"]) >= 1
        assert "too many wrong tokens came from your address: wait 1 s before you try another one" in refused.text
        assert (await ask(http, VIEWER_TOKEN)).status_code == 200
        assert (await log_in(http, OPERATOR_TOKEN)).status_code == 303


async def test_login_waits_after_wrong_tokens(dsn: str) -> None:
    await check_login_is_throttled(create_app(dsn, settings=PROTECTED, throttle=Throttle(clock=Clock())), dsn)


async def test_login_that_counts_nothing_is_found(dsn: str) -> None:
    app = create_app(dsn, settings=PROTECTED, throttle=Untouched(clock=Clock()))
    with pytest.raises(AssertionError):
        await check_login_is_throttled(app, dsn)


async def test_wait_ends_grows_and_is_forgotten_after_a_login(dsn: str) -> None:
    clock = Clock()
    app = create_app(dsn, settings=PROTECTED, throttle=Throttle(clock=clock))
    async with web(dsn, app=app, remote=STRANGER) as http:
        for number in range(FREE + 1):
            await log_in(http, f"guess-{number}")
        waits = []
        for number in range(4):
            waits.append(int((await log_in(http, f"more-{number}")).headers["retry-after"]))
            clock.now += waits[-1]
            assert (await log_in(http, f"again-{number}")).status_code == 401
        assert waits == [1, 2, 4, 8]
        clock.now += 16
        assert (await log_in(http, OPERATOR_TOKEN)).status_code == 303
        assert [(await log_in(http, "wrong")).status_code for _ in range(FREE)] == [401] * FREE


async def test_wrong_tokens_at_the_api_are_counted_with_those_at_the_login(dsn: str) -> None:
    app = create_app(dsn, settings=PROTECTED, throttle=Throttle(clock=Clock()))
    async with web(dsn, app=app, remote=STRANGER) as http:
        for number in range(FREE):
            assert (await ask(http, f"guess-{number}")).status_code == 401
        assert (await log_in(http, "guess")).status_code == 401
        refused = await ask(http, f"{OPERATOR_TOKEN}x")
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        assert refused.headers["content-type"] == "application/problem+json"
        assert (
            refused.json()["detail"]
            == "too many wrong tokens came from your address: wait 1 s before you try another one"
        )
        assert OPERATOR_TOKEN not in refused.text


async def test_right_tokens_of_other_addresses_are_never_refused(dsn: str) -> None:
    app = create_app(dsn, settings=PROTECTED, throttle=Throttle(clock=Clock()))
    strangers = [httpx.ASGITransport(app=app, client=(f"10.1.{n // 250}.{n % 250}", 5)) for n in range(300)]
    for transport in strangers:
        async with httpx.AsyncClient(transport=transport, base_url=HOST) as one:
            assert (await ask(one, "wrong")).status_code == 401
    async with web(dsn, app=app, remote=ANN) as http:
        for token in (VIEWER_TOKEN, OPERATOR_TOKEN):
            assert (await ask(http, token)).status_code == 200
        assert (await log_in(http, OPERATOR_TOKEN)).status_code == 303


async def test_session_goes_on_while_its_address_waits(dsn: str) -> None:
    app = create_app(dsn, settings=PROTECTED, throttle=Throttle(clock=Clock()))
    async with web(dsn, app=app, remote=ANN) as http:
        await log_in(http, VIEWER_TOKEN)
        for number in range(FREE + 1):
            await ask(http, f"guess-{number}")
        assert (await ask(http, "guess")).status_code == 429
        assert (await http.get(TASKS)).status_code == 200


async def test_request_without_a_token_is_no_wrong_token(dsn: str) -> None:
    app = create_app(dsn, settings=PROTECTED, throttle=Throttle(clock=Clock()))
    async with web(dsn, app=app, remote=STRANGER) as http:
        for _ in range(3 * FREE):
            assert (await http.get(TASKS)).status_code == 401
            assert (await http.get(TASKS, headers={"Authorization": "Basic eDp5"})).status_code == 401
        assert (await ask(http, VIEWER_TOKEN)).status_code == 200
    assert len(app.state.web.throttle) == 0
