"""Cookies: for the whole site, invisible to scripts, and TLS only where the page was loaded over TLS."""

from __future__ import annotations

from typing import Literal

from starlette.requests import Request
from starlette.responses import Response

from pgsched.web.paths import site_of

SameSite = Literal["lax", "strict"]


def give_cookie(
    request: Request, response: Response, name: str, value: str, *, seconds: int, samesite: SameSite
) -> None:
    """Set a cookie on an answer, valid for this many seconds."""
    response.set_cookie(
        name,
        value,
        max_age=seconds,
        path=site_of(request) or "/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite=samesite,
    )


def take_cookie(request: Request, response: Response, name: str, *, samesite: SameSite) -> None:
    """Delete a cookie."""
    response.delete_cookie(name, path=site_of(request) or "/", httponly=True, samesite=samesite)
