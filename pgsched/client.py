"""Schedules tasks, reads and changes them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack

from pgsched.db import commands, lock_commands, queue_commands, task_commands
from pgsched.db.database import Database
from pgsched.db.queue_commands import QueueLimits, QueueOptions
from pgsched.db.task_commands import Changed, Page
from pgsched.errors import TaskFailed
from pgsched.filters import TaskFilters
from pgsched.flow import Part, checked_group
from pgsched.locks import Lock
from pgsched.model import GROUP
from pgsched.records import (
    Execution,
    LockInfo,
    LogEntry,
    MissedTicks,
    QueueInfo,
    QueueSettings,
    Stats,
    Task,
    WorkerInfo,
)
from pgsched.spec import TaskOptions, TaskSpec
from pgsched.spec_rules import Duration
from pgsched.status import TaskStatus, status_of
from pgsched.tree import TaskNode
from pgsched.waiting import Waiting

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

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Client]:
        """Let what is done through the client that this gives be one transaction, for a ``with``.

        It is committed at the end, and undone by an error.
        """
        with self._database.transaction() as database:
            inside = Client(defaults=self._defaults)
            inside._database = database
            yield inside

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

    def schedule_group(
        self,
        group: Mapping[str, Any] | Part,
        *,
        connection: Connection[Any] | None = None,
        **options: Unpack[TaskOptions],
    ) -> int:
        """Schedule a group of steps, once or as a schedule, and return its id; ``options`` as in :meth:`schedule`.

        ``group`` comes from :mod:`pgsched.flow`, or is the same object written by hand. Raises InvalidTask, naming
        step, key, rule and value.
        """
        payload = checked_group(group, self._defaults)
        return self.schedule(GROUP, payload, connection=connection, **options)

    def tree(self, id: int) -> TaskNode:
        """Return a task with the steps of its group, what it waits for and what waits for it. Raises TaskNotFound."""
        return self._database.run(commands.tree(id))

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

    def find_tasks(self, *, limit: int = 50, before_id: int | None = None, **filters: Unpack[TaskFilters]) -> Page:
        """Return the latest tasks that fit, the latest first, and where the next page begins; short ones come too.

        Raises InvalidTask, naming filter, rule and value.
        """
        return self._database.run(task_commands.find_tasks(filters, limit=limit, before_id=before_id))

    def change_tasks(
        self,
        action: str,
        *,
        limit: int = task_commands.MAX_CHANGED,
        dry_run: bool = False,
        **filters: Unpack[TaskFilters],
    ) -> Changed:
        """Do one thing to all tasks that fit and that it suits, in one transaction; in a dry run only tell which.

        ``action`` is enable, disable, run, cancel, retry or delete. The latest ``limit`` tasks that fit are looked at.
        Raises InvalidTask, naming filter, rule and value, also when there is no filter.
        """
        task_commands.checked_bulk(filters, limit=limit)
        task_commands.known_action(action)
        with self._database.transaction() as one:
            found: list[int] = []
            before: int | None = None
            while True:
                page = one.run(task_commands.find_ids(filters, limit=limit - len(found), before_id=before))
                found += page.ids
                before = page.next_before
                if before is None or len(found) == limit:
                    break
            changed = one.run(task_commands.change_tasks(action, found, dry_run=dry_run))
        return Changed(matched=len(found), changed=changed, more=before is not None)

    def update(self, id: int, payload: Mapping[str, Any] | None = None, **options: Unpack[TaskOptions]) -> None:
        """Change the given options of a task; None empties one. A run under way is not disturbed.

        An edited schedule is planned afresh, ``at`` and ``delay`` move a one-time task that waits. Raises InvalidTask,
        TaskNotFound, and TransitionRefused when a schedule is given a time of its own, or a task that has begun other
        dependencies.
        """
        self._database.run(commands.update(id, payload, options))

    def wait(self, id: int, timeout: Duration | None = None) -> Any:
        """Wait until a task is completed and return its result; of a schedule that of its next completed tick.

        It looks after 10 ms, then less and less often, at last twice a second. Raises TaskFailed when the task is dead
        or cancelled, TimeoutError after ``timeout`` (seconds, or any duration), TaskNotFound.
        """
        waiting = Waiting(id, timeout)
        while not self._database.run(commands.watch(waiting)):
            time.sleep(waiting.pause())
        if waiting.failed:
            raise TaskFailed(self.get(id))
        return waiting.result

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
        """Stop a task for good, also while it runs; of a group first the steps that have not ended.

        Raises TaskNotFound, and TransitionRefused when it is over.
        """
        self._database.run(commands.cancel(id))

    def retry(self, id: int) -> None:
        """Give a dead or cancelled task, or one that waits for its backoff, all its attempts again, due now.

        A group begins afresh, with all its steps.

        Raises TaskNotFound, and TransitionRefused in any other status.
        """
        self._database.run(commands.retry(id))

    def delete(self, id: int) -> None:
        """Delete a task; its history stays. Raises TaskNotFound, and TransitionRefused while it runs."""
        self._database.run(commands.delete(id))

    def executions(
        self, task_id: int, *, limit: int = 20, before: tuple[int, datetime] | None = None
    ) -> list[Execution]:
        """Return the last attempts at a task, the latest first; also of a task that was deleted.

        The next page comes ``before`` the ``(fencing_token, started_at)`` of the last one.
        """
        return self._database.run(commands.executions(task_id, limit=limit, before=before))

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

    def queue(self, name: str) -> QueueSettings:
        """Return the settings of a queue; the defaults for one that nobody told anything. Raises InvalidTask."""
        return self._database.run(queue_commands.get_queue(name))

    def pause_queue(self, name: str) -> None:
        """Claim nothing more of a queue; what runs goes on."""
        self._database.run(commands.pause_queue(name))

    def resume_queue(self, name: str) -> None:
        """Claim again from a paused queue."""
        self._database.run(commands.resume_queue(name))

    def limit_queue(self, name: str, **limits: Unpack[QueueLimits]) -> None:
        """Limit a queue over all workers, instead of the limits it had: ``concurrency`` (so many running at once) and
        ``rate`` (so many starts within ``per``, a second), and both ``_per_key`` (of each ``concurrency_key``).

        Raises InvalidTask, naming limit, rule and value.
        """
        self._database.run(queue_commands.limit_queue(name, limits))

    def unlimit_queue(self, name: str) -> bool:
        """Take the limits of a queue away; whether it had some."""
        return self._database.run(queue_commands.unlimit_queue(name))

    def set_queue(self, name: str, **options: Unpack[QueueOptions]) -> None:
        """Change settings of a queue: ``ordering`` (fifo, lifo), ``ageing`` (None is off). Raises InvalidTask."""
        self._database.run(queue_commands.set_queue(name, options))

    def set_queue_events(self, name: str, events: bool) -> None:
        """Tell other programs what happens to the tasks of a queue (the channel ``pgsched_events``), or no longer."""
        self._database.run(commands.set_queue_events(name, events))

    def workers(self) -> list[WorkerInfo]:
        """Return every worker process."""
        return self._database.run(commands.workers())

    def lock(self, name: str, *, ttl: float = 30, timeout: float | None = None) -> Lock:
        """Return a lock by name, for a ``with``: what is in it runs in one place only.

        It is good for ``ttl`` seconds (1 to 86,400) and renewed while this process lives. It is waited for ``timeout``
        seconds at most, None for ever. Raises InvalidLock.
        """
        return Lock(self._database, name, ttl=ttl, timeout=timeout)

    def locks(self) -> list[LockInfo]:
        """Return every lock that was not given back."""
        return self._database.run(lock_commands.list_locks())

    def break_lock(self, name: str) -> bool:
        """Take a lock away from whoever has it; whether anybody had. Its holder learns of it at the next renewal."""
        return self._database.run(lock_commands.break_lock(name))

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
