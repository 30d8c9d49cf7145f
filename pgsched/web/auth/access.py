"""Who makes a request, and whether they may: roles, tokens, the cookie of people who logged in.

A route says what it needs by a dependency, and gets an :class:`Actor`, which is established once a request::

    @router.post("/tasks/{id}/cancel")
    async def cancel(actor: Operator, id: int) -> ...
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Request

from pgsched.client.async_client import AsyncClient
from pgsched.web.auth.session import COOKIE, Session, open_session
from pgsched.web.services.streams import Client
from pgsched.web.settings import WebSettings, is_loopback
from pgsched.web.state import WebState, front_of, remote_of, state_of

VIEWER = "viewer"
OPERATOR = "operator"
METRICS = "metrics"
"""The role of the token that opens ``/metrics`` and nothing else."""
LOCAL = "local"
"""The name of whoever sits at this machine while no tokens are set."""
CALLER = "pgsched.caller"
"""The key of the ASGI scope under which another face of this process names a :class:`Caller`."""

_FORWARDING = (
    "forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-port", "x-forwarded-prefix",
    "x-forwarded-proto", "x-forwarded-server", "x-real-ip", "x-client-ip", "x-cluster-client-ip",
    "x-envoy-external-address", "x-original-forwarded-for", "true-client-ip", "cf-connecting-ip", "fastly-client-ip",
)  # fmt: skip
"""Headers that proxies add, as the common ones are set up."""


class AccessDenied(Exception):
    """A request that may not do what it asks: 401 when a token may help, 403 when none will, 429 when it is to wait."""

    def __init__(self, status: int, detail: str, *, wait: int = 0) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.wait = wait
        """Seconds after which it may be tried again."""


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Who makes a request from within this process. Nothing that comes over a socket can set a key of the scope."""

    name: str
    role: str
    """``viewer`` or ``operator``."""
    reason: str | None = None
    """Why a change is made, for the audit log."""


@dataclass(frozen=True, kw_only=True)
class Actor:
    """Who makes a request."""

    name: str
    """The name given at login, else the role; ``local`` when no tokens are set."""
    role: str
    """``viewer`` or ``operator``; ``metrics`` for a scraper with a token of its own."""
    request: Request
    session: Session | None = None
    """The session of somebody who logged in; None: a token came with the request, or none is needed."""
    reason: str | None = None
    """Why a change is made, if the caller says so; the audit log keeps it."""

    @property
    def remote(self) -> str | None:
        """The address that the request came from."""
        return remote_of(self.request)

    @property
    def stream_client(self) -> Client:
        """Whose streams his are counted with."""
        return Client(self.remote or "", self.role if self.session is None else self.session.id)

    @property
    def settings(self) -> WebSettings:
        """Those of the web face."""
        return front_of(self.request).settings

    @property
    def state(self) -> WebState:
        """What all requests share."""
        return state_of(self.request)

    @property
    def client(self) -> AsyncClient:
        """The client of the app."""
        return self.state.client

    @property
    def may_change(self) -> bool:
        """Whether this is an operator."""
        return self.role == OPERATOR

    @property
    def sees_payloads(self) -> bool:
        """Whether payloads, metadata, results, progress, logged fields and errors may be shown."""
        return self.may_change or not self.settings.hide_payloads


def role_of(settings: WebSettings, token: str) -> str | None:
    """Return the role that a token opens; in the same time whichever it is."""
    given = token.encode("utf-8", "replace")
    roles = ((OPERATOR, settings.operator_token), (VIEWER, settings.viewer_token), (METRICS, settings.metrics_token))
    opened = [role for role, one in roles if one is not None and hmac.compare_digest(given, one.encode())]
    return opened[0] if opened else None


