"""Who asks, and whether he may: roles, tokens, the cookie of people who logged in.

A route says what it needs by a dependency, and gets an :class:`Actor`::

    @router.post("/tasks/{id}/cancel")
    async def cancel(request: Request, id: int, actor: Operator) -> ...
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from starlette.requests import HTTPConnection

from pgsched.web.auth.session import COOKIE, open_session
from pgsched.web.settings import WebSettings, is_loopback
from pgsched.web.state import state_of

VIEWER = "viewer"
OPERATOR = "operator"
METRICS = "metrics"
"""The role of the token that opens ``/metrics`` and nothing else."""
LOCAL = "local"
"""The name of whoever sits at this machine while no tokens are set."""

_FORWARDING = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip")


class AccessDenied(Exception):
    """A request that may not do what it asks: 401 when a token may help, 403 when none will, 429 when it is to wait."""

    def __init__(self, status: int, detail: str, *, wait: int = 0) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.wait = wait
        """Seconds after which it may be tried again."""


@dataclass(frozen=True, kw_only=True)
class Actor:
    """Who makes a request."""

    name: str
    """What he called himself when he logged in, else his role; ``local`` when no tokens are set."""
    role: str
    """``viewer`` or ``operator``; ``metrics`` for a scraper with a token of its own."""
    remote: str | None
    """The address that the request came from."""

    @property
    def may_change(self) -> bool:
        """Whether buttons that change something are for him."""
        return self.role == OPERATOR


def role_of(settings: WebSettings, token: str) -> str | None:
    """Return the role that a token opens; in the same time whichever it is."""
    given = token.encode("utf-8", "replace")
    is_operator = settings.operator_token is not None and hmac.compare_digest(given, settings.operator_token.encode())
    is_viewer = settings.viewer_token is not None and hmac.compare_digest(given, settings.viewer_token.encode())
    is_metrics = settings.metrics_token is not None and hmac.compare_digest(given, settings.metrics_token.encode())
    return OPERATOR if is_operator else VIEWER if is_viewer else METRICS if is_metrics else None


def try_token(connection: HTTPConnection, token: str) -> str | None:
    """Return the role that a token opens. Raises AccessDenied when its address gave too many wrong ones before."""
    state = state_of(connection)
    remote = connection.client.host if connection.client else None
    if seconds := state.throttle.seconds_to_wait(remote):
        detail = f"too many wrong tokens came from your address: try again in {seconds} s"
        raise AccessDenied(429, detail, wait=seconds)
    role = role_of(state.settings, token)
    if role is None:
        state.throttle.note_wrong(remote)
    return role


def identify(connection: HTTPConnection) -> Actor | None:
    """Return who makes a request; None when he has not said it. Raises AccessDenied for a wrong token."""
    settings = state_of(connection).settings
    remote = connection.client.host if connection.client else None
    if not settings.protected:
        check_local(connection)
        return Actor(name=LOCAL, role=OPERATOR, remote=remote)
    header = connection.headers.get("authorization")
    if header is not None:
        kind, _, token = header.partition(" ")
        role = try_token(connection, token.strip()) if kind.lower() == "bearer" else None
        if role is None:
            raise AccessDenied(401, "the Authorization header must be 'Bearer TOKEN' with a token that is known here")
        return Actor(name=role, role=role, remote=remote)
    session = open_session(settings, connection.cookies.get(COOKIE))
    if session is None:
        return None
    return Actor(name=session.name or session.role, role=session.role, remote=remote)


def check_local(connection: HTTPConnection) -> None:
    """Raise AccessDenied unless a request comes from this machine, to a name of this machine, straight.

    The name: a page from elsewhere may lead its own name here, and would then be read as if it were ours.
    """
    remote = connection.client.host if connection.client else None
    if not is_loopback(remote):
        raise AccessDenied(403, f"no tokens are set, so only this machine is served, not {remote}")
    if any(header in connection.headers for header in _FORWARDING):
        raise AccessDenied(403, "the request came through a proxy: set operator_token or viewer_token")
    host = connection.headers.get("host", "")
    if not is_loopback(host_name(host)):
        raise AccessDenied(403, f"Host must be a name of this machine while no tokens are set, got {host[:100]!r}")


def host_name(authority: str) -> str:
    """The host of ``host:port``, without the brackets of an IPv6 address."""
    if authority.startswith("["):
        return authority[1:].partition("]")[0]
    return authority.partition(":")[0]


async def scraper(request: Request) -> Actor:
    """A dependency: whoever may read ``/metrics``."""
    actor = identify(request)
    if actor is None:
        raise AccessDenied(401, "a token is needed: log in, or send 'Authorization: Bearer TOKEN'")
    return actor


async def viewer(request: Request) -> Actor:
    """A dependency: whoever may look."""
    actor = await scraper(request)
    if actor.role == METRICS:
        raise AccessDenied(403, "this token opens /metrics alone")
    return actor


async def operator(request: Request) -> Actor:
    """A dependency: whoever may change something."""
    actor = await viewer(request)
    if not actor.may_change:
        raise AccessDenied(403, "an operator's token is needed to change something, this is a viewer's")
    return actor


Viewer = Annotated[Actor, Depends(viewer)]
Operator = Annotated[Actor, Depends(operator)]


def shows_payloads(request: Request, actor: Actor) -> bool:
    """Whether payloads, metadata, results, progress, logged fields and errors are for this actor's eyes."""
    return actor.may_change or not state_of(request).settings.hide_payloads
