"""Notices: the result of an action, shown once on the next page.

A notice is kept in a signed cookie, so that it can only come from an action: a link from somebody else cannot set it.
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
"""A later page does not show the notice any more."""


def give(request: Request, response: Response, text: str, path: str) -> None:
    """Set the notice of the page at ``path``."""
    said = {"text": text, "path": href(request, path).partition("?")[0], "until": time.time() + SECONDS}
    sealed = seal(front_of(request).key, said)
    give_cookie(request, response, COOKIE, sealed, seconds=SECONDS, samesite="strict")


def taken(request: Request) -> str | None:
    """Return the notice for the page of a request; requests of scripts for a part of a page leave it to the page."""
    if request.headers.get("sec-fetch-mode", "navigate") != "navigate":
        return None
    said = unseal(front_of(request).key, request.cookies.get(COOKIE))
    here = root_of(request.scope) + route_path(request.scope)
    if said is None or said.get("path") != here or not said.get("until", 0) > time.time():
        return None
    return str(said["text"])


def forget(request: Request, response: Response) -> None:
    """Delete the notice."""
    take_cookie(request, response, COOKIE, samesite="strict")
