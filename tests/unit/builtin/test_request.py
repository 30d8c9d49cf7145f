"""What a task may ask for when it asks for an HTTP request."""

from __future__ import annotations

import re
from typing import Any

import pytest

from pgsched.builtin.request import MISSING, Request, read_request
from pgsched.domain.errors import Discard

URL = "https://example.com/a"


def read(**payload: Any) -> Request:
    defaults = {
        "method": "GET",
        "url": URL,
        "headers": None,
        "json": MISSING,
        "body": None,
        "timeout": 30,
        "expect": "2xx",
    }
    return read_request(**{**defaults, **payload})


@pytest.mark.parametrize(
    ("url", "host", "port", "target"),
    [
        ("https://example.com", "example.com", 443, "/"),
        ("http://Example.COM:8080/a/b?c=d&e=%20#part", "example.com", 8080, "/a/b?c=d&e=%20"),
        ("http://[::1]:81/", "::1", 81, "/"),
        ("http://bücher.example/ü?ö=1", "xn--bcher-kva.example", 80, "/%C3%BC?%C3%B6=1"),
        ("https://example.com/a//b/../c", "example.com", 443, "/a//b/../c"),
    ],
)
def test_url_is_taken_apart(url: str, host: str, port: int, target: str) -> None:
    request = read(url=url)
    assert (request.host, request.port, request.target) == (host, port, target)


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        ({"url": "ftp://example.com"}, "url must begin with http:// or https://, got 'ftp://example.com'"),
        ({"url": "file:///etc/passwd"}, "url must begin with http:// or https://"),
        ({"url": "//example.com"}, "url must begin with http:// or https://"),
        ({"url": "http:///path"}, "url must name a host"),
        ({"url": "http://a..b/"}, "url must name a host"),
        ({"url": "http://.a/"}, "url must name a host"),
        ({"url": "http://[::1%25eth0]/"}, "url must name a host"),
        ({"url": "http://[nonsense]/"}, "url must be a URL"),
        ({"url": "http://a:b@example.com/"}, "url must not hold a user or a password"),
        ({"url": "http://example.com:0/"}, "url must have a port between 1 and 65535"),
        ({"url": "http://example.com:99999/"}, "url must have a port between 1 and 65535"),
        ({"url": "http://example.com/a b"}, "url must be text of at most 8192 characters without spaces"),
        ({"url": "http://example.com/\r\nX: y"}, "url must be text"),
        ({"url": "http://example.com\\@internal/"}, "url must be text"),
        ({"url": 5}, "url must be text"),
        ({"url": "https://example.com/?" + "a" * 9000}, "url must be text"),
        ({"method": "CONNECT"}, "method must be one of GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, got 'CONNECT'"),
        ({"method": "GET / HTTP/1.1\r\n"}, "method must be one of"),
        ({"headers": ["a"]}, "headers must be an object of texts"),
        ({"headers": {"a b": "c"}}, "headers: a name must be letters, digits and hyphens"),
        ({"headers": {"Host": "internal"}}, "headers: Host is set by pgsched"),
        ({"headers": {"transfer-encoding": "chunked"}}, "headers: transfer-encoding is set by pgsched"),
        ({"headers": {"A": "secret\r\nB: c"}}, "headers: the value of A must be text without control characters"),
        ({"headers": {"A": None}}, "headers: the value of A must be text"),
        ({"headers": {"A": "€"}}, "headers: the value of A must be Latin-1 text"),
        ({"headers": {"A": "1", "a": "2"}}, "headers must not name one twice"),
        ({"json": {}, "body": "x"}, "json and body exclude each other"),
        ({"body": {"a": 1}}, "body must be text, got a dict"),
        ({"timeout": 0}, "timeout must be more than 0 and at most 3600 seconds, got 0"),
        ({"timeout": 3601}, "timeout must be more than 0"),
        ({"timeout": True}, "timeout must be more than 0"),
        ({"timeout": "5"}, "timeout must be more than 0"),
        ({"expect": "success"}, 'expect must be status codes such as 204 or classes such as "2xx"'),
        ({"expect": []}, "expect must be at least one status"),
        ({"expect": [200, 999]}, "expect must be status codes"),
        ({"expect": "6xx"}, "expect must be status codes"),
    ],
)
def test_request_that_makes_no_sense_is_discarded_with_the_rule(payload: dict[str, Any], said: str) -> None:
    with pytest.raises(Discard, match="^" + re.escape(said)) as refused:
        read(**payload)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("expect", "inside", "outside"),
    [
        ("2xx", (200, 204, 299), (199, 300)),
        (204, (204,), (200,)),
        ([200, 404], (200, 404), (201,)),
        (["2xx", "3XX", 404], (201, 302, 404), (400,)),
    ],
)
def test_expected_statuses(expect: Any, inside: tuple[int, ...], outside: tuple[int, ...]) -> None:
    expected = read(expect=expect).expected
    assert expected >= set(inside)
    assert not expected & set(outside)


def test_json_is_encoded_and_named_in_the_headers() -> None:
    request = read(method="post", json={"a": [1, "ü"]})
    assert (request.method, request.body) == ("POST", '{"a":[1,"ü"]}'.encode())
    assert request.headers == {"Content-Type": "application/json"}


def test_null_is_a_json_body() -> None:
    assert read(method="POST", json=None).body == b"null"


def test_content_type_of_the_task_wins() -> None:
    request = read(method="POST", body="<a/>", headers={"content-type": "text/xml"})
    assert (request.body, request.headers) == (b"<a/>", {"content-type": "text/xml"})


def test_numbers_are_taken_as_values_of_headers() -> None:
    assert read(headers={"X-Version": 3}).headers == {"X-Version": "3"}


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://example.com/a?token=secret", "GET https://example.com/a"),
        ("http://[::1]:81/", "GET http://[::1]:81/"),
    ],
)
def test_request_is_shown_without_its_query(url: str, shown: str) -> None:
    assert str(read(url=url)) == shown
