"""Endpoints for load balancers and Prometheus: liveness, readiness, the gauges of the table."""

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
    """Answer that the process runs; without a token, so no details."""
    return PlainTextResponse("ok\n")


@router.api_route("/readyz", methods=["GET", "HEAD"])
async def readyz(request: Request) -> Response:
    """Answer whether the database is available; without a token, so no details."""
    try:
        await state_of(request).client.database.run(list_entries(limit=1))
    except PgschedError:
        return PlainTextResponse("the database is not available\n", status_code=503)
    return PlainTextResponse("ok\n")


@router.api_route("/metrics", methods=["GET", "HEAD"])
async def metrics(actor: Scraper) -> Response:
    """Return the gauges of the table."""
    return Response(await actor.state.table_gauges.text(), media_type=CONTENT_TYPE_LATEST)
