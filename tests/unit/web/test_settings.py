from __future__ import annotations

from typing import Any

import pytest

from pgsched.domain.errors import ConfigError
from pgsched.web.auth.session import SECONDS, begin_session, open_session, seal_session
from pgsched.web.settings import WebSettings, is_loopback

A, B = "a" * 16, "b" * 16


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost", "LOCALHOST", "::ffff:127.0.0.1"])
def test_this_machine_is_served_without_tokens(host: str) -> None:
    assert is_loopback(host)
    assert not WebSettings(host=host).protected


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "10.0.0.1", "example.com", "", "127.0.0.1.example.com", "localhost."]
)
def test_other_machines_are_not_served_without_tokens(host: str) -> None:
    with pytest.raises(ConfigError, match=r"can be reached from other machines: set operator_token"):
        WebSettings(host=host)


@pytest.mark.parametrize(
    "tokens", [{"viewer_token": A}, {"operator_token": A}, {"viewer_token": A, "operator_token": B}]
)
def test_other_machines_are_served_with_a_token(tokens: dict[str, str]) -> None:
    assert WebSettings(host="0.0.0.0", **tokens).protected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"port": 65536}, "port must be between 0 and 65535, got 65536"),
        ({"trusted_proxies": "proxy.example"}, "trusted_proxies must be IP addresses or networks"),
        ({"trusted_proxies": "10.0.0.1,*"}, "trusted_proxies must be IP addresses or networks"),
        ({"trusted_proxies": "10.0.0.1/8"}, "trusted_proxies must be IP addresses or networks"),
        ({"path_prefix": "jobs"}, "path_prefix must begin with /"),
        ({"path_prefix": "/jobs/"}, "path_prefix must begin with /"),
        ({"path_prefix": '/"><script>'}, "path_prefix must begin with /"),
        ({"viewer_token": "short"}, "viewer_token must have 16 to 500 characters, got 5"),
        ({"operator_token": ""}, "operator_token must have 16 to 500 characters, got 0"),
        ({"operator_token": "a token with spaces"}, "operator_token must be of printable ASCII"),
        ({"operator_token": A, "viewer_token": A}, "viewer_token and operator_token must differ"),
    ],
)
def test_value_that_makes_no_sense_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        WebSettings(**given)
    assert message in str(refused.value)
    assert "a token with spaces" not in str(refused.value)


def test_tokens_are_not_in_the_repr() -> None:
    settings = WebSettings(viewer_token=A, operator_token=B)
    assert A not in repr(settings)
    assert B not in repr(settings)


def test_session_says_role_and_name_until_it_ends() -> None:
    settings = WebSettings(viewer_token=A, operator_token=B)
    cookie = seal_session(settings, begin_session("viewer", "Ann Ö.", by="viewer", now=1000))
    found = open_session(settings, cookie, now=1000 + SECONDS - 1)
    assert found is not None
    assert (found.role, found.name) == ("viewer", "Ann Ö.")
    assert open_session(settings, cookie, now=1000 + SECONDS) is None
    assert A not in cookie


def test_session_of_a_token_that_was_changed_is_closed() -> None:
    cookie = seal_session(WebSettings(operator_token=A), begin_session("operator", None, by="operator"))
    assert open_session(WebSettings(operator_token=A), cookie) is not None
    assert open_session(WebSettings(operator_token=B), cookie) is None
    assert open_session(WebSettings(), cookie) is None


def test_viewer_cannot_sign_for_an_operator() -> None:
    settings = WebSettings(viewer_token=A, operator_token=B)
    knows = WebSettings(operator_token=A)  # the viewer's token
    forged = seal_session(knows, begin_session("operator", None, by="operator"))
    assert open_session(settings, forged) is None


@pytest.mark.parametrize("cookie", [None, "", ".", "a.b", "é.é", "e30=.", "x" * 5000, "\x00.\x00"])
def test_cookie_that_is_not_ours_opens_nothing(cookie: str | None) -> None:
    assert open_session(WebSettings(viewer_token=A, operator_token=B), cookie) is None


def test_cookie_with_another_end_opens_nothing() -> None:
    settings = WebSettings(operator_token=A)
    early, late = (
        seal_session(settings, begin_session("operator", None, by="operator", now=now)) for now in (0, 10**10)
    )
    assert open_session(settings, late) is not None
    assert open_session(settings, f"{late.partition('.')[0]}.{early.partition('.')[2]}") is None
