"""The web face within the test's own process: asked by httpx, as if over a socket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import CodeType
from typing import Any

import httpx
import jinja2
from jinja2.bccache import Bucket

from pgsched.web import WebSettings, create_app

HOST = "http://127.0.0.1:8080"
VIEWER_TOKEN = "viewer-token-of-the-tests"
OPERATOR_TOKEN = "operator-token-of-the-tests"
PROTECTED = WebSettings(viewer_token=VIEWER_TOKEN, operator_token=OPERATOR_TOKEN)


class _Compiled(jinja2.BytecodeCache):
    """Templates that this process has compiled: each app would do so anew, which is a third of the time of a page."""

    def __init__(self) -> None:
        self._code = dict[str, CodeType]()

    def load_bytecode(self, bucket: Bucket) -> None:
        bucket.code = self._code.get(bucket.key + bucket.checksum)

    def dump_bytecode(self, bucket: Bucket) -> None:
        assert bucket.code is not None
        self._code[bucket.key + bucket.checksum] = bucket.code


_COMPILED = _Compiled()


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
    if app is None:
        made.state.web.templates.env.bytecode_cache = _COMPILED
    sent = dict(headers or {}) | ({"Authorization": f"Bearer {token}"} if token else {})
    transport = httpx.ASGITransport(app=made, client=(remote, 50000))
    try:
        async with httpx.AsyncClient(transport=transport, base_url=host, headers=sent) as client:
            yield client
    finally:
        if hasattr(made.state, "web"):  # not an app that has ours mounted
            await made.state.web.close()
