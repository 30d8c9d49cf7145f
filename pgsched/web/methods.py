"""HEAD and OPTIONS for every route: GET's answer without its content, and the allowed methods."""

from __future__ import annotations

from typing import Final

from starlette.datastructures import Headers as HttpHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.routing import Match
from starlette.types import Message, Receive, Scope, Send

from pgsched.web.middleware import HttpLayer
from pgsched.web.paths import route_path

_METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")


def allowed(request: Request) -> str:
    """Return the methods of a request's path, for the header Allow."""
    if route_path(request.scope).startswith("/static/"):
        return "GET, HEAD, OPTIONS"
    routes = request.app.router.routes
    found = [
        method
        for method in _METHODS
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in routes)
    ]
    return ", ".join([*found, *(["HEAD"] if "GET" in found else []), "OPTIONS"])


class Head(HttpLayer):
    """Answers HEAD like GET, without the content. A stream ends after its headers."""

    async def request(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        is_stream = ended = False

        async def without_content(message: Message) -> None:
            nonlocal is_stream, ended
            if message["type"] == "http.response.start":
                kind = HttpHeaders(raw=message["headers"]).get("content-type", "")
                is_stream = kind.startswith("text/event-stream")
                await send(message)
            elif message["type"] == "http.response.body":
                more = message.get("more_body", False) and not is_stream
                if not more and not ended:
                    ended = True
                    await send({"type": "http.response.body", "body": b"", "more_body": False})
                if is_stream:
                    raise OSError("nobody reads the content of an answer to HEAD")  # As if the client had disconnected.

        try:
            await self._app({**scope, "method": "GET"}, receive, without_content)
        except (ClientDisconnect, OSError):
            if not (is_stream and ended):
                raise
