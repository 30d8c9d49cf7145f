"""What a worker logs of attempts that did not go well."""

from __future__ import annotations

from pgsched.domain.attempt import Finish
from pgsched.domain.errors import in_logs
from pgsched.observability.logs import get_logger
from pgsched.worker.leased_tasks import LeasedTask

log = get_logger("pgsched.worker")


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
