"""The login of people: a token is entered once, after that a cookie carries its role."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import parse_qs, urlsplit

from fastapi import APIRouter, Depends, Request
from starlette.responses import RedirectResponse, Response

from pgsched.observability.logs import get_logger
from pgsched.web.auth.access import METRICS, AccessDenied, check_local, identify, try_token
from pgsched.web.auth.cookies import give_cookie, take_cookie
from pgsched.web.auth.session import COOKIE, MAX_NAME, OIDC_KEY, SECONDS, Session, begin_session, seal_session
from pgsched.web.paths import href
from pgsched.web.rendering import page
from pgsched.web.state import front_of, remote_of

log = get_logger("pgsched.web")

MAX_FORM = 4096
"""Maximum size of the form in bytes."""
CLAIMED = " (token)"
"""Appended to the name of a person who came with a token where an identity provider names the others."""
MAX_NEXT = 2000
"""Maximum length of the path to open after a login."""

router = APIRouter(include_in_schema=False)


async def _form(request: Request) -> dict[str, str]:
    """Return the fields of the form; a longer body than our form can have is not read."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_FORM:
            raise AccessDenied(403, f"the form must have at most {MAX_FORM} bytes")
    return {name: values[-1] for name, values in parse_qs(body.decode("utf-8", "replace")).items()}


@router.get("/login")
async def show(request: Request) -> Response:
    """Show the form for a token."""
    goes_on = safe_next(request.query_params.get("next"))
    if not front_of(request).settings.protected:
        check_local(request)
        return RedirectResponse(href(request, goes_on), status_code=303)
    front = front_of(request)
    leaves = await front.oidc.logout_url() if front.oidc is not None and "out" in request.query_params else None
    return login_page(request, goes_on, leaves=leaves)


@router.post("/login")
async def log_in(request: Request, form: Annotated[dict[str, str], Depends(_form)]) -> Response:
    """Exchange a token for a cookie."""
    front, remote = front_of(request), remote_of(request)
    name, goes_on = form.get("name", "").strip(), safe_next(form.get("next"))
    try:
        role = try_token(request, form.get("token", "").strip())
    except AccessDenied as denied:
        log.warning("login_refused", remote=remote, wait=denied.wait)
        answer = login_page(request, goes_on, status=denied.status, problem=denied.detail, name=name)
        answer.headers["Retry-After"] = str(denied.wait)
        return answer
    if role == METRICS:
        role = None  # Such a token is only for /metrics.
    if role is None or len(name) > MAX_NAME or not (name.isprintable() or not name):
        problem = "this token is not valid" if role is None else f"name must have at most {MAX_NAME} characters"
        log.warning("login_refused", remote=remote)
        return login_page(request, goes_on, status=401 if role is None else 422, problem=problem, name=name)
    front.throttle.forget(remote)
    if name and front.settings.oidc is not None:
        name = f"{name[: MAX_NAME - len(CLAIMED)]}{CLAIMED}"
    response = RedirectResponse(href(request, goes_on), status_code=303)
    give_session(request, response, begin_session(role, name or None, by=role))
    return response


def give_session(request: Request, response: Response, session: Session) -> None:
    """Set the cookie of a session on an answer. Links from other sites carry it (Lax), their other requests do not."""
    sealed = seal_session(front_of(request).settings, session)
    give_cookie(request, response, COOKIE, sealed, seconds=SECONDS, samesite="lax")
    log.info("logged_in", role=session.role, name=session.name, by=session.by, remote=remote_of(request))


def safe_next(given: str | None) -> str:
    """Return our page that was requested before the login; the first page for any other path."""
    if given is None or len(given) > MAX_NEXT or not re.fullmatch(r"/(?![/\\])[!-\[\]-~]*", given):
        return "/"
    return "/" if re.match(r"/log(in|out)\b", given) else given


@router.post("/logout")
async def log_out(request: Request) -> Response:
    """Delete the cookie, and revoke its session in every process."""
    actor = await identify(request)
    if actor is not None and actor.session is not None:
        front = front_of(request)
        front.streams.end_session(actor.session.id)
        await front.revocations.revoke(actor.session.id, actor.session.end)
        log.info("logged_out", role=actor.role, name=actor.session.name, remote=actor.remote)
    at_provider = actor is not None and actor.session is not None and actor.session.by == OIDC_KEY
    response = RedirectResponse(href(request, "/login?out" if at_provider else "/login"), status_code=303)
    take_cookie(request, response, COOKIE, samesite="lax")
    return response


def login_page(
    request: Request,
    goes_on: str,
    *,
    status: int = 200,
    problem: str | None = None,
    name: str = "",
    leaves: str | None = None,
) -> Response:
    """Return the login page; ``leaves``: the URL where a user who logged out here logs out at the provider."""
    front = front_of(request)
    provider = None if front.settings.oidc is None else urlsplit(front.settings.oidc.issuer).hostname
    return page(
        request,
        "login.html",
        status=status,
        problem=problem,
        name=name[:MAX_NAME],
        next=goes_on,
        provider=provider,
        tokens=front.settings.has_tokens,
        leaves=leaves,
    )
