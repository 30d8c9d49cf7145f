"""The two routes of a login by an identity provider: the redirect to it, and the callback."""

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
    """Redirect to the provider."""
    # Each of several databases has its login; the provider redirects back to that of the site.
    goes_on = root_of(request.scope).removeprefix(site_of(request)) + safe_next(request.query_params.get("next"))
    try:
        return await _oidc(request).begin(request, goes_on, path=_path(request))
    except LoginFailed as failed:
        return _refused(request, failed)


@router.get("/login/oidc/callback")
async def finish(request: Request) -> Response:
    """Set a cookie for a user who comes back from the provider with a role."""
    settings = _oidc(request).settings
    try:
        claims, goes_on = await _oidc(request).finish(request)
        role = settings.role_of(claims)
        if role is None:
            text = "you are logged in at the identity provider, but have no role here: ask the administrator of pgsched"
            raise LoginFailed(text, status=403, reason=f"no role in {settings.roles_claim}")
        name = settings.name_of(claims)
        if name is None:
            text = "the identity provider sent no name for you"
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
        raise AssertionError("these routes exist only with a provider")
    return found


def _path(request: Request) -> str:
    return site_of(request) or "/"
