"""The pages of the dashboard."""

from __future__ import annotations

from fastapi import APIRouter

from pgsched.web.dashboard import (
    audit,
    backfill,
    calendars,
    dead,
    doctor,
    executions,
    live,
    overview,
    queues,
    schedules,
    task,
    tasks,
    workers,
    workflows,
)

router = APIRouter()
# `/tasks/{id}/backfill` before `/tasks/{id}/{verb}`.
for part in (
    overview, tasks, backfill, task, schedules, calendars, workflows, queues, workers, dead, executions, audit, doctor,
    live,
):  # fmt: skip
    router.include_router(part.router)
