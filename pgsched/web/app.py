"""The ASGI app: the dashboard and the REST API, to be served alone or mounted in another app."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI
from starlette.middleware import Middleware
from starlette.responses import JSONResponse, Response
from starlette.staticfiles import StaticFiles

from pgsched.client.async_client import AsyncClient
from pgsched.web.api import router as api_router
from pgsched.web.api.bodies import check_keys
from pgsched.web.auth.access import Viewer, viewer
from pgsched.web.auth.guard import Guard
from pgsched.web.auth.login import router as login_router
from pgsched.web.auth.throttle import Throttle
from pgsched.web.dashboard import router as dashboard_router
from pgsched.web.middleware import Headers, KeyInPath
from pgsched.web.paths import Root
from pgsched.web.probes import router as probes_router
from pgsched.web.problems import Catcher, register_problems
from pgsched.web.rendering import FOLDER, make_templates, program
from pgsched.web.settings import WebSettings
from pgsched.web.state import WebState

API = "/api/v1"
POOL_SIZE = 8


def create_app(
    dsn: str = "", *, settings: WebSettings | None = None, pool_size: int = POOL_SIZE, throttle: Throttle | None = None
) -> FastAPI:
    """Return the ASGI app on a database; connections are opened at the first request.

    ``dsn`` is a libpq URI, ``embedded:DIR``, or empty for libpq's PG* variables. An app that mounts it gives tokens
    in ``settings``: without them only requests of this machine are answered. It closes ``app.state.web`` at its end.
    """
    known = settings or WebSettings()
    state = WebState(
        client=AsyncClient(dsn, pool_size=pool_size),
        settings=known,
        templates=make_templates(),
        throttle=Throttle() if throttle is None else throttle,
    )

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        state.bulk.start()  # a change may be open that another one's death has left
        try:
            yield
        finally:
            await state.close()

    app = FastAPI(
        title="pgsched",
        version=program(),
        description="A job queue and scheduler that needs PostgreSQL and nothing else.",
        lifespan=lifespan,
        # The outermost first. What FastAPI serves by itself is open to all and loads from elsewhere: none of that.
        middleware=[
            Middleware(Root, prefix=known.path_prefix),
            Middleware(KeyInPath),
            Middleware(Headers),
            Middleware(Catcher),
            Middleware(Guard),
        ],
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    app.state.web = state
    register_problems(app)

    @app.get(API + "/openapi.json", include_in_schema=False)
    async def openapi(_actor: Viewer) -> Response:
        return JSONResponse(app.openapi())

    app.include_router(login_router)
    app.include_router(probes_router)
    # Whoever may look, at least; what changes something asks for an operator itself.
    app.include_router(api_router, prefix=API, dependencies=[Depends(viewer), Depends(check_keys)])
    app.include_router(dashboard_router, dependencies=[Depends(viewer)], include_in_schema=False)
    app.mount("/static", StaticFiles(directory=FOLDER / "static"), name="static")
    return app
