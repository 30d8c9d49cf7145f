"""The web face within the test's own process: asked by httpx, as if over a socket."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
import jinja2

from pgsched.web import WebSettings, create_app
from tests.support import servers

HOST = "http://127.0.0.1:8080"
VIEWER_TOKEN = "viewer-token-of-the-tests"
OPERATOR_TOKEN = "operator-token-of-the-tests"
PROTECTED = WebSettings(viewer_token=VIEWER_TOKEN, operator_token=OPERATOR_TOKEN)
PAGES = (
    "/",
    "/tasks",
    "/schedules",
    "/upcoming",
    "/workflows",
    "/queues",
    "/workers",
    "/handlers",
    "/dead",
    "/executions",
    "/audit",
)
"""The pages of the navigation that list something."""


def notice_of(answer: httpx.Response) -> str:
    """What the page that follows a change will say; empty: nothing."""
    sealed = answer.cookies.get("pgsched_notice", "").strip('"').partition(".")[0]
    return str(json.loads(base64.urlsafe_b64decode(sealed))["text"]) if sealed else ""


@asynccontextmanager
async def web(
    dsn: str,
    settings: WebSettings | None = None,
    *,
    token: str | None = None,
    remote: str = "127.0.0.1",
    host: str = HOST,
    app: Any = None,
    headers: Mapping[str, str] | None = None,
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the app on ``dsn``: without settings an operator on this machine; with a token whoever has it.

    An error that the app does not answer is raised here. Redirects are not followed.
    """
    made = app or create_app(dsn, settings=settings or WebSettings())
    if app is None:  # each would compile its templates anew, which is a third of the time of a page
        compiled = servers.folder_of_run() / "templates"
        compiled.mkdir(exist_ok=True)
        made.state.web.templates.env.bytecode_cache = jinja2.FileSystemBytecodeCache(str(compiled))
    sent = dict(headers or {}) | ({"Authorization": f"Bearer {token}"} if token else {})
    transport = httpx.ASGITransport(app=made, client=(remote, 50000))
    try:
        async with httpx.AsyncClient(transport=transport, base_url=host, headers=sent) as client:
            yield client
    finally:
        if hasattr(getattr(made, "state", None), "web"):  # not an app that has ours mounted
            await made.state.web.close()
