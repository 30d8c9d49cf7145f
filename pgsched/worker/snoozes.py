"""Attempts that do not count, within limits: a handler asked to run later, or a payload waits for newer code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from pgsched.db.error_mapping import RefusedByDatabase
from pgsched.db.session import Sessions
from pgsched.db.worker.snoozes import count_snoozes
from pgsched.domain.attempt import Outcome
from pgsched.execution.failure_rules import MAX_SNOOZES
from pgsched.execution.registry import Registry
from pgsched.observability.logs import get_logger
from pgsched.worker.leased_tasks import LeasedTask
from pgsched.worker.loops import retry_until_success
from pgsched.worker.metrics import WorkerMetrics
from pgsched.worker.misfits import left_to_newer

log = get_logger("pgsched.worker")


@dataclass(kw_only=True, eq=False, repr=False)
class Snoozes:
    """Queries the history for how often a task was snoozed; nothing in its row counts that."""

    questions: Sessions
    registry: Registry
    counts: WorkerMetrics

    async def settle(
        self, leased: LeasedTask, outcome: Outcome, conclude: Callable[[LeasedTask, Outcome], None]
    ) -> None:
        """Conclude an attempt that was snoozed, or a misfit. Waits for the database."""
        try:
            outcome = await self.bounded(leased, outcome)
        except Exception as error:  # otherwise nobody would conclude it
            log.exception("snooze_failed", task_id=leased.task.id, task_type=leased.task.task_type)
            outcome = _failed(outcome, f"{type(error).__name__}: {error}")
        conclude(leased, outcome)

    async def bounded(self, leased: LeasedTask, outcome: Outcome) -> Outcome:
        """Return the outcome, or that of a failed attempt when the handler has snoozed too often.

        For a misfit, the outcome of left_to_newer.
        """
        task = leased.task
        if outcome.misfit:
            return await left_to_newer(task, outcome, self.questions, self.registry, self.counts)
        handler = self.registry.get(task.task_type)
        most = MAX_SNOOZES if handler is None or handler.failure_rules is None else handler.failure_rules.max_snoozes
        try:
            ask = partial(count_snoozes, self.questions, task.id)
            before = await retry_until_success("snoozes", task, ask, self.counts)
        except RefusedByDatabase as error:
            return _failed(outcome, f"how often it was snoozed cannot be counted: {error}")
        if before < most:
            return outcome
        return _failed(outcome, f"max_snoozes is {most}, so it counts as a failed attempt")


def _failed(outcome: Outcome, why: str) -> Outcome:
    first, *rest = (outcome.error or "").split("\n", 1)
    return outcome._replace(status="failed", error="\n".join([f"{first} ({why})", *rest]))
