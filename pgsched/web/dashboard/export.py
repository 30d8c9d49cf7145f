"""The list of tasks as a file."""

from __future__ import annotations

from starlette.responses import Response

from pgsched.web.auth.access import Viewer
from pgsched.web.dashboard.forms import Text, given
from pgsched.web.dashboard.routing import page_router
from pgsched.web.dashboard.task_fields import FIELDS, filters_of
from pgsched.web.services.export import export

router = page_router()


@router.get("/tasks/export")
async def export_tasks(actor: Viewer, format: Text = "csv") -> Response:
    """Stream all matching tasks, the latest first."""
    return export(actor, format, filters_of(actor, given(actor.request.query_params, *FIELDS)))
