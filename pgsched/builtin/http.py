"""The handler ``pgsched.http``: one request, sent to a checked address.

The connection is opened here and handed to the standard library's http.client: a library that opens its own would
resolve the name again, and might connect to another address than the checked one.
"""

from __future__ import annotations

import asyncio
import json as json_
import socket
import ssl
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache, partial
from http.client import HTTPConnection, HTTPException, HTTPResponse, IncompleteRead
from typing import Any, NamedTuple

from pgsched.builtin.destinations import Destinations
from pgsched.builtin.request import DEFAULT_TIMEOUT, MISSING, Request, read_request
from pgsched.concurrency.thread_pool import in_thread
from pgsched.domain.errors import Discard, InvalidTask, Retry
from pgsched.domain.json_text import encode_json
from pgsched.domain.storable import storable
from pgsched.execution.context import Context

MAX_BODY_BYTES = 65_536
"""Maximum size of a stored response body."""
MAX_HEADER_CHARACTERS = 1000
SHOWN_CHARACTERS = 500
"""Maximum length of a response in an error."""
LONGEST_RETRY_AFTER = 86_400
"""Maximum delay that a server may request, in seconds."""
KEPT_HEADERS = ("content-type", "content-length", "etag", "last-modified", "location", "retry-after", "x-request-id")
THREAD = "pgsched http"


class Answer(NamedTuple):
    """The response."""

    status: int
    headers: dict[str, str]
    body: bytes
    is_cut: bool


class Http:
    """Sends the requests of one worker."""

    def __init__(self, destinations: Destinations) -> None:
        self._destinations = destinations

    async def handle(
        self,
        ctx: Context,
        url: str,
        method: str = "GET",
        headers: dict[str, str] | None = None,
        json: Any = MISSING,
        body: str | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        expect: Any = "2xx",
    ) -> dict[str, Any]:
        """Send a request and return the response. Raises Retry or Discard unless the response is as expected."""
        request = read_request(
            method=method, url=url, headers=headers, json=json, body=body, timeout=timeout, expect=expect
        )
        request = request._replace(headers=_own_headers(ctx, request) | request.headers)
        try:
            async with asyncio.timeout(request.timeout) as limit:
                answer = await self._exchange(request)
        except (OSError, HTTPException) as error:
            if limit.expired():
                raise Retry(reason=f"{request}: no answer within {request.timeout:g} s") from None
            raise Retry(reason=f"{request}: {type(error).__name__}: {error}") from None
        if answer.status not in request.expected:
            raise _unexpected(request, answer)
        result = {"status": answer.status, "headers": answer.headers, "body": _shown_body(answer)}
        return result | ({"truncated": True} if answer.is_cut else {})

    async def _exchange(self, request: Request) -> Answer:
        sock = await self._connect(request)
        try:
            sock.setblocking(True)
            if request.scheme == "https":
                # Wrapped here, with the handshake in the thread, so that the shutdown below reaches the socket in use.
                sock = _tls().wrap_socket(sock, server_hostname=request.host, do_handshake_on_connect=False)
            return await in_thread(partial(_send, request, sock), name=THREAD)
        finally:
            # Ends whatever the thread still waits for. Not SSLSocket's shutdown, which must not run concurrently with
            # a read.
            with suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

    async def _connect(self, request: Request) -> socket.socket:
        """Connect to the first allowed address that accepts the connection."""
        addresses = await self._resolve(request)
        failed: OSError | None = None
        for place, (family, address) in enumerate(addresses):
            try:
                sock = socket.socket(family, socket.SOCK_STREAM)
            except OSError as error:  # a machine without IPv6
                failed = error
                continue
            try:
                sock.setblocking(False)
                # An unresponsive address must leave time for the others.
                async with asyncio.timeout(request.timeout / (len(addresses) - place)):
                    await asyncio.get_running_loop().sock_connect(sock, address)
                return sock
            except OSError as error:  # including TimeoutError
                sock.close()
                failed = error if str(error) else TimeoutError(f"{address[0]} does not answer")
            except BaseException:
                sock.close()
                raise
        assert failed is not None  # noqa: S101
        raise failed

    async def _resolve(self, request: Request) -> list[tuple[socket.AddressFamily, Any]]:
        """Return the allowed addresses of the host. Resolved once, so that the checked address is the one used."""
        look_up = partial(socket.getaddrinfo, request.host, request.port, type=socket.SOCK_STREAM)
        found = await in_thread(look_up, name=THREAD)
        allowed: list[tuple[socket.AddressFamily, Any]] = []
        refused = ""
        for family, _, _, _, address in found:
            kind = self._destinations.refusal(request.host, str(address[0]))
            if kind is None:
                allowed.append((family, address))
            else:
                refused = f"{address[0]}, {kind}"
        if not allowed:
            raise Discard(
                f"{request}: leads to {refused or 'no address'}, which this worker refuses "
                "(its operator may allow it: --http-allow, --http-allow-private)"
            )
        return allowed


