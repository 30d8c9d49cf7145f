"""Cookies of our own: for all of a site, for no script, and over TLS where the page came so."""

from __future__ import annotations

from typing import Literal

from starlette.requests import Request
from starlette.responses import Response

from pgsched.web.paths import site_of

SameSite = Literal["lax", "strict"]


def give_cookie(
    request: Request, response: Response, name: str, value: str, *, seconds: int, samesite: SameSite
) -> None:
    """Put a cookie on an answer that is good for so many seconds."""
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
    """Take a cookie back."""
    response.delete_cookie(name, path=site_of(request) or "/", httponly=True, samesite=samesite)
