"""The REST API: routes under ``/api/v1``. The client does the work; these modules map it to HTTP."""

from __future__ import annotations

from typing import Final

from starlette.routing import BaseRoute

from pgsched.web.api import (
    audit,
    bulk_changes,
    calendars,
    counted,
    database,
    dead,
    durable,
    events,
    executions,
    export,
    queues,
    reasons,
    schedules,
    settings,
    tasks,
    upcoming,
    views,
    workers,
)
from pgsched.web.api.by_key import by_key

_PARTS: Final = (
    export, tasks, reasons, bulk_changes, views, executions, schedules, upcoming, durable, calendars, queues, settings,
    database, workers, counted, dead, audit, events,
)  # fmt: skip
ROUTES: Final[list[BaseRoute]] = [
    *by_key([tasks.router, reasons.router, executions.router, schedules.router, durable.router]).routes,
    *(route for part in _PARTS for route in part.router.routes),
]
"""Every operation, in the order in which routes are matched."""
