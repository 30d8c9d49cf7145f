"""``/metrics`` of the web face."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import Response

from pgsched.web.auth.access import Actor, scraper
from pgsched.web.state import state_of

router = APIRouter(include_in_schema=False)


@router.api_route("/metrics", methods=["GET", "HEAD"])
async def metrics(request: Request, _actor: Annotated[Actor, Depends(scraper)]) -> Response:
    """Tell how the table fares."""
    return Response(await state_of(request).table_gauges.text(), media_type=CONTENT_TYPE_LATEST)
