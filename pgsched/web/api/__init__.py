"""The REST API: routes for programs, under ``/api/v1``. What they do is the client's; here it becomes HTTP."""

from __future__ import annotations

from fastapi import APIRouter

from pgsched.web.api import (
    actions,
    audit,
    calendars,
    dead,
    doctor,
    events,
    executions,
    queues,
    schedules,
    settings,
    tasks,
    ticks,
    workers,
)

router = APIRouter()
# `/tasks/bulk` before `/tasks/{id}`.
for part in (
    actions, tasks, ticks, executions, schedules, calendars, queues, settings, workers, dead, audit, doctor, events,
):  # fmt: skip
    router.include_router(part.router)
