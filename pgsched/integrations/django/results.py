"""A row and its history as Django's TaskResult."""

from __future__ import annotations

import builtins
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pgsched.domain import errors
from pgsched.domain.records import Execution
from pgsched.domain.records import Task as Row
from pgsched.integrations.django.api import Task, TaskError, TaskResult, TaskResultStatus

_STATUS = {
    "pending": TaskResultStatus.READY,
    "blocked": TaskResultStatus.READY,
    "running": TaskResultStatus.RUNNING,
    "completed": TaskResultStatus.SUCCESSFUL,
    "dead": TaskResultStatus.FAILED,
    "cancelled": TaskResultStatus.FAILED,
}
_CLASS = re.compile(r"([A-Za-z_][\w.]*)(?::|$)")


def result_of(task: Task[Any, Any], row: Row, executions: Sequence[Execution], backend: str) -> TaskResult[Any]:
    """Return the current result; ``executions`` starts with the first attempt."""
    ended = [one for one in executions if not one.is_running]
    workers = [str(one.worker_id) for one in ended if one.worker_id is not None]
    started = [one.started_at for one in ended]
    if row.status == "running" and row.locked_by is not None and row.started_at is not None:
        workers.append(str(row.locked_by))
        started.append(row.started_at)
    found = new_result(
        task,
        row.id,
        _STATUS[row.status],
        row.payload,
        backend,
        enqueued_at=row.created_at,
        started_at=started[0] if started else None,
        finished_at=row.completed_at or row.died_at,
        last_attempted_at=started[-1] if started else None,
        errors=[error_of(one.error or one.status) for one in ended if one.status != "completed"],
        worker_ids=workers,
    )
    if row.status == "completed":
        object.__setattr__(found, "_return_value", row.result)
    return found


def new_result(
    task: Task[Any, Any], id: int, status: TaskResultStatus, payload: Mapping[str, Any], backend: str, **known: Any
) -> TaskResult[Any]:
    """Return a result; its times, errors and workers are ``known``, or not available yet."""
    times = dict.fromkeys(("enqueued_at", "started_at", "finished_at", "last_attempted_at"))
    rest: dict[str, Any] = times | {"errors": [], "worker_ids": []} | known
    return TaskResult(
        task=task, id=str(id), status=status, args=payload["args"], kwargs=payload["kwargs"], backend=backend, **rest
    )


def error_of(text: str) -> TaskError:
    """Parse a stored error, which is its class followed by its traceback."""
    summary = text.partition("\n")[0]
    return TaskError(exception_class_path=_class_path(summary), traceback=text)


def _class_path(summary: str) -> str:
    if summary.startswith("timed out"):
        return "builtins.TimeoutError"
    found = _CLASS.match(summary)
    if found is None:
        return "pgsched.errors.PgschedError"
    name = found[1]
    if "." in name:
        return name
    if isinstance(getattr(builtins, name, None), type):
        return f"builtins.{name}"
    return f"pgsched.errors.{name}" if hasattr(errors, name) else "pgsched.errors.PgschedError"
