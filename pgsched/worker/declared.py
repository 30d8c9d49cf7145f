"""``@app.task(cron=…)`` and ``@app.task(every=…)``: one row each, whoever starts first."""

from __future__ import annotations

import structlog

from pgsched.db import schedules
from pgsched.db.session import Session
from pgsched.registry import Registry
from pgsched.spec import TaskSpec

log = structlog.stdlib.get_logger("pgsched.worker")


async def declare_schedules(session: Session, registry: Registry) -> int:
    """Insert or update the row of every handler that declares a schedule; returns how many rows were written.

    The row is found by its idempotency key ``declared:<task_type>``. Raises DatabaseUnavailable.
    """
    written = 0
    for handler in registry:
        if handler.options.get("cron") is None and handler.options.get("every") is None:
            continue
        options = {
            "idempotency_key": f"declared:{handler.task_type}",
            "created_by": "code",
            **handler.options,
        }
        spec = TaskSpec(task_type=handler.task_type, **options)  # type: ignore[arg-type]
        if await schedules.declare(session, spec.parameters()):
            log.info("schedule_declared", task_type=handler.task_type)
            written += 1
    return written
