"""The login by an identity provider, against one that the tests run themselves."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from joserfc.jwk import RSAKey

from pgsched.domain.errors import ConfigError
from pgsched.web import OidcSettings, WebSettings, create_site
from pgsched.web.auth.oidc import COOKIE as WAITING
from pgsched.web.auth.session import COOKIE
from tests.support.oidc_provider import CLIENT, SECRET, Provider, running_provider
from tests.support.tables import database, insert_task
from tests.support.web_face import HOST, OPERATOR_TOKEN, web

pytestmark = pytest.mark.slow

ORIGIN = {"Origin": HOST}


@pytest.fixture(scope="module")
def running() -> Iterator[Provider]:
    with running_provider() as one:
        yield one


@pytest.fixture
def provider(running: Provider) -> Provider:
    fresh = Provider()
    running.claims, running.lies, running.metadata, running.forged = fresh.claims, {}, {}, None
    running.signing = running._key
    return running


def settings_of(provider: Provider, **changed: Any) -> WebSettings:
    options: dict[str, Any] = {
        "issuer": provider.issuer,
        "client_id": CLIENT,
        "client_secret": SECRET,
        "public_url": HOST,
        "operator": ["jobs-operators"],
        "viewer": ["jobs-viewers"],
    }
    return WebSettings(oidc=OidcSettings(**options | changed), operator_token=OPERATOR_TOKEN)


@asynccontextmanager
async def browsing(dsn: str, provider: Provider, **changed: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with web(dsn, settings_of(provider, **changed)) as http:
        yield http


async def come_back(http: httpx.AsyncClient, begin: str = "/login/oidc", **changed: str) -> httpx.Response:
    """Go to the provider, and come back with what it says."""
    begun = await http.get(begin)
    assert begun.status_code == 302, begun.text
    async with httpx.AsyncClient() as outside:
        back = httpx.URL((await outside.get(begun.headers["location"])).headers["location"])
    return await http.get(back.copy_merge_params(changed))


async def test_login_leads_through_the_provider_to_the_page_that_was_wanted(dsn: str, provider: Provider) -> None:
    with database(dsn) as connection:
        made = insert_task(connection)
        async with browsing(dsn, provider) as http:
            wanted = (await http.get("/tasks?status=dead")).headers["location"]
            page = (await http.get(wanted)).text
            assert 'href="/login/oidc?next=/tasks%3Fstatus%3Ddead"' in page
            done = await come_back(http, "/login/oidc?next=/tasks%3Fstatus%3Ddead")
            assert (done.status_code, done.headers["location"]) == (303, "/tasks?status=dead")
            assert WAITING not in http.cookies
            await http.post(f"/tasks/{made}/cancel", headers=ORIGIN)
        entry = connection.execute("select actor, role from pgsched.audit_log").fetchone()
    assert entry == {"actor": "ada", "role": "operator"}


async def test_tokens_go_on_beside_it_and_cannot_take_a_name_that_was_proved(dsn: str, provider: Provider) -> None:
    with database(dsn) as connection:
        made = insert_task(connection)
        async with browsing(dsn, provider) as http:
            signed = {"Authorization": f"Bearer {OPERATOR_TOKEN}"}
            assert (await http.get("/api/v1/tasks", headers=signed)).status_code == 200
            await http.post("/login", data={"token": OPERATOR_TOKEN, "name": "ada"}, headers=ORIGIN)
            await http.post(f"/tasks/{made}/cancel", headers=ORIGIN)
        entry = connection.execute("select actor from pgsched.audit_log").fetchone()
    assert entry == {"actor": "ada (token)"}


async def test_logout_ends_the_session_and_leads_to_the_provider(dsn: str, provider: Provider) -> None:
    async with browsing(dsn, provider) as http:
        await come_back(http)
        kept = {"Cookie": f"{COOKIE}={http.cookies[COOKIE]}"}
        assert (await http.get("/tasks", headers=kept)).status_code == 200
        left = await http.post("/logout", headers=ORIGIN)
        assert (await http.get("/tasks", headers=kept)).status_code == 303
        page = (await http.get(left.headers["location"])).text
        assert f'href="{provider.issuer}/logout?client_id={CLIENT}&amp;post_logout_redirect_uri=' in page


@pytest.mark.parametrize(
    ("claims", "options", "role"),
    [
        ({"groups": ["jobs-viewers", "others"]}, {}, "viewer"),
        ({"groups": "jobs-operators"}, {}, "operator"),
        ({"groups": ["jobs-viewers", "jobs-operators"]}, {}, "operator"),
        ({"groups": None, "realm_access": {"roles": ["jobs-viewers"]}}, {"roles_claim": "realm_access.roles"},
         "viewer"),
        ({"groups": None, "https://x.example/roles": {"jobs-viewers": {}}}, {"roles_claim": "https://x.example/roles"},
         "viewer"),
        ({"groups": []}, {"viewer": ["*"]}, "viewer"),
        ({"groups": None}, {}, None),
        ({"groups": ["jobs-operators-of-another"]}, {}, None),
        ({"groups": {"deep": ["jobs-operators"]}}, {}, None),
    ],
)  # fmt: skip
async def test_role_goes_by_the_claim(
    dsn: str, provider: Provider, claims: dict[str, Any], options: dict[str, Any], role: str | None
) -> None:
    provider.claims = provider.claims | claims
    async with browsing(dsn, provider, **options) as http:
        done = await come_back(http)
        if role is None:
            assert done.status_code == 403
            assert "have no role here" in done.text
            assert COOKIE not in http.cookies
        else:
            changed = await http.post("/api/v1/tasks", json={"task_type": "mail"}, headers=ORIGIN)
            assert changed.status_code == (201 if role == "operator" else 403)


@pytest.mark.parametrize(
    ("claims", "options", "name"),
    [
        ({"preferred_username": None, "email": "ada@x.example"}, {}, "ada@x.example"),
        ({"preferred_username": None, "email": "root@x.example", "email_verified": False}, {}, "u1"),
        ({"preferred_username": "a\u202eb\n"}, {}, "a?b"),
        ({"upn": "ada@corp"}, {"name_claim": "upn"}, "ada@corp"),
        ({}, {"name_claim": "upn"}, None),
    ],
)
async def test_name_goes_by_the_claims(
    dsn: str, provider: Provider, claims: dict[str, Any], options: dict[str, Any], name: str | None
) -> None:
    provider.claims = provider.claims | claims
    async with browsing(dsn, provider, **options) as http:
        done = await come_back(http)
        if name is None:
            assert done.status_code == 403
        else:
            assert f"Log out {name}" in (await http.get("/tasks")).text


@pytest.mark.parametrize(
    "lies",
    [
        {"nonce": "another"},
        {"nonce": None},
        {"iss": "https://evil.example"},
        {"iss": None},
        {"aud": "another-client"},
        {"aud": [CLIENT, "another"], "azp": "another"},
        {"exp": -3600},
        {"exp": None},
        {"iat": 3600},
        {"sub": None},
    ],
    ids=str,
)
async def test_token_that_lies_opens_nothing(dsn: str, provider: Provider, lies: dict[str, Any]) -> None:
    now = int(time.time())
    provider.lies = {name: now + value if isinstance(value, int) else value for name, value in lies.items()}
    async with browsing(dsn, provider) as http:
        done = await come_back(http)
        assert done.status_code == 401
        assert COOKIE not in http.cookies
        assert (await http.get("/tasks")).status_code == 303


async def test_token_of_another_key_opens_nothing(dsn: str, provider: Provider) -> None:
    provider.signing = RSAKey.generate_key(2048, {"kid": "one"}, private=True)
    async with browsing(dsn, provider) as http:
        assert (await come_back(http)).status_code == 401


@pytest.mark.parametrize("algorithm", ["none", "HS256"])
async def test_signature_that_anybody_could_make_opens_nothing(dsn: str, provider: Provider, algorithm: str) -> None:
    provider.forged = algorithm  # which the provider says it supports
    async with browsing(dsn, provider) as http:
        assert (await come_back(http)).status_code == 401


async def test_answer_to_nobody_or_to_another_opens_nothing(dsn: str, provider: Provider) -> None:
    async with browsing(dsn, provider) as http, browsing(dsn, provider) as mallory:
        assert (await come_back(http, state="another")).status_code == 401
        assert (await come_back(http, iss="https://evil.example")).status_code == 401
        assert (await come_back(http, code="another")).status_code == 401
        assert (await http.get("/login/oidc/callback?code=x&state=y")).status_code == 401
        begun = await mallory.get("/login/oidc")
        async with httpx.AsyncClient() as outside:
            back = (await outside.get(begun.headers["location"])).headers["location"]
        assert (await http.get(back)).status_code == 401  # a login that mallory began, to be logged in as him
        refused = await come_back(http, error="<script>", error_description="<script>")
        assert (refused.status_code, "<script>" in refused.text) == (401, False)
        assert COOKIE not in http.cookies


async def test_answer_is_good_once(dsn: str, provider: Provider) -> None:
    async with browsing(dsn, provider) as http:
        begun = await http.get("/login/oidc")
        waiting = http.cookies[WAITING]
        async with httpx.AsyncClient() as outside:
            back = (await outside.get(begun.headers["location"])).headers["location"]
        assert (await http.get(back)).status_code == 303
        again = await http.get(back, headers={"Cookie": f"{WAITING}={waiting}"})
        assert again.status_code == 401


async def test_provider_that_is_another_or_away_lets_nobody_in(dsn: str, provider: Provider) -> None:
    provider.metadata = {"issuer": "https://evil.example"}
    async with browsing(dsn, provider) as http:
        assert (await http.get("/login/oidc")).status_code == 503
        provider.metadata = {}
        assert (await come_back(http)).status_code == 303  # it is asked again
    async with browsing(dsn, provider, issuer="http://127.0.0.1:1") as http:
        away = await http.get("/login/oidc")
        assert (away.status_code, "cannot be reached" in away.text) == (503, True)
        assert (await http.get("/login")).status_code == 200


async def test_login_is_good_for_all_databases_of_a_site(dsn: str, provider: Provider) -> None:
    app = create_site({"billing": dsn, "mail": dsn}, settings=settings_of(provider))
    async with app.first.router.lifespan_context(app.first), web("", app=app) as http:
        done = await come_back(http, "/mail/login/oidc?next=/queues")
        assert done.headers["location"] == "/mail/queues"
        for path in ("/", "/mail/queues", "/billing/queues"):
            assert (await http.get(path)).status_code == 200


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"issuer": "http://idp.example"}, "oidc_issuer must be an https URL"),
        ({"public_url": "http://jobs.example"}, "public_url must be an https URL"),
        ({"public_url": ""}, "public_url must be set"),
        ({"client_secret": "short"}, "oidc_client_secret must have at least 16"),
        ({"operator": [], "viewer": []}, "let users in"),
        ({"operator": ["*"]}, "everybody an operator"),
        ({"scopes": "profile"}, "must contain openid"),
    ],
)
def test_settings_that_let_strangers_in_are_refused(provider: Provider, changed: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        settings_of(provider, **changed)


def test_secret_is_not_shown_and_the_provider_protects_alone(provider: Provider) -> None:
    settings = settings_of(provider)
    assert SECRET not in repr(settings) + repr(settings.oidc)
    assert WebSettings(oidc=settings.oidc, host="0.0.0.0").protected
