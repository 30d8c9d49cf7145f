"""Error answers: problem+json (RFC 9457) under ``/api``, a small page elsewhere."""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlencode

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import Message, Receive, Scope, Send

from pgsched.domain.errors import (
    CalendarNotFound,
    DatabaseUnavailable,
    ErrorNotFound,
    ImpairedDatabase,
    InvalidLock,
    InvalidTask,
    InvalidValue,
    KeyTaken,
    PermissionRefused,
    PgschedError,
    ReadOnlyDatabase,
    SchemaMismatch,
    TaskNotFound,
    TransitionRefused,
    VersionConflict,
    ViewNotFound,
    WorkerNotFound,
    shown,
)
from pgsched.observability.logs import get_logger
from pgsched.web.auth.access import AccessDenied
from pgsched.web.methods import allowed
from pgsched.web.middleware import HttpLayer
from pgsched.web.paths import href, route_path
from pgsched.web.rendering import page
from pgsched.web.state import remote_of

log = get_logger("pgsched.web")

PROBLEM = "application/problem+json"
AWAY = "the database cannot be reached at the moment; see the server's log"
RETRY_SECONDS = 5
"""When a client may retry after the database was unavailable."""

_STATUS: Mapping[type[PgschedError], int] = {
    PermissionRefused: 403,
    TaskNotFound: 404,
    CalendarNotFound: 404,
    ViewNotFound: 404,
    ErrorNotFound: 404,
    WorkerNotFound: 404,
    TransitionRefused: 409,
    KeyTaken: 409,
    VersionConflict: 412,
    InvalidTask: 422,
    InvalidLock: 422,
    DatabaseUnavailable: 503,
    SchemaMismatch: 503,
}
_UNQUOTED = ("payload", "metadata", "token")


@dataclass(frozen=True, kw_only=True)
class Problem:
    """An error; :class:`HTTPException` and our own errors are converted to it."""

    status: int
    detail: str
    field: str | None = None
    """The wrong parameter or field."""
    rule: str | None = None
    """What it must be."""
    task_id: int | None = None
    """The conflicting task."""
    errors: Sequence[Mapping[str, str]] = ()
    """Each of several wrong fields, with its rule."""
    headers: Mapping[str, str] | None = None

    @property
    def title(self) -> str:
        """The status in words."""
        return HTTPStatus(self.status).phrase

    def as_dict(self) -> dict[str, Any]:
        """Return the members of the answer."""
        said: dict[str, Any] = {
            "type": "about:blank",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
        }
        said |= {name: value for name in ("field", "rule", "task_id") if (value := getattr(self, name)) is not None}
        return said | ({"errors": list(self.errors)} if self.errors else {})


def problem_of(error: Exception) -> Problem:
    """Return the description of an error; of an unexpected one only that it occurred."""
    if isinstance(error, AccessDenied):
        headers = {"WWW-Authenticate": 'Bearer realm="pgsched"'} if error.status == 401 else {}
        headers |= {"Retry-After": str(error.wait)} if error.wait else {}
        return Problem(status=error.status, detail=error.detail, headers=headers or None)
    if isinstance(error, RequestValidationError):
        return _invalid(error.errors())
    if isinstance(error, HTTPException):
        return Problem(status=error.status_code, detail=str(error.detail), headers=error.headers)
    status = next((status for kind, status in _STATUS.items() if isinstance(error, kind)), 500)
    if status == 500:
        return Problem(status=500, detail="internal error; its cause is in the server's log")
    detail = _without_server(error) if _names_the_server(error) else str(error)
    if isinstance(error, InvalidValue):
        rule = None if error.field is None else error.sentence
        task_id = error.id if isinstance(error, KeyTaken) else None
        return Problem(status=status, detail=detail, field=error.field, rule=rule, task_id=task_id)
    if isinstance(error, VersionConflict):
        return Problem(status=status, detail=detail, field="If-Match", rule="must be the current ETag")
    return Problem(status=status, detail=detail, headers={"Retry-After": str(RETRY_SECONDS)} if status == 503 else None)


