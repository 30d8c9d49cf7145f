"""Ends tasks that no worker can start: unreadable ones, and ones that the database lets nobody claim."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pgsched.domain.attempt import Claimed, Finish
from pgsched.domain.lifecycle import give_up
from pgsched.observability.logs import get_logger
from pgsched.worker.leased_tasks import LeasedTask
from pgsched.worker.metrics import WorkerMetrics

log = get_logger("pgsched.worker")


@dataclass(kw_only=True, eq=False, repr=False)
class DeadLetters:
    """Makes such tasks dead, and has them counted and announced like any others."""

    put: Callable[[LeasedTask, Finish], None]
    """Takes a finish that is to be written."""
    wrote: Callable[[Sequence[tuple[LeasedTask, Finish]]], None]
    """Called with what is written."""
    counts: WorkerMetrics

    def spoiled(self, leased: LeasedTask, problem: str) -> None:
        """End a claimed row that has an unreadable value."""
        task = leased.task
        log.error("task_unreadable", task_id=task.id, task_type=task.task_type, queue=task.queue, error=problem)
        self.put(leased, give_up(task, None, f"the task cannot be read: {problem}"))

    def unclaimed(self, task: Claimed, error: str) -> None:
        """Count a task that was ended without a claim; little is known of it."""
        log.error("claim_refused", task_id=task.id, task_type=task.task_type, queue=task.queue, error=error)
        self.counts.died_unrun(task)
        self.wrote([(LeasedTask(task, 0.0, 0.0), give_up(task, None, error))])
