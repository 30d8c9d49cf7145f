"""What load balancers and Prometheus ask: does this process answer, does it reach the database, how is the table."""

from __future__ import annotations

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import PlainTextResponse, Response

from pgsched.db.queries.audit import list_entries
from pgsched.domain.errors import PgschedError
from pgsched.web.auth.access import Scraper
from pgsched.web.state import state_of

router = APIRouter(include_in_schema=False)


@router.api_route("/healthz", methods=["GET", "HEAD"])
async def healthz() -> Response:
    """Say that the process answers; without a token, so nothing more."""
    return PlainTextResponse("ok\n")


@router.api_route("/readyz", methods=["GET", "HEAD"])
async def readyz(request: Request) -> Response:
    """Say whether the database can be used; without a token, so nothing more."""
    try:
        await state_of(request).client.database.run(list_entries(limit=1))
    except PgschedError:
        return PlainTextResponse("the database cannot be used\n", status_code=503)
    return PlainTextResponse("ok\n")


@router.api_route("/metrics", methods=["GET", "HEAD"])
async def metrics(actor: Scraper) -> Response:
    """Tell how the table fares."""
    return Response(await actor.state.table_gauges.text(), media_type=CONTENT_TYPE_LATEST)
