"""Asking the database for one task until it answers."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from pgsched.db.error_mapping import RefusedByDatabase
from pgsched.domain.attempt import Claimed
from pgsched.domain.errors import DatabaseUnavailable
from pgsched.observability.logs import get_logger
from pgsched.worker.metrics import WorkerMetrics

log = get_logger("pgsched.worker")

T = TypeVar("T")

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
"""Seconds between two tries."""


async def retry_until_success(what: str, task: Claimed, ask: Callable[[], Awaitable[T]], counts: WorkerMetrics) -> T:
    """Ask until the database answers, with growing pauses; the heartbeat keeps the lease meanwhile.

    It ends by a cancellation when the lease is lost or the worker stops. Raises RefusedByDatabase: asking again would
    not help.
    """
    pause = FIRST_PAUSE
    while True:
        try:
            return await ask()
        except DatabaseUnavailable as error:
            if isinstance(error, RefusedByDatabase) and not error.passing:
                raise
            counts.database_errors += 1
            log.warning("database_error", loop=what, task_id=task.id, error=str(error), again_in=round(pause, 1))
        await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311
        pause = min(pause * 2, LONGEST_PAUSE)
