"""The pages of the dashboard."""

from __future__ import annotations

from fastapi import APIRouter

from pgsched.web.dashboard import (
    audit,
    bulk,
    calendars,
    dead,
    durable,
    executions,
    export,
    handlers,
    live,
    overview,
    queues,
    schedules,
    task,
    tasks,
    upcoming,
    views,
    workers,
    workflows,
)

router = APIRouter()
# Of schedules `/tasks/{id}/backfill`, of durable runs `/tasks/{id}/emit` before `/tasks/{id}/{verb}`.
for part in (
    overview, tasks, export, bulk, views, schedules, durable, task, calendars, workflows, queues, workers, handlers,
    dead, executions, audit, live, upcoming,
):  # fmt: skip
    router.include_router(part.router)
