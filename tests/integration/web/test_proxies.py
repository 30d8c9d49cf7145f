"""Behind proxies: whose address a request has, and what is refused where nobody has set them up."""

from __future__ import annotations

import pytest

from pgsched.web import WebSettings, create_app
from pgsched.web.auth.proxies import TrustedProxies
from tests.integration.web.test_access import probed
from tests.support.web_face import HOST, OPERATOR_TOKEN, PROTECTED, VIEWER_TOKEN, web

NETWORK = "10.0.0.0/8"


@pytest.mark.parametrize(
    ("trusted", "peer", "forwarded", "remote"),
    [
        (NETWORK, "10.0.0.1", "203.0.113.5", "203.0.113.5"),
        (NETWORK, "10.0.0.1", "6.6.6.6, 203.0.113.5", "203.0.113.5"),
        # Clients of the proxy in its network, who write what they like before it adds their address.
        (NETWORK, "10.0.0.1", "6.6.6.6, 10.9.9.9", "10.9.9.9"),
        (NETWORK, "10.0.0.1", "10.9.9.9", "10.9.9.9"),
        # A chain of proxies that are named.
        ("10.0.0.1, 10.0.0.2", "10.0.0.1", "6.6.6.6, 203.0.113.5, 10.0.0.2", "203.0.113.5"),
        (f"{NETWORK}, 10.0.0.2", "10.0.0.1", "6.6.6.6, 10.9.9.9, 10.0.0.2", "10.9.9.9"),
        ("10.0.0.1", "10.0.0.1", "10.0.0.1", "10.0.0.1"),
        # Not a proxy of ours, and no address.
        (NETWORK, "192.0.2.1", "203.0.113.5", "192.0.2.1"),
        ("", "10.0.0.1", "203.0.113.5", "10.0.0.1"),
        (NETWORK, "10.0.0.1", "203.0.113.5, unknown", "10.0.0.1"),
        (NETWORK, "10.0.0.1", "", "10.0.0.1"),
        # As proxies write them.
        (NETWORK, "::ffff:10.0.0.1", "203.0.113.5:4711", "203.0.113.5"),
        ("fd00::/8", "fd00::1", "[2001:db8::5]:4711", "2001:db8::5"),
    ],
)
async def test_address_of_a_request(dsn: str, trusted: str, peer: str, forwarded: str, remote: str) -> None:
    settings = WebSettings(viewer_token=VIEWER_TOKEN, trusted_proxies=trusted)
    app = TrustedProxies(probed(dsn, settings), settings.proxies)
    async with web(dsn, app=app, remote=peer, token=VIEWER_TOKEN, headers={"X-Forwarded-For": forwarded}) as http:
        assert (await http.get("/api/v1/probe")).json()["remote"] == remote


async def test_scheme_is_that_of_the_last_proxy(dsn: str) -> None:
    app = TrustedProxies(create_app(dsn, settings=PROTECTED), ["127.0.0.1"])
    for forwarded, secure in (("https", True), ("http", False), ("https, http", False), ("gopher", False)):
        async with web(dsn, app=app, headers={"X-Forwarded-Proto": forwarded, "Origin": HOST}) as http:
            done = await http.post("/login", data={"token": VIEWER_TOKEN})
            assert ("Secure" in done.headers["set-cookie"]) is secure


# Without tokens.


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-Proto": "https"},
        {"X-Forwarded-Port": "443"},
        {"Via": "1.1 varnish"},
        {"CF-Connecting-IP": "203.0.113.5"},
        {"Sec-Fetch-Site": "same-origin", "Referer": "https://jobs.example/tasks"},
        {"Sec-Fetch-Site": "same-origin", "Origin": "https://jobs.example"},
    ],
)
@pytest.mark.parametrize("trusted", ["", "127.0.0.1"])
async def test_request_through_a_proxy_is_refused_without_tokens(
    dsn: str, headers: dict[str, str], trusted: str
) -> None:
    settings = WebSettings(trusted_proxies=trusted)
    app = TrustedProxies(probed(dsn, settings), settings.proxies)
    async with web(dsn, app=app, headers=headers) as http:
        for method in ("GET", "POST"):
            refused = await http.request(method, "/api/v1/probe")
            assert (refused.status_code, "proxy" in refused.json()["detail"]) == (403, True)


async def test_browser_on_this_machine_is_served_without_tokens(dsn: str) -> None:
    own = {"Sec-Fetch-Site": "same-origin", "Origin": HOST, "Referer": f"{HOST}/tasks"}
    linked = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Referer": "https://chat.example/"}
    async with web(dsn, app=probed(dsn)) as http:
        assert (await http.post("/api/v1/probe", headers=own)).status_code == 200
        assert (await http.get("/api/v1/probe", headers=linked)).status_code == 200


# What is said when the database is away.


@pytest.mark.parametrize("path", ["/tasks", "/api/v1/tasks", "/api/v1/events", "/metrics"])
async def test_answer_tells_nothing_of_the_server_of_the_database(
    path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    away = "postgresql://somebody@127.0.0.1:1/secretbase"
    async with web(away, PROTECTED, token=OPERATOR_TOKEN) as http:
        refused = await http.get(path)
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
    for word in ("127.0.0.1", "secretbase", "somebody", "refused", "socket"):
        assert word not in refused.text
    said = "".join(capsys.readouterr())
    assert "database_unavailable" in said
    assert "secretbase" in said
