"""Rejects cross-site requests that change or load anything, and bodies that are too large."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.types import Message, Receive, Scope, Send

from pgsched.web.auth.access import AccessDenied
from pgsched.web.auth.session import COOKIE
from pgsched.web.middleware import HttpLayer

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
MAX_BODY = 16 * 1024**2
"""Bytes."""
_PORTS = {"http": 80, "https": 443}


def check_same_site(connection: HTTPConnection) -> None:
    """Raise AccessDenied for a request of another site's page, unless it is a navigation by a link.

    Scripts of other sites cannot read our answers anyway; but a stream that they open would use up a place, and a page
    in a frame could be clicked. For a request that changes something browsers send its source, in Sec-Fetch-Site or
    else in Origin. Programs send neither; a request with neither but with our cookie comes from no known browser and is
    rejected.
    """
    headers = connection.headers
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if connection.scope["method"] in SAFE_METHODS:
        foreign = site is not None and site.lower() not in ("same-origin", "none")
        is_link = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") in (None, "document")
        if foreign and not is_link:
            raise AccessDenied(403, "a page of another site may not load anything from here")
        return
    if site is not None:
        same = site.lower() in ("same-origin", "none")
    elif origin is not None:
        same = is_own_origin(origin, headers)
    else:
        same = COOKIE not in connection.cookies
    if not same:
        raise AccessDenied(403, "a page of another site may not change anything here")


def is_own_origin(origin: str, headers: Headers) -> bool:
    """Return whether an origin is the requested host. The scheme may differ: a proxy may have terminated TLS."""
    try:
        parts = urlsplit(origin)
        default = _PORTS.get(parts.scheme)
        asked = urlsplit(f"{parts.scheme}://{headers.get('host', '')}")
        return (
            default is not None
            and parts.hostname is not None
            and (parts.hostname, parts.port or default) == (asked.hostname, asked.port or default)
        )
    except ValueError:
        return False


class Guard(HttpLayer):
    """Passes on requests of our own pages and of programs, with bodies up to the maximum size."""

    async def request(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request. Raises AccessDenied and HTTPException, which outer middleware turns into answers."""
        connection = HTTPConnection(scope)
        check_same_site(connection)
        length = connection.headers.get("content-length", "")
        if length.isdecimal() and int(length[:20]) > MAX_BODY:
            raise _too_long()
        await self._app(scope, _limited(receive), send)


def _limited(receive: Receive) -> Receive:
    taken = 0

    async def limited() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > MAX_BODY:
            raise _too_long()
        return message

    return limited


def _too_long() -> HTTPException:
    return HTTPException(413, f"the body of a request must have at most {MAX_BODY // 1024**2} MiB")
