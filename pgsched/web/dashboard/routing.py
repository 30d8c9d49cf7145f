"""Where the pages of the dashboard are declared: for viewers at least, and no part of the API's description."""

from __future__ import annotations

from fastapi import APIRouter, Depends

from pgsched.web.auth.access import viewer


def page_router() -> APIRouter:
    """Return a router for pages and forms; what changes something requires an operator itself."""
    return APIRouter(include_in_schema=False, dependencies=[Depends(viewer)])
