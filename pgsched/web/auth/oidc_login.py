"""The two pages of a login by an identity provider: the way there, and the way back."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from pgsched.observability.logs import get_logger
from pgsched.web.auth.login import give_session, login_page, safe_next
from pgsched.web.auth.oidc import LoginFailed, Oidc, forget
from pgsched.web.auth.session import OIDC_KEY, begin_session
from pgsched.web.paths import root_of, site_of
from pgsched.web.state import front_of, remote_of

log = get_logger("pgsched.web")

router = APIRouter(include_in_schema=False)


@router.get("/login/oidc")
async def begin(request: Request) -> Response:
    """Lead to the provider."""
    # Of several databases each has its login; the provider leads back to that of the site.
    goes_on = root_of(request.scope).removeprefix(site_of(request)) + safe_next(request.query_params.get("next"))
    try:
        return await _oidc(request).begin(request, goes_on, path=_path(request))
    except LoginFailed as failed:
        return _refused(request, failed)


@router.get("/login/oidc/callback")
async def finish(request: Request) -> Response:
    """Give a cookie to somebody who comes back from the provider with a role."""
    settings = _oidc(request).settings
    try:
        claims, goes_on = await _oidc(request).finish(request)
        role = settings.role_of(claims)
        if role is None:
            text = "you are logged in at the identity provider, but have no role here: ask who runs pgsched"
            raise LoginFailed(text, status=403, reason=f"no role in {settings.roles_claim}")
        name = settings.name_of(claims)
        if name is None:
            text = "the identity provider does not say who you are"
            raise LoginFailed(text, status=403, reason="no name in the claims")
    except LoginFailed as failed:
        response = _refused(request, failed)
    else:
        response = RedirectResponse(site_of(request) + safe_next(goes_on), status_code=303)
        give_session(request, response, begin_session(role, name, by=OIDC_KEY))
    forget(response, _path(request))
    return response


def _refused(request: Request, failed: LoginFailed) -> Response:
    log.warning("login_refused", remote=remote_of(request), by=OIDC_KEY, reason=failed.reason)
    return login_page(request, "/", status=failed.status, problem=str(failed))


def _oidc(request: Request) -> Oidc:
    found = front_of(request).oidc
    if found is None:
        raise AssertionError("these routes are there with a provider alone")
    return found


def _path(request: Request) -> str:
    return site_of(request) or "/"
