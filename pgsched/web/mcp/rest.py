"""The REST API, asked within this process: one contract, one set of rights and one audit log for all faces."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final
from urllib.parse import quote

import httpx2
from starlette.types import ASGIApp, Receive, Scope, Send

from pgsched.web.auth.access import CALLER, Caller

_API: Final = "http://pgsched/api/v1"


class Refused(Exception):
    """A request that the API refused; its text is one line for whoever called the tool."""

    def __init__(self, detail: str, *, status: int = 0) -> None:
        super().__init__(detail)
        self.status = status


class Rest:
    """The API as one caller sees it."""

    def __init__(self, app: ASGIApp, caller: Caller, *, remote: str) -> None:
        """``remote`` is where the caller is, for the audit log."""
        self._app = app
        self._remote = remote
        self.caller = caller

    def because(self, reason: str) -> Rest:
        """Return the same API for changes that are made for this reason."""
        return Rest(self._app, replace(self.caller, reason=reason), remote=self._remote)

    async def get(self, path: str, **query: Any) -> Any:
        """Return what a path says. A query's None is left out. Raises Refused."""
        return await self._ask("GET", path, query=query)

    async def post(self, path: str, body: Mapping[str, Any] | None = None, **query: Any) -> Any:
        """Change something. Raises Refused."""
        return await self._ask("POST", path, query=query, body=body)

    async def _ask(
        self, method: str, path: str, *, query: Mapping[str, Any], body: Mapping[str, Any] | None = None
    ) -> Any:
        async def named(scope: Scope, receive: Receive, send: Send) -> None:
            await self._app({**scope, CALLER: self.caller}, receive, send)

        transport = httpx2.ASGITransport(app=named, client=(self._remote, 0))
        async with httpx2.AsyncClient(transport=transport, headers={"Accept-Encoding": "identity"}) as client:
            given = {name: value for name, value in query.items() if value is not None}
            answer = await client.request(method, _API + path, params=given, json=body)
        found: Any = answer.json() if answer.content else None
        if answer.is_success:
            return found
        raise Refused(str(found["detail"]), status=answer.status_code)


def part(name: object) -> str:
    """A name as one part of a path."""
    return quote(str(name), safe="")
