"""Handles leases that the heartbeat could not renew."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from pgsched.observability.logs import get_logger
from pgsched.worker.leased_tasks import RUNNING, LeasedTask, LeasedTasks
from pgsched.worker.metrics import WorkerMetrics

log = get_logger("pgsched.worker")


@dataclass(kw_only=True, eq=False, repr=False)
class LostLeases:
    """Gives up rows that belong to another worker by now."""

    leased_tasks: LeasedTasks
    counts: WorkerMetrics
    loop: asyncio.AbstractEventLoop | None = None
    """The loop of the worker, once it runs."""

    def lost_elsewhere(self, leased_tasks: list[LeasedTask]) -> None:
        """Give up rows; safe to call from any thread."""
        if self.loop is not None and not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self._lost, leased_tasks)

    def _lost(self, leased_tasks: list[LeasedTask]) -> None:
        for leased in leased_tasks:
            if self.leased_tasks.get(leased.task.id) is leased and leased.state != "finishing":
                self.counts.leases_lost += 1
                self.counts.fenced += leased.state == RUNNING  # whatever its handler still returns is not written
                log.warning("lease_lost", task_id=leased.task.id, task_type=leased.task.task_type, state=leased.state)
                self.leased_tasks.abandon(leased)
