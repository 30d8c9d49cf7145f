"""All tasks that match a filter, as a file."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query
from pydantic import Field
from starlette.responses import Response

from pgsched.domain.task_export import FORMATS, MEDIA_TYPES, lines_of
from pgsched.web.api import examples
from pgsched.web.api.documented import problems
from pgsched.web.api.routing import api_router
from pgsched.web.api.task_query import ListFilter, filters_of
from pgsched.web.auth.access import Viewer
from pgsched.web.services.export import export

router = api_router("tasks")


class ExportQuery(ListFilter):
    """The tasks and the format."""

    format: str = Field("csv", description="csv or jsonl.", json_schema_extra={"enum": list(FORMATS)})


_FILE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "A line for each task, the latest first; CSV starts with a line of column names.",
        "content": {
            kind.partition(";")[0]: {"schema": {"type": "string"}, "example": lines_of(name)[1](examples.TASK)}
            for name, kind in MEDIA_TYPES.items()
        },
    }
}


@router.get(
    "/tasks/export",
    summary="Export all matching tasks as CSV or JSON lines",
    response_class=Response,
    responses=_FILE | problems(),
)
async def export_tasks(actor: Viewer, query: Annotated[ExportQuery, Query()]) -> Response:
    """Streamed, whatever their number. In CSV, text that starts like a spreadsheet formula is prefixed with an
    apostrophe; fields that are hidden from viewers are empty.
    """
    return export(actor, query.format, filters_of(query, actor))
