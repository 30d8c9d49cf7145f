"""Parses and validates the payload of an HTTP request. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import SplitResult, quote, urlsplit

from pgsched.domain.errors import Discard, InvalidTask
from pgsched.domain.json_text import encode_json

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
DEFAULT_TIMEOUT = 30
LONGEST_TIMEOUT = 3600
"""Maximum duration of a request in seconds, from name resolution to the end of the response."""
LONGEST_URL = 8192
PORTS = {"http": 80, "https": 443}

MISSING: Any = object()
"""Marks a missing JSON body, as opposed to null."""

_NO_URL = re.compile("[\x00-\x20\x7f-\x9f\\\\\ud800-\udfff]")
_HOST = re.compile(r"([a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}\.?", re.ASCII)
_IPV6 = re.compile(r"[0-9a-f:.]*:[0-9a-f:.]*", re.ASCII)
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}", re.ASCII)
_NO_VALUE = re.compile("[\x00-\x08\x0a-\x1f\x7f]")
_CLASS = re.compile(r"([1-5])xx", re.IGNORECASE)
# They belong to the connection, which pgsched controls.
_RESERVED = {
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
}


class Request(NamedTuple):
    """A validated request."""

    method: str
    scheme: str
    host: str
    """In ASCII."""
    port: int
    target: str
    """Path and query."""
    headers: dict[str, str]
    body: bytes | None
    timeout: float
    expected: frozenset[int]
    expect: str
    """The expected statuses, for errors."""

    def __str__(self) -> str:
        """Return method and URL, without the query, which may contain a secret."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == PORTS[self.scheme] else f":{self.port}"
        return f"{self.method} {self.scheme}://{host}{port}{self.target.partition('?')[0]}"


def read_request(
    *, method: object, url: object, headers: object, json: object, body: object, timeout: object, expect: object
) -> Request:
    """Parse a payload. Raises Discard, naming the key, the value and the rule."""
    if not isinstance(method, str) or method.upper() not in METHODS:
        raise _refused("method", f"one of {', '.join(METHODS)}", method)
    parts = _url(url)
    sent = _headers(headers)
    if not isinstance(timeout, int | float) or isinstance(timeout, bool) or not 0 < timeout <= LONGEST_TIMEOUT:
        raise _refused("timeout", f"more than 0 and at most {LONGEST_TIMEOUT} seconds", timeout)
    expected, words = _expected(expect)
    target = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
    if parts.query:
        target += "?" + quote(parts.query, safe="/%:@!$&'()*+,;=~-._?[]{}|^`<>\"")
    return Request(
        method=method.upper(),
        scheme=parts.scheme,
        host=_host(parts),
        port=_port(parts) or PORTS[parts.scheme],
        target=target,
        headers=sent,
        body=_body(json, body, sent),
        timeout=float(timeout),
        expected=expected,
        expect=words,
    )


def _url(url: object) -> SplitResult:
    if not isinstance(url, str) or not 0 < len(url) <= LONGEST_URL or _NO_URL.search(url):
        raise _refused("url", f"text of at most {LONGEST_URL} characters without spaces or control characters", url)
    try:
        parts = urlsplit(url)
    except ValueError:
        raise _refused("url", "a URL", url) from None
    if parts.scheme not in PORTS:
        raise _refused("url", "begin with http:// or https://", url, verb="must")
    if parts.username is not None or parts.password is not None:
        raise Discard("url must not hold a user or a password: give the header Authorization")
    return parts


def _host(parts: SplitResult) -> str:
    host = parts.hostname
    try:
        found = host if host is None or host.isascii() else host.encode("idna").decode("ascii")
    except UnicodeError:
        found = None
    if not found or (not _HOST.fullmatch(found) and not _IPV6.fullmatch(found)) or len(found) > 253:
        raise _refused("url", "name a host", parts.geturl(), verb="must")
    return found


def _port(parts: SplitResult) -> int | None:
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port == 0:
        raise _refused("url", "have a port between 1 and 65535", parts.geturl(), verb="must")
    return port


def _headers(headers: object) -> dict[str, str]:
    if headers is None:
        return {}
    if not isinstance(headers, Mapping):
        raise _refused("headers", "an object of texts", headers)
    sent: dict[str, str] = {}
    for name, value in headers.items():
        if not _HEADER.fullmatch(name):
            raise Discard(f"headers: a name must be letters, digits and hyphens, got {_shown(name)}")
        if name.lower() in _RESERVED:
            raise Discard(f"headers: {name} is set by pgsched and must be left out")
        text = str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value
        # The value is not shown: it may be a secret.
        if not isinstance(text, str) or _NO_VALUE.search(text):
            raise Discard(f"headers: the value of {name} must be text without control characters")
        if name.lower() in map(str.lower, sent):
            raise Discard(f"headers must not name one twice, got {name} again")
        try:
            text.encode("latin-1")
        except UnicodeEncodeError:
            raise Discard(f"headers: the value of {name} must be Latin-1 text") from None
        sent[name] = text
    return sent


def _body(json: object, body: object, headers: dict[str, str]) -> bytes | None:
    """Return the body; add its content type to the headers if it is missing."""
    if json is not MISSING and body is not None:
        raise Discard("json and body exclude each other")
    typed = any(name.lower() == "content-type" for name in headers)
    if json is not MISSING:
        if not typed:
            headers["Content-Type"] = "application/json"
        try:
            return encode_json(json, "json").encode()
        except InvalidTask as error:
            raise Discard(str(error)) from None
    if body is None:
        return None
    if not isinstance(body, str):
        raise Discard(f"body must be text, got a {type(body).__name__} (an object is given as json)")
    if not typed:
        headers["Content-Type"] = "text/plain; charset=utf-8"
    return body.encode("utf-8", "surrogatepass")


def _expected(expect: object) -> tuple[frozenset[int], str]:
    given = expect if isinstance(expect, list) else [expect]
    codes: set[int] = set()
    for one in given:
        found = _CLASS.fullmatch(one) if isinstance(one, str) else None
        if found:
            codes.update(range(int(found[1]) * 100, int(found[1]) * 100 + 100))
        elif isinstance(one, int) and not isinstance(one, bool) and 100 <= one <= 599:
            codes.add(one)
        else:
            raise _refused("expect", 'status codes such as 204 or classes such as "2xx"', one)
    if not codes:
        raise _refused("expect", "at least one status", expect)
    return frozenset(codes), " or ".join(map(str, given))


def _refused(name: str, rule: str, value: object, *, verb: str = "must be") -> Discard:
    return Discard(f"{name} {verb} {rule}, got {_shown(value)}")


def _shown(value: object) -> str:
    # A query may hold a secret.
    text = repr(value.partition("?")[0] if isinstance(value, str) else value)
    return text if len(text) <= 200 else text[:200] + "…"