def try_token(request: Request, token: str) -> str | None:
    """Return the role that a token opens. Raises AccessDenied for a wrong one of an address that gave too many.

    A right one always opens: many may share an address, behind a proxy or a gateway.
    """
    front, remote = front_of(request), remote_of(request)
    role = role_of(front.settings, token)
    if role is not None:
        return role
    if seconds := front.throttle.seconds_to_wait(remote):
        detail = f"too many wrong tokens came from your address: wait {seconds} s before you try another one"
        raise AccessDenied(429, detail, wait=seconds)
    front.throttle.note_wrong(remote)
    return None


async def identify(request: Request) -> Actor | None:
    """Return who makes a request; None when it does not say. Raises AccessDenied for a wrong token."""
    caller = request.scope.get(CALLER)
    if isinstance(caller, Caller):
        return Actor(name=caller.name, role=caller.role, request=request, reason=caller.reason)
    front = front_of(request)
    settings = front.settings
    if not settings.protected:
        check_local(request)
        return Actor(name=LOCAL, role=OPERATOR, request=request)
    header = request.headers.get("authorization")
    if header is not None:
        kind, _, token = header.partition(" ")
        role = try_token(request, token.strip()) if kind.lower() == "bearer" else None
        if role is None:
            raise AccessDenied(401, "the Authorization header must be 'Bearer TOKEN' with a token that is known here")
        return Actor(name=role, role=role, request=request)
    session = open_session(settings, request.cookies.get(COOKIE))
    if session is None or await front.revocations.is_revoked(session.id):
        return None
    return Actor(name=session.name or session.role, role=session.role, request=request, session=session)


def check_local(request: Request) -> None:
    """Raise AccessDenied unless a request comes from this machine, to a name of this machine, straight.

    The name: a page from elsewhere may lead its own name here, and would then be read as if it were ours.
    """
    remote = remote_of(request)
    if not is_loopback(remote):
        raise AccessDenied(403, f"no tokens are set, so only this machine is served, not {remote}")
    if came_through_proxy(request):
        raise AccessDenied(403, "the request came through a proxy: set operator_token or viewer_token")
    host = request.headers.get("host", "")
    if not is_loopback(host_name(host)):
        raise AccessDenied(403, f"Host must be a name of this machine while no tokens are set, got {host[:100]!r}")


def came_through_proxy(request: Request) -> bool:
    """Whether a proxy can be seen: it added a header, speaks HTTP/1.0 as nginx does, or hides another name of ours.

    A browser that says that the page before was of the same origin, and names it by a name that is not this machine's,
    was led here by somebody who put ``localhost`` into Host.
    """
    headers = request.headers
    if any(header in headers for header in _FORWARDING) or request.scope["http_version"] == "1.0":
        return True
    if headers.get("sec-fetch-site", "").lower() != "same-origin":
        return False
    try:
        names = [urlsplit(headers[name]).hostname for name in ("origin", "referer") if name in headers]
    except ValueError:
        return True
    return any(name is not None and not is_loopback(name) for name in names)


def host_name(authority: str) -> str:
    """The host of ``host:port``, without the brackets of an IPv6 address."""
    if authority.startswith("["):
        return authority[1:].partition("]")[0]
    return authority.partition(":")[0]


async def scraper(request: Request) -> Actor:
    """A dependency: whoever may read ``/metrics``."""
    actor = await identify(request)
    if actor is None:
        raise AccessDenied(401, "a token is needed: log in, or send 'Authorization: Bearer TOKEN'")
    return actor


Scraper = Annotated[Actor, Depends(scraper)]


async def viewer(actor: Scraper) -> Actor:
    """A dependency: whoever may look."""
    if actor.role == METRICS:
        raise AccessDenied(403, "this token opens /metrics alone")
    return actor


Viewer = Annotated[Actor, Depends(viewer)]


async def operator(actor: Viewer) -> Actor:
    """A dependency: whoever may change something."""
    if not actor.may_change:
        raise AccessDenied(403, "an operator's token is needed to change something, this is a viewer's")
    return actor


Operator = Annotated[Actor, Depends(operator)]
