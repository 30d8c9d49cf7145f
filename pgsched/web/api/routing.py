"""Declaration of the API's routes: below ``/api/v1``, for viewers at least.

Each route is declared complete, with its prefix and its guards. A nested router would be analysed once more for each
app, and searched once more for each request.
"""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, Depends
from fastapi.routing import APIRoute

from pgsched.web.api.json_bodies import check_body
from pgsched.web.auth.access import viewer

API: Final = "/api/v1"


def operation_id(route: APIRoute) -> str:
    """Return the name of an operation: the name of its function in a generated client, such as ``list_tasks``."""
    return route.name


def api_router(*tags: str) -> APIRouter:
    """Return a router for operations of the API; those that change something additionally require an operator."""
    return APIRouter(
        prefix=API,
        tags=list(tags),
        dependencies=[Depends(viewer), Depends(check_body)],
        generate_unique_id_function=operation_id,
    )
