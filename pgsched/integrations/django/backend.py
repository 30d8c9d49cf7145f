"""``TASKS = {"default": {"BACKEND": "pgsched.integrations.django.backend.PgschedBackend"}}``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.utils import timezone

from pgsched.db.enlist import run_on
from pgsched.db.queries import tasks as task_commands
from pgsched.domain.errors import InvalidTask, TaskNotFound
from pgsched.domain.records import Execution
from pgsched.domain.records import Task as Row
from pgsched.domain.task_spec import TaskSpec
from pgsched.integrations.django.api import (
    InvalidTaskError,
    ServedByPgsched,
    Task,
    TaskResult,
    TaskResultDoesNotExist,
    TaskResultStatus,
    normalize_json,
    task_enqueued,
)
from pgsched.integrations.django.conf import project_settings
from pgsched.integrations.django.results import new_result, result_of

OPTIONS = (
    "max_attempts",
    "backoff",
    "backoff_delay",
    "backoff_max",
    "backoff_factor",
    "backoff_jitter",
    "timeout",
    "tags",
)
"""The options of pgsched that a backend may set for all its tasks."""
_MOST_ATTEMPTS = 10_000


class PgschedBackend(ServedByPgsched):
    """Stores tasks in ``pgsched.tasks``, one row each, in the caller's transaction."""

    supports_defer = True
    supports_async_task = True
    supports_get_result = True
    supports_priority = True

    def __init__(self, alias: str, params: dict[str, Any]) -> None:
        super().__init__(alias, params)
        given = dict(self.options)
        self.database: str = given.pop("database", None) or project_settings().database
        if unknown := sorted(given.keys() - set(OPTIONS)):
            raise ImproperlyConfigured(
                f"TASKS[{alias!r}]: unknown option {unknown[0]!r}: the options are database, {', '.join(OPTIONS)}"
            )
        try:
            TaskSpec(task_type="task", **given)
        except InvalidTask as error:
            raise ImproperlyConfigured(f"TASKS[{alias!r}]: {error}") from error
        self._given = given

    def enqueue(self, task: Task[Any, Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> TaskResult[Any]:
        """Insert a task; inside ``atomic`` it exists only if the block commits.

        Raises InvalidTaskError for a task that no worker would find, and for values that pgsched rejects.
        """
        # Imported late: a backend may be created before the apps are ready.
        from pgsched.integrations.django.registered import find_task

        self.validate_task(task)
        if find_task(task.module_path) is None:
            raise InvalidTaskError(
                f"task {task.module_path!r} would not be found by a worker: it must be in a module named tasks of an "
                "installed app, or in one of PGSCHED['TASK_MODULES']"
            )
        payload = {"args": normalize_json(args), "kwargs": normalize_json(kwargs)}
        after = task.run_after
        if after is not None and timezone.is_naive(after):
            after = timezone.make_aware(after)
        try:
            spec = TaskSpec(
                task_type=task.module_path,
                payload=payload,
                at=after,
                queue=task.queue_name,
                priority=priority_of(task.priority),
                metadata={"django": {"backend": self.alias, "priority": task.priority}},
                **self._given,
            )
            task_id = run_on(connections[self.database], task_commands.schedule(spec))
        except InvalidTask as error:
            raise InvalidTaskError(str(error)) from error
        ready = TaskResultStatus.READY
        result = new_result(task, task_id, ready, payload, self.alias, enqueued_at=timezone.now())
        task_enqueued.send(type(self), task_result=result)
        return result

    def get_result(self, result_id: str) -> TaskResult[Any]:
        """Return a task's result. Raises TaskResultDoesNotExist, also for a row that is not a task of the project."""
        from pgsched.integrations.django.registered import find_task

        if not (isinstance(result_id, str) and result_id.isascii() and result_id.isdecimal()):
            raise TaskResultDoesNotExist(f"the id of a result must be a number, got {result_id!r:.100}")
        try:
            row, executions = self._read(int(result_id))
        except TaskNotFound as error:
            raise TaskResultDoesNotExist(str(error)) from error
        task = find_task(row.task_type)
        if task is None or row.payload.keys() != {"args", "kwargs"}:
            raise TaskResultDoesNotExist(f"task {result_id} is a {row.task_type!r}, not a task of this project")
        kept = row.metadata.get("django", {})
        priority = kept.get("priority") if isinstance(kept, dict) else None
        task = task.using(priority=priority, queue_name=row.queue, run_after=row.scheduled_for)
        return result_of(task, row, executions, self.alias)

    def _read(self, task_id: int) -> tuple[Row, list[Execution]]:
        """Return the row and its attempts, read by Django's connection, which sees its own transaction."""
        connection = connections[self.database]
        row = run_on(connection, task_commands.get(task_id))
        return row, run_on(connection, task_commands.executions(task_id, limit=_MOST_ATTEMPTS))[::-1]

    def check(self, **_rest: Any) -> Iterable[checks.CheckMessage]:
        """Report databases that are not PostgreSQL."""
        try:
            vendor = connections[self.database].vendor
        except Exception as error:  # noqa: BLE001 - a check reports errors, it does not raise
            return [checks.Error(f"pgsched: the database {self.database!r}: {error}", id="pgsched.E001")]
        if vendor != "postgresql":
            return [checks.Error(f"pgsched: the database {self.database!r} is one of {vendor}", id="pgsched.E002")]
        return []


def priority_of(priority: int) -> int:
    """Map Django's -100 to 100 to 1 to 10, in order; 0 is 5, the default of both."""
    return 1 + (priority + 100) * 9 // 200
