"""Middleware around the app, and the one that sets the security headers of every answer."""

from __future__ import annotations

from urllib.parse import quote, unquote

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pgsched.web.paths import root_of, route_path

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

ALWAYS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


class HttpLayer:
    """Middleware around ``app`` that processes its HTTP requests."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request, or any other message of the server."""
        await (self.request if scope["type"] == "http" else self._app)(scope, receive, send)

    async def request(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one HTTP request."""
        await self._app(scope, receive, send)


class KeyInPath(HttpLayer):
    """Keeps a task's key in a path percent-encoded, so that it is one segment whatever characters it contains."""

    async def request(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        path, raw = route_path(scope), scope.get("raw_path") or b""
        for below in ("/tasks/by-key/", "/api/v1/tasks/by-key/"):
            if path.startswith(below):
                _, mark, quoted = raw.decode("ascii", "replace").partition(below)
                key, slash, rest = (quoted if mark else quote(path.removeprefix(below))).partition("/")
                kept = below + quote(unquote(key), safe="") + slash + unquote(rest)
                scope = {**scope, "path": root_of(scope) + kept}
        await self._app(scope, receive, send)


class Headers(HttpLayer):
    """Sets the headers on every answer of ``app``.

    A browser caches only static files: :mod:`pgsched.web.static_files`.
    """

    async def request(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(ALWAYS)
                is_file = message["status"] in (200, 304) and route_path(scope).startswith("/static/")
                if not is_file or "Cache-Control" not in headers:
                    headers["Cache-Control"] = "no-store"
            await send(message)

        await self._app(scope, receive, with_headers)
