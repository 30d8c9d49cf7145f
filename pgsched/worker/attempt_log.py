"""The log lines of ended attempts, and the fields that tie a log record to its attempt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pgsched.domain.attempt import Claimed, Finish, Outcome
from pgsched.domain.errors import in_logs
from pgsched.observability.logs import get_logger
from pgsched.worker.leased_tasks import CURRENT_ATTEMPT, RUNNING, LeasedTask

log = get_logger("pgsched.worker")


def log_completed(task: Claimed, outcome: Outcome) -> None:
    """Log an attempt that completed. Check ``log.takes("debug")`` first, because this is called for every task."""
    log.debug(
        "attempt_completed",
        task_id=task.id,
        task_type=task.task_type,
        queue=task.queue,
        attempt=task.attempts,
        seconds=round(outcome.finished - outcome.started, 6),
    )


def attempt_fields() -> Mapping[str, Any]:
    """Return the fields for log records of the running code: its attempt, while that runs."""
    leased = CURRENT_ATTEMPT.get()
    if leased is None or leased.state != RUNNING:
        return {}
    task = leased.task
    return {"task_id": task.id, "task_type": task.task_type, "attempt": task.attempts}


def log_suspended(leased: LeasedTask, finish: Finish) -> None:
    """Log that a durable run was suspended. Check ``log.takes("debug")`` first."""
    task, suspension = leased.task, finish.suspension
    assert suspension is not None  # checked by the caller  # noqa: S101
    log.debug(
        "run_suspended",
        task_id=task.id,
        task_type=task.task_type,
        queue=task.queue,
        awaits=list(suspension.awaits),
        until=None if suspension.wakes_at is None else suspension.wakes_at.isoformat(),
    )


def log_failure(leased: LeasedTask, finish: Finish) -> None:
    """Log a failed attempt, a death or a snooze."""
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
