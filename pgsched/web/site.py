"""Several databases on one site: each below its name, and a first page with the state of each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import Receive, Scope, Send

from pgsched.client.async_client import AsyncClient
from pgsched.db.databases import check_name
from pgsched.web.app import COMPRESSION, MIN_COMPRESSED, POOL_SIZE, app_of
from pgsched.web.auth.guard import Guard
from pgsched.web.auth.login import router as login_router
from pgsched.web.auth.oidc_login import router as oidc_router
from pgsched.web.auth.throttle import Throttle
from pgsched.web.dashboard.databases import Databases, probes
from pgsched.web.dashboard.databases import router as databases_router
from pgsched.web.methods import Head
from pgsched.web.middleware import Headers
from pgsched.web.paths import Root, part_of_site
from pgsched.web.problems import Catcher, register_problems
from pgsched.web.rendering import make_templates, program
from pgsched.web.settings import WebSettings
from pgsched.web.state import Front, WebState
from pgsched.web.static_files import NamedFiles


class Site:
    """The ASGI app of several databases. A login is valid for all of them."""

    def __init__(self, first: FastAPI, parts: Mapping[str, FastAPI], *, prefix: str) -> None:
        self.first = first
        self.parts = parts
        self._prefix = prefix

    async def close(self) -> None:
        """Close streams and connections, where no server runs the lifespan of this app."""
        for part in self.parts.values():
            await part.state.web.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Route a request to its database; paths that are not below the name of one belong to the site."""
        name = None
        if scope["type"] == "http":
            name, scope = part_of_site(scope, self._prefix, self.parts)
        await (self.first if name is None else self.parts[name])(scope, receive, send)


def create_site(
    databases: Mapping[str, str], *, settings: WebSettings | None = None, pool_size: int = POOL_SIZE
) -> Site:
    """Return the ASGI app on several databases, given as DSNs by name; like ``create_app``.

    Connections are opened at the first request. One unavailable database does not affect the others. Raises
    ConfigError for a name that cannot be part of a path.
    """
    known = settings or WebSettings()
    for name in databases:
        check_name(name)
    clients = {name: AsyncClient(dsn, pool_size=pool_size) for name, dsn in databases.items()}
    front = Front(
        settings=known,
        templates=make_templates(),
        throttle=Throttle(),
        databases=[client.database for client in clients.values()],
    )
    states = {
        name: WebState(client=client, front=front, name=name, names=list(databases)) for name, client in clients.items()
    }
    parts = {name: app_of(state) for name, state in states.items()}
    return Site(_first(front, states), parts, prefix=known.path_prefix)


def _first(front: Front, states: Mapping[str, WebState]) -> FastAPI:
    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        for state in states.values():
            state.bulk.start()  # A crashed process may have left an open change.
        try:
            yield
        finally:
            for state in states.values():
                await state.close()

    app = FastAPI(
        title="pgsched",
        version=program(),
        lifespan=lifespan,
        middleware=[
            Middleware(Root, prefix=front.settings.path_prefix),
            Middleware(Headers),
            Middleware(Head),
            Middleware(GZipMiddleware, minimum_size=MIN_COMPRESSED, compresslevel=COMPRESSION),
            Middleware(Catcher),
            Middleware(Guard),
        ],
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    app.state.front = front
    app.state.databases = Databases(states)
    register_problems(app)
    app.router.routes += login_router.routes
    if front.oidc is not None:
        app.router.routes += oidc_router.routes
    app.router.routes += [*probes.routes, *databases_router.routes]
    app.mount("/static", NamedFiles(), name="static")
    return app
