"""Schedules tasks, reads and changes them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack

from pgsched.db import commands
from pgsched.db.database import Database
from pgsched.records import Execution, LogEntry, MissedTicks, QueueInfo, Stats, Task, WorkerInfo
from pgsched.spec import Duration, TaskOptions, TaskSpec
from pgsched.status import TaskStatus, status_of

if TYPE_CHECKING:
    from psycopg import Connection

Defaults = Callable[[str], TaskOptions]
"""Returns the options that a task_type has unless the caller says otherwise."""


def no_defaults(_task_type: str) -> TaskOptions:
    """No options for any task_type."""
    return TaskOptions()


def spec_with(task_type: str, payload: Mapping[str, Any] | None, options: TaskOptions, defaults: Defaults) -> TaskSpec:
    """Return the task that a caller describes, completed by the defaults of its task_type."""
    return TaskSpec(task_type=task_type, payload=payload, **options).with_defaults(defaults(task_type))


def specs_with(specs: Iterable[TaskSpec], defaults: Defaults) -> Iterable[TaskSpec]:
    """Return the tasks completed by the defaults of their task_types."""
    if defaults is no_defaults:
        return specs
    return [spec.with_defaults(defaults(spec.task_type)) if isinstance(spec, TaskSpec) else spec for spec in specs]


class Client:
    """A client for threads; one may be shared by all of them.

    ``dsn`` is a libpq URI, ``embedded:DIR``, or empty for libpq's PG* variables. At most ``pool_size``
    connections are opened, the first when the first method is called. Close the client when done, or use it
    in a ``with``.

    Every method raises DatabaseUnavailable, and SchemaMismatch when the database's schema is not this
    program's.
    """

    def __init__(self, dsn: str = "", *, pool_size: int = 4, defaults: Defaults = no_defaults) -> None:
        self._database = Database(dsn=dsn, pool_size=pool_size)
        self._defaults = defaults

    def schedule(
        self,
        task_type: str,
        payload: Mapping[str, Any] | None = None,
        *,
        connection: Connection[Any] | None = None,
        **options: Unpack[TaskOptions],
    ) -> int:
        """Schedule a task and return its id; a known ``idempotency_key`` returns the task that has it.

        With a ``connection`` the task is part of that connection's transaction and comes with its commit,
        which is left to the caller. Raises InvalidTask, naming option, rule and value.
        """
        command = commands.schedule(spec_with(task_type, payload, options, self._defaults))
        return self._database.run(command) if connection is None else self._database.run_on(connection, command)

    def schedule_many(self, specs: Iterable[TaskSpec], *, connection: Connection[Any] | None = None) -> list[int]:
        """Schedule many tasks at once, by COPY, and return their ids in order: all of them or none.

        Idempotency keys and ``connection`` work as in :meth:`schedule`. Raises InvalidTask that names the
        place of the task (from 0) and the rule.
        """
        complete = specs_with(specs, self._defaults)
        if connection is None:
            return self._database.insert(complete)
        return self._database.insert_on(connection, complete)

    def get(self, id: int) -> Task:
        """Return a task. Raises TaskNotFound."""
        return self._database.run(commands.get(id))

    def list_tasks(
        self,
        *,
        queue: str | None = None,
        task_type: str | None = None,
        status: str | None = None,
        schedule_type: str | None = None,
        tag: str | None = None,
        tenant_id: str | None = None,
        parent_id: int | None = None,
        limit: int = 50,
        before_id: int | None = None,
    ) -> list[Task]:
        """Return the latest tasks that fit, the latest first; the next page comes ``before_id`` the last."""
        return self._database.run(
            commands.list_tasks(
                queue=queue,
                task_type=task_type,
                status=status,
                schedule_type=schedule_type,
                tag=tag,
                tenant_id=tenant_id,
                parent_id=parent_id,
                limit=limit,
                before_id=before_id,
            )
        )

    def update(self, id: int, payload: Mapping[str, Any] | None = None, **options: Unpack[TaskOptions]) -> None:
        """Change the given options of a task; None empties one. A run under way is not disturbed.

        An edited schedule is planned afresh, ``at`` and ``delay`` move a one-time task that waits. Raises InvalidTask,
        TaskNotFound, and TransitionRefused when a schedule is given a time of its own.
        """
        self._database.run(commands.update(id, payload, options))

    def run_now(self, id: int) -> int:
        """Make a waiting one-time task due now, or a copy of any other; return the id that runs.

        Raises TaskNotFound, and TransitionRefused when it runs already.
        """
        return self._database.run(commands.run_now(id))

    def enable(self, id: int) -> bool:
        """Let a paused task run again; whether it was paused. Raises TaskNotFound."""
        return self._database.run(commands.enable(id))

    def disable(self, id: int) -> bool:
        """Pause a task; whether it was not paused before. Raises TaskNotFound."""
        return self._database.run(commands.disable(id))

    def cancel(self, id: int) -> None:
        """Stop a task for good, also while it runs.

        Raises TaskNotFound, and TransitionRefused when it is over.
        """
        self._database.run(commands.cancel(id))

    def retry(self, id: int) -> None:
        """Give a dead or cancelled task, or one that waits for its backoff, all its attempts again, due now.

        Raises TaskNotFound, and TransitionRefused in any other status.
        """
        self._database.run(commands.retry(id))

    def delete(self, id: int) -> None:
        """Delete a task; its history stays. Raises TaskNotFound, and TransitionRefused while it runs."""
        self._database.run(commands.delete(id))

    def executions(self, task_id: int, *, limit: int = 20) -> list[Execution]:
        """Return the last attempts at a task, the latest first; also of a task that was deleted."""
        return self._database.run(commands.executions(task_id, limit=limit))

    def missed_ticks(self, task_id: int, *, limit: int = 20) -> list[MissedTicks]:
        """Return the ticks of a schedule that were not run, and why, the latest first."""
        return self._database.run(commands.missed_ticks(task_id, limit=limit))

    def status(self, id: int, *, limit: int = 10) -> TaskStatus:
        """Return a task with its schedule in words, its next runs and its last executions. Raises TaskNotFound."""
        return status_of(self.get(id), self.executions(id, limit=limit), self.missed_ticks(id, limit=limit))

    def logs(self, task_id: int, *, limit: int = 200) -> list[LogEntry]:
        """Return the last lines that a task's handler logged, in their order."""
        return self._database.run(commands.logs(task_id, limit=limit))

    def dead(
        self,
        *,
        queue: str | None = None,
        task_type: str | None = None,
        limit: int = 50,
        before: tuple[datetime, int] | None = None,
    ) -> list[Task]:
        """Return the tasks that died last, the latest first.

        The next page comes ``before`` the ``(died_at, id)`` of the last one.
        """
        return self._database.run(commands.dead(queue=queue, task_type=task_type, limit=limit, before=before))

    def retry_dead(self, *, queue: str | None = None, task_type: str | None = None) -> int:
        """Give all dead tasks that fit all their attempts again, due now; return how many."""
        return self._database.run(commands.retry_dead(queue=queue, task_type=task_type))

    def purge_dead(
        self, *, queue: str | None = None, task_type: str | None = None, older_than: Duration | None = None
    ) -> int:
        """Delete the dead tasks that fit and have been dead for ``older_than``; return how many."""
        command = commands.purge_dead(queue=queue, task_type=task_type, older_than=older_than)
        return self._database.run(command)

    def queues(self) -> list[QueueInfo]:
        """Return every queue that has settings, tasks or a worker."""
        return self._database.run(commands.queues())

    def pause_queue(self, name: str) -> None:
        """Claim nothing more of a queue; what runs goes on."""
        self._database.run(commands.pause_queue(name))

    def resume_queue(self, name: str) -> None:
        """Claim again from a paused queue."""
        self._database.run(commands.resume_queue(name))

    def workers(self) -> list[WorkerInfo]:
        """Return every worker process."""
        return self._database.run(commands.workers())

    def stats(self) -> Stats:
        """Return queues, workers, and what is due without a worker that has a handler for it."""
        run = self._database.run
        return Stats(
            queues=run(commands.queues()),
            workers=run(commands.workers()),
            unhandled=run(commands.unhandled()),
        )

    def close(self) -> None:
        """Close the connections."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
