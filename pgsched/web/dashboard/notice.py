"""What was done a moment ago, said once, on the page that follows.

It is kept in a cookie that we have signed, so that it comes from what was done: an address that somebody was sent says
nothing.
"""

from __future__ import annotations

import time
from typing import Final

from fastapi import Request
from starlette.responses import Response

from pgsched.web.auth.cookies import give_cookie, take_cookie
from pgsched.web.auth.sealing import seal, unseal
from pgsched.web.paths import href, root_of, route_path
from pgsched.web.state import front_of

COOKIE: Final = "pgsched_notice"
SECONDS: Final = 60
"""Who comes later knows what he did."""


def give(request: Request, response: Response, text: str, path: str) -> None:
    """Let the page at ``path`` say a text."""
    said = {"text": text, "path": href(request, path).partition("?")[0], "until": time.time() + SECONDS}
    sealed = seal(front_of(request).key, said)
    give_cookie(request, response, COOKIE, sealed, seconds=SECONDS, samesite="strict")


def taken(request: Request) -> str | None:
    """Return what the page of a request is to say; a part of a page that a script asks for leaves it to the page."""
    if request.headers.get("sec-fetch-mode", "navigate") != "navigate":
        return None
    said = unseal(front_of(request).key, request.cookies.get(COOKIE))
    here = root_of(request.scope) + route_path(request.scope)
    if said is None or said.get("path") != here or not said.get("until", 0) > time.time():
        return None
    return str(said["text"])


def forget(request: Request, response: Response) -> None:
    """Say it no more."""
    take_cookie(request, response, COOKIE, samesite="strict")
