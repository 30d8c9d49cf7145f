"""What the layers around the app have in common: they pass on whatever is not an HTTP request."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send


class HttpLayer:
    """A layer around ``app`` that looks at its HTTP requests."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take one request, or whatever else a server sends."""
        await (self.request if scope["type"] == "http" else self._app)(scope, receive, send)

    async def request(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take one HTTP request."""
        await self._app(scope, receive, send)