def _names_the_server(error: Exception) -> bool:
    """Return whether an error's text describes the database server, which clients must not see."""
    return isinstance(error, DatabaseUnavailable) and not isinstance(error, ReadOnlyDatabase)


def _without_server(error: Exception) -> str:
    """Return what clients may know of an unavailable server."""
    if isinstance(error, ImpairedDatabase):
        return f"{error.trouble}; see the log of the web server"
    return AWAY


def _invalid(errors: Sequence[Any]) -> Problem:
    found = [_one_invalid(error) for error in errors]
    first = found[0] if found else {"field": "body", "rule": "must be valid", "detail": "the request is not valid"}
    return Problem(
        status=422,
        detail=first["detail"],
        field=first["field"],
        rule=first["rule"],
        errors=[{"field": one["field"], "rule": one["rule"]} for one in found[:20]] if len(found) > 1 else (),
    )


def _one_invalid(error: Mapping[str, Any]) -> dict[str, str]:
    place = [str(part) for part in error.get("loc", ())]
    name = ".".join(place[1:]) or (place[0] if place else "body")
    rule = str(error.get("msg", "is not valid"))
    if error.get("type") == "json_invalid":
        return {"field": "body", "rule": "must be JSON", "detail": f"body must be JSON: {rule}"}
    value = error.get("input")
    got = ""
    if isinstance(value, str | int | float | bool) and not name.startswith(_UNQUOTED):
        got = f", got {shown(value)}"
    return {"field": name, "rule": rule, "detail": f"{name}: {rule}{got}"}


def answer(request: Request, error: Exception) -> Response:
    """Return the answer to a failed request."""
    problem, path = problem_of(error), route_path(request.scope)
    if problem.status == 405:
        if request.method == "OPTIONS":
            return Response(status_code=204, headers={"Allow": allowed(request)})
        problem = replace(problem, headers={"Allow": allowed(request)})
    if problem.status == 500:
        # Without the values of variables, whatever logging an app around this one has set up.
        trace = "".join(traceback.format_exception(error)).rstrip()
        log.error("request_failed", method=request.method, path=path, exception=trace)
    elif _names_the_server(error):
        log.error("database_unavailable", method=request.method, path=path, reason=str(error))
    elif problem.status in (401, 403, 429):
        remote = remote_of(request)
        log.warning("request_refused", method=request.method, path=path, remote=remote, reason=problem.detail)
    if path in ("/api", "/metrics") or path.startswith("/api/"):
        return JSONResponse(problem.as_dict(), status_code=problem.status, headers=problem.headers, media_type=PROBLEM)
    if problem.status == 401 and request.method in ("GET", "HEAD"):
        return RedirectResponse(href(request, _login_for(request, path)), status_code=303)
    response = page(request, "error.html", status=problem.status, problem=problem)
    response.headers.update(problem.headers or {})
    return response


def _login_for(request: Request, path: str) -> str:
    """Return the login page that leads back to the requested page."""
    if path in ("/", "/live"):  # The first page is the default, and paths that only scripts request are left out.
        return "/login"
    query = request.url.query
    return "/login?" + urlencode({"next": quote(path, safe="/:@!$&'()*+,;=~%") + (f"?{query}" if query else "")})


def register_problems(app: FastAPI) -> None:
    """Install handlers for the errors of every route; :class:`Catcher` handles errors outside of routes."""

    async def handle(request: Request, error: Exception) -> Response:
        return answer(request, error)

    for kind in (PgschedError, AccessDenied, HTTPException, RequestValidationError):
        app.add_exception_handler(kind, handle)


class Catcher(HttpLayer):
    """Answers all other errors, once."""

    async def request(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request; an error after the start of the answer closes the connection, as it should."""
        began = False

        async def noting(message: Message) -> None:
            nonlocal began
            began = began or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except ClientDisconnect:  # The client disconnected in the middle of its request: nobody to answer.
            log.debug("client_left", method=scope["method"], path=route_path(scope))
        except Exception as error:
            if began:
                raise
            await answer(Request(scope, receive), error)(scope, receive, send)
