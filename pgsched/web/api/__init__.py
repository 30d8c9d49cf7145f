"""The REST API: routes for programs, under ``/api/v1``. What they do is the client's; here it becomes HTTP."""

from __future__ import annotations

from fastapi import APIRouter

from pgsched.web.api import (
    audit,
    bulk_changes,
    calendars,
    dead,
    durable,
    events,
    executions,
    export,
    queues,
    schedules,
    settings,
    tasks,
    upcoming,
    views,
    workers,
)
from pgsched.web.api.by_key import by_key

router = APIRouter()
router.include_router(by_key([tasks.router, executions.router, schedules.router, durable.router]))
for part in (
    export, tasks, bulk_changes, views, executions, schedules, upcoming, durable, calendars, queues, settings, workers,
    dead, audit, events,
):  # fmt: skip
    router.include_router(part.router)
