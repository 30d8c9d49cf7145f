"""Declaration of the dashboard's pages: for viewers at least, and not part of the API's description."""

from __future__ import annotations

from fastapi import APIRouter, Depends

from pgsched.web.auth.access import viewer


def page_router() -> APIRouter:
    """Return a router for pages and forms; those that change something additionally require an operator."""
    return APIRouter(include_in_schema=False, dependencies=[Depends(viewer)])
