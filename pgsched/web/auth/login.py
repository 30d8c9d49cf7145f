"""The login of people: a token is given once, a cookie carries its role from then on."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import parse_qs

from fastapi import APIRouter, Depends, Request
from starlette.responses import RedirectResponse, Response

from pgsched.observability.logs import get_logger
from pgsched.web.auth.access import METRICS, AccessDenied, check_local, identify, try_token
from pgsched.web.auth.session import COOKIE, MAX_NAME, SECONDS, seal_session
from pgsched.web.paths import href
from pgsched.web.rendering import page
from pgsched.web.state import remote_of, state_of

log = get_logger("pgsched.web")

MAX_FORM = 4096
"""Bytes of the longest form."""

router = APIRouter(include_in_schema=False)


async def _form(request: Request) -> dict[str, str]:
    """The fields of the form; no more is read than a form of ours may have."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_FORM:
            raise AccessDenied(403, f"the form must have at most {MAX_FORM} bytes")
    return {name: values[-1] for name, values in parse_qs(body.decode("utf-8", "replace")).items()}


@router.get("/login")
async def show(request: Request) -> Response:
    """Ask for a token."""
    if not state_of(request).settings.protected:
        check_local(request)
        return RedirectResponse(href(request, "/"), status_code=303)
    return page(request, "login.html", problem=None, name="")


@router.post("/login")
async def log_in(request: Request, form: Annotated[dict[str, str], Depends(_form)]) -> Response:
    """Give a cookie for a token."""
    state, remote = state_of(request), remote_of(request)
    name = form.get("name", "").strip()
    try:
        role = try_token(request, form.get("token", "").strip())
    except AccessDenied as denied:
        log.warning("login_refused", remote=remote, wait=denied.wait)
        answer = page(request, "login.html", status=denied.status, problem=denied.detail, name=name[:MAX_NAME])
        answer.headers["Retry-After"] = str(denied.wait)
        return answer
    if role == METRICS:
        role = None  # it opens /metrics alone
    if role is None or len(name) > MAX_NAME or not (name.isprintable() or not name):
        problem = "this token is not known here" if role is None else f"name must have at most {MAX_NAME} characters"
        log.warning("login_refused", remote=remote)
        return page(request, "login.html", status=401 if role is None else 422, problem=problem, name=name[:MAX_NAME])
    state.throttle.forget(remote)
    response = RedirectResponse(href(request, "/"), status_code=303)
    response.set_cookie(
        COOKIE,
        seal_session(state.settings, role, name or None),
        max_age=SECONDS,
        path=href(request, "") or "/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )
    log.info("logged_in", role=role, name=name or None, remote=remote)
    return response


@router.post("/logout")
async def log_out(request: Request) -> Response:
    """Take the cookie back."""
    identify(request)
    response = RedirectResponse(href(request, "/login"), status_code=303)
    response.delete_cookie(COOKIE, path=href(request, "") or "/", httponly=True, samesite="strict")
    return response
