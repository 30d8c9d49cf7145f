"""Where the routes of the API are declared: below ``/api/v1``, for viewers at least.

Each route is whole where it is declared, with its prefix and what every request must pass. A router that is included in
another would be analysed once more for each app, and searched once more for each request.
"""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, Depends
from fastapi.routing import APIRoute

from pgsched.web.api.json_bodies import check_body
from pgsched.web.auth.access import viewer

API: Final = "/api/v1"


def operation_id(route: APIRoute) -> str:
    """Return the name of an operation, which is that of its function in a generated client: ``list_tasks``."""
    return route.name


def api_router(*tags: str) -> APIRouter:
    """Return a router for operations of the API; those that change something require an operator themselves."""
    return APIRouter(
        prefix=API,
        tags=list(tags),
        dependencies=[Depends(viewer), Depends(check_body)],
        generate_unique_id_function=operation_id,
    )