class _Connection(HTTPConnection):
    """A connection on an existing socket; it never opens another."""

    auto_open = 0

    def __init__(self, request: Request, sock: socket.socket) -> None:
        self.default_port = 443 if request.scheme == "https" else 80  # left out of the Host header
        super().__init__(request.host, request.port)
        self.sock = sock


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


def _send(request: Request, sock: socket.socket) -> Answer:
    """Send a request and read the response, in a thread."""
    connection = _Connection(request, sock)
    try:
        if isinstance(sock, ssl.SSLSocket):
            sock.do_handshake()
        connection.request(request.method, request.target, body=request.body, headers=request.headers)
        response = connection.getresponse()
        body = response.read(MAX_BODY_BYTES + 1)
        is_cut = len(body) > MAX_BODY_BYTES
        if not is_cut and response.length:  # read() does not notice a premature end
            raise IncompleteRead(body, response.length)
        return Answer(response.status, _kept(response), body[:MAX_BODY_BYTES], is_cut)
    finally:
        connection.close()


def _own_headers(ctx: Context, request: Request) -> dict[str, str]:
    """Return pgsched's headers, unless the task sets them: they let a server recognise repeated requests."""
    own = {"User-Agent": "pgsched", "Pgsched-Task-Id": str(ctx.id), "Pgsched-Attempt": str(ctx.attempt)}
    if request.method not in ("GET", "HEAD", "OPTIONS"):
        own["Idempotency-Key"] = f"pgsched-{ctx.id}-{ctx.scheduled_for:%Y%m%dT%H%M%S.%fZ}"
    said = {name.lower() for name in request.headers}
    return {name: value for name, value in own.items() if name.lower() not in said}


def _kept(response: HTTPResponse) -> dict[str, str]:
    found = ((name, response.headers.get(name)) for name in KEPT_HEADERS)
    return {name: storable(value, MAX_HEADER_CHARACTERS) for name, value in found if value is not None}


def _shown_body(answer: Answer) -> Any:
    """Return the body as JSON if PostgreSQL can store it, otherwise as text."""
    if "json" in answer.headers.get("content-type", "").lower() and not answer.is_cut:
        with suppress(ValueError, RecursionError, InvalidTask):
            value = json_.loads(answer.body)
            encode_json(value, "body")
            return value
    return _text(answer)


def _text(answer: Answer) -> str:
    kind = answer.headers.get("content-type", "").lower()
    charset = kind.partition("charset=")[2].partition(";")[0].strip(" \"'") or "utf-8"
    try:
        text = answer.body.decode(charset, "replace")
    except (LookupError, ValueError):  # an unknown charset
        text = answer.body.decode("utf-8", "replace")
    return storable(text, MAX_BODY_BYTES)


def _unexpected(request: Request, answer: Answer) -> Retry:
    """Return the failure for an unexpected status."""
    hint = "; redirects are not followed" if 300 <= answer.status < 400 else ""
    where = answer.headers.get("location")
    said = storable(_text(answer), SHOWN_CHARACTERS).strip()
    reason = f"{request}: answered {answer.status}, expected {request.expect}{hint}"
    reason += f" (location: {where})" if where else ""
    delay = _retry_after(answer.headers.get("retry-after")) if answer.status in (429, 503) else None
    return Retry(delay, f"{reason}: {said}" if said else reason)


def _retry_after(value: str | None) -> float | None:
    """Return the delay in seconds of a Retry-After header with seconds or a date; None for anything else."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return float(min(int(value.strip()[:9]), LONGEST_RETRY_AFTER))
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, TypeError, OverflowError):
        return None
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return min(max(0.0, (moment - datetime.now(UTC)).total_seconds()), LONGEST_RETRY_AFTER)
