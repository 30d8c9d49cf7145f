"""The pages of the dashboard."""

from __future__ import annotations

from fastapi import APIRouter

from pgsched.web.pages import (
    audit,
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
for part in (overview, tasks, task, schedules, workflows, queues, workers, dead, executions, audit, doctor, live):
    router.include_router(part.router)
