"""What a worker logs of attempts that have ended, and what says of a log record which attempt it is of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pgsched.domain.attempt import Claimed, Finish, Outcome
from pgsched.domain.errors import in_logs
from pgsched.observability.logs import get_logger
from pgsched.worker.leased_tasks import CURRENT_ATTEMPT, RUNNING, LeasedTask

log = get_logger("pgsched.worker")


def log_completed(task: Claimed, outcome: Outcome) -> None:
    """Log an attempt that was completed; ask ``log.takes("debug")`` before, for every task comes by here."""
    log.debug(
        "attempt_completed",
        task_id=task.id,
        task_type=task.task_type,
        queue=task.queue,
        attempt=task.attempts,
        seconds=round(outcome.finished - outcome.started, 6),
    )


def attempt_fields() -> Mapping[str, Any]:
    """Return what log records of the running code are marked with: its attempt, while that runs."""
    leased = CURRENT_ATTEMPT.get()
    if leased is None or leased.state != RUNNING:
        return {}
    task = leased.task
    return {"task_id": task.id, "task_type": task.task_type, "attempt": task.attempts}


def log_suspended(leased: LeasedTask, finish: Finish) -> None:
    """Log that a durable run was suspended; ask ``log.takes("debug")`` before."""
    task, suspension = leased.task, finish.suspension
    assert suspension is not None  # asked before  # noqa: S101
    log.debug(
        "run_suspended",
        task_id=task.id,
        task_type=task.task_type,
        queue=task.queue,
        awaits=list(suspension.awaits),
        until=None if suspension.wakes_at is None else suspension.wakes_at.isoformat(),
    )


def log_failure(leased: LeasedTask, finish: Finish) -> None:
    """Log a failed attempt, a death, or that a task was snoozed."""
    task, error = leased.task, in_logs(finish.error or "")
    if finish.execution == "snoozed":
        log.info(
            "task_snoozed",
            task_id=task.id,
            task_type=task.task_type,
            queue=task.queue,
            seconds=finish.retry_in,
            why=error,
        )
        return
    log.warning(
        "task_dead" if finish.dead_lettered or finish.next_status == "dead" else "attempt_failed",
        task_id=task.id,
        task_type=task.task_type,
        queue=task.queue,
        attempt=task.attempts,
        max_attempts=task.max_attempts,
        outcome=finish.execution,
        retry_in=finish.retry_in,
        error=error,
    )
