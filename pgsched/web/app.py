"""The ASGI app: the dashboard and the REST API, to be served alone or mounted in another app."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import JSONResponse, Response

from pgsched.client.async_client import AsyncClient
from pgsched.web.api import ROUTES as OPERATIONS
from pgsched.web.api.description import DESCRIPTION, TITLE, described
from pgsched.web.api.json_bodies import JsonOnly
from pgsched.web.api.routing import API
from pgsched.web.auth.access import Viewer
from pgsched.web.auth.guard import Guard
from pgsched.web.auth.login import router as login_router
from pgsched.web.auth.oidc_login import router as oidc_router
from pgsched.web.auth.throttle import Throttle
from pgsched.web.dashboard import ROUTES as PAGES
from pgsched.web.methods import Head
from pgsched.web.middleware import Headers, KeyInPath
from pgsched.web.paths import Root, href
from pgsched.web.probes import router as probes_router
from pgsched.web.problems import Catcher, register_problems
from pgsched.web.rendering import make_templates, program
from pgsched.web.settings import WebSettings
from pgsched.web.state import Front, WebState
from pgsched.web.static_files import NamedFiles

POOL_SIZE = 8
MIN_COMPRESSED = 1_000
"""Bytes; a shorter answer is not compressed."""
COMPRESSION = 4
"""Takes a third of the time of the highest level, for a few percent more bytes."""


def create_app(
    dsn: str = "", *, settings: WebSettings | None = None, pool_size: int = POOL_SIZE, throttle: Throttle | None = None
) -> FastAPI:
    """Return the ASGI app on a database; connections are opened at the first request.

    ``dsn`` is a libpq URI, ``embedded:DIR``, or empty for libpq's PG* variables. An app that mounts it sets tokens
    in ``settings``: without them only requests from this machine are answered. It closes ``app.state.web`` at its end.
    """
    known = settings or WebSettings()
    client = AsyncClient(dsn, pool_size=pool_size)
    front = Front(
        settings=known,
        templates=make_templates(),
        throttle=Throttle() if throttle is None else throttle,
        databases=[client.database],
    )
    return app_of(WebState(client=client, front=front), prefix=known.path_prefix)


def app_of(state: WebState, *, prefix: str = "") -> FastAPI:
    """Return the ASGI app of one database, below ``prefix``; its state is closed with it."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        state.bulk.start()  # A crashed process may have left an open change.
        try:
            yield
        finally:
            await state.close()

    app = FastAPI(
        title=TITLE,
        version=program(),
        description=DESCRIPTION,
        lifespan=lifespan,
        # The outermost first. FastAPI's own documentation pages are public and load from other sites: they are off.
        middleware=[
            Middleware(Root, prefix=prefix),
            Middleware(KeyInPath),
            Middleware(Headers),
            Middleware(Head),
            Middleware(GZipMiddleware, minimum_size=MIN_COMPRESSED, compresslevel=COMPRESSION),
            Middleware(Catcher),
            Middleware(Guard),
            Middleware(JsonOnly),
        ],
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    app.state.web = state
    app.state.front = state.front
    app.openapi = described  # type: ignore[method-assign]
    register_problems(app)

    @app.get(API + "/openapi.json", include_in_schema=False)
    async def openapi(_actor: Viewer) -> Response:
        return JSONResponse({**described(), "servers": [{"url": href(_actor.request, "") or "/"}]})

    app.router.routes += login_router.routes
    if state.front.oidc is not None:
        app.router.routes += oidc_router.routes
    app.router.routes += [*probes_router.routes, *OPERATIONS, *PAGES]
    app.mount("/static", NamedFiles(), name="static")
    return app
