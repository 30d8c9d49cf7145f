"""The pages of the dashboard."""

from __future__ import annotations

from typing import Final

from starlette.routing import BaseRoute

from pgsched.web.dashboard import (
    audit,
    bulk,
    calendars,
    dead,
    durable,
    errors,
    executions,
    export,
    handlers,
    live,
    overview,
    queues,
    schedules,
    task,
    tasks,
    types,
    upcoming,
    views,
    workers,
    workflows,
)

# `/tasks/{id}/backfill` of schedules and `/tasks/{id}/emit` of durable runs before `/tasks/{id}/{verb}`.
_PARTS: Final = (
    overview, tasks, export, bulk, views, schedules, durable, task, calendars, workflows, queues, workers, handlers,
    types, dead, errors, executions, audit, live, upcoming,
)  # fmt: skip
ROUTES: Final[list[BaseRoute]] = [route for part in _PARTS for route in part.router.routes]
"""Every page and form, in the order in which routes are matched."""
