# Generated from async_client.py by `make sync`: change that file instead.
"""Schedules tasks, reads and changes them: the client for threads."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, Self, Unpack, overload

from pgsched.client.locks import LockClient
from pgsched.client.queues import QueueClient
from pgsched.client.schedules import ScheduleClient
from pgsched.concurrency.primitives import sleep
from pgsched.db.database import Database
from pgsched.db.enlist import insert_on, run_on
from pgsched.db.external import Joined
from pgsched.db.notices import hearing, warn
from pgsched.db.queries import queues as queue_commands
from pgsched.db.queries import schedules as schedule_commands
from pgsched.db.queries import task_search
from pgsched.db.queries import tasks as task_commands
from pgsched.db.queries import workers as worker_commands
from pgsched.db.queries.task_search import Changed, Page
from pgsched.db.queries.tasks import ListOptions
from pgsched.db.query import Command, T
from pgsched.domain.attempt import GROUP
from pgsched.domain.errors import TaskFailed
from pgsched.domain.records import Execution, HandlerInfo, LogEntry, MissedTicks, Stats, Task, WorkerInfo
from pgsched.domain.retention_age import Age
from pgsched.domain.scheduled import OnConflict, Scheduled, updates
from pgsched.domain.task_filters import TaskFilters
from pgsched.domain.task_spec import Defaults, Payloads, TaskOptions, TaskSpec, no_defaults, spec_with, specs_with
from pgsched.domain.task_status import TaskStatus, status_of
from pgsched.domain.task_tree import TaskNode
from pgsched.domain.validation import Duration
from pgsched.domain.wait import Waiting
from pgsched.domain.workflow import Part, checked_group

if TYPE_CHECKING:
    from pgsched.observability.tracing import Tracing
    from pgsched.ops.doctor.findings import Diagnosis


class Client(QueueClient, ScheduleClient, LockClient):
    """A client for threads: one may be shared by all of them.

    ``dsn`` is a libpq URI, ``embedded:DIR``, or empty for libpq's PG* variables. At most ``pool_size`` connections are
    opened, the first when the first method is called. Close the client when done, or use it in a ``with``. With
    ``tracing`` it makes a span for what it schedules.

    Every method raises DatabaseUnavailable, SchemaMismatch when the database's schema is not this program's,
    PermissionRefused when the role may not do it, and InvalidTask for an argument that makes no sense, which it names.
    The first one raises ConfigError for a DSN that cannot be read.
    """

    def __init__(
        self,
        dsn: str = "",
        *,
        pool_size: int = 4,
        defaults: Defaults = no_defaults,
        tracing: Tracing | None = None,
        payloads: Payloads | None = None,
    ) -> None:
        self._database = Database(dsn=dsn, pool_size=pool_size)
        self._defaults = defaults
        self._payloads = payloads
        self.tracing = tracing

    @property
    def database(self) -> Database:
        """What runs its commands, for other parts of pgsched."""
        return self._database

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Client]:
        """Let what is done through the client that this gives be one transaction, for a ``with``.

        It is committed at the end, and undone by an error.
        """
        with self._database.transaction() as database:
            inside = Client(defaults=self._defaults, tracing=self.tracing, payloads=self._payloads)
            inside._database = database
            yield inside

    def schedule(
        self,
        task_type: str,
        payload: Mapping[str, Any] | None = None,
        *,
        connection: Joined | None = None,
        on_conflict: OnConflict = "keep",
        **options: Unpack[TaskOptions],
    ) -> Scheduled:
        """Schedule a task and return its id; a known ``idempotency_key`` returns the task that has it.

        With ``on_conflict="update"`` that task is changed to what is given, and the rest of it stays; the id then says
        by its ``outcome`` whether the task was created, updated or unchanged. Raises TransitionRefused for a task that
        is over, and for the key of another task_type InvalidTask.

        With a ``connection`` (psycopg's Connection, a Session or Connection of SQLAlchemy's, Django's) the task is part
        of that connection's transaction and comes with its commit, which is left to the caller. Raises InvalidTask,
        naming option, rule and value. Of a type that no worker has registered the id says so by its ``warnings``, and
        an UnknownTaskType is warned of.
        """
        spec = spec_with(task_type, payload, options, self._defaults, self._payloads)
        with hearing() as heard:
            if updates(on_conflict):
                (scheduled,) = self._run(schedule_commands.upsert([spec]), connection)
            elif self.tracing is None:
                scheduled = Scheduled(self._run(task_commands.schedule(spec), connection))
            else:
                with self.tracing.sending(spec) as sending:
                    traced = task_commands.schedule(sending.traced(spec))
                    scheduled = Scheduled(sending.sent(self._run(traced, connection)))
        if not heard:
            return scheduled
        warn(heard)
        return Scheduled(scheduled, scheduled.outcome, heard)

    @overload
    def schedule_many(self, specs: Iterable[TaskSpec], *, connection: Joined | None = None) -> list[int]: ...

    @overload
    def schedule_many(
        self, specs: Iterable[TaskSpec], *, connection: Joined | None = None, on_conflict: Literal["update"]
    ) -> list[Scheduled]: ...

    def schedule_many(
        self, specs: Iterable[TaskSpec], *, connection: Joined | None = None, on_conflict: OnConflict = "keep"
    ) -> Sequence[int]:
        """Schedule many tasks at once, by COPY, and return their ids in order: all of them or none.

        Idempotency keys, ``connection`` and ``on_conflict`` work as in :meth:`schedule`. Raises InvalidTask that names
        the place of the task (from 0) and the rule.
        """
        complete = specs_with(specs, self._defaults, self._payloads)
        scheduled: list[int]
        with hearing() as heard:
            if updates(on_conflict):
                scheduled = [*self._run(schedule_commands.upsert(complete), connection)]
            elif self.tracing is None:
                scheduled = self._insert_many(complete, connection)
            else:
                with self.tracing.sending_many() as sending:
                    scheduled = sending.all_sent(self._insert_many(sending.stream(complete), connection))
        warn(heard)
        return scheduled

    def schedule_group(
        self, group: Mapping[str, Any] | Part, *, connection: Joined | None = None, **options: Unpack[TaskOptions]
    ) -> int:
        """Schedule a group of steps, once or as a schedule, and return its id; ``options`` as in :meth:`schedule`.

        ``group`` comes from :mod:`pgsched.flow`, or is the same object written by hand. Raises InvalidTask, naming
        step, key, rule and value.
        """
        payload = checked_group(group, self._defaults)
        return self.schedule(GROUP, payload, connection=connection, **options)

    def tree(self, id: int) -> TaskNode:
        """Return a task with the steps of its group, what it waits for and what waits for it. Raises TaskNotFound."""
        return self._database.run(task_commands.tree(id))

    def get(self, id: int) -> Task:
        """Return a task. Raises TaskNotFound."""
        return self._database.run(task_commands.get(id))

    def list_tasks(self, **options: Unpack[ListOptions]) -> list[Task]:
        """Return the latest tasks that fit, the latest first; the next page comes ``before_id`` the last."""
        return self._database.run(task_commands.list_tasks(**options))

    def find_tasks(self, *, limit: int = 50, before_id: int | None = None, **filters: Unpack[TaskFilters]) -> Page:
        """Return the latest tasks that fit, the latest first, and where the next page begins; short ones come too.

        Raises InvalidTask, naming filter, rule and value.
        """
        return self._database.run(task_search.find_tasks(filters, limit=limit, before_id=before_id))

    def change_tasks(
        self,
        action: str,
        *,
        limit: int = task_search.MAX_CHANGED,
        dry_run: bool = False,
        **filters: Unpack[TaskFilters],
    ) -> Changed:
        """Do one thing to all tasks that fit and that it suits, in one transaction; in a dry run only tell which.

        ``action`` is enable, disable, run, cancel, retry or delete. The latest ``limit`` tasks that fit are looked at.
        Raises InvalidTask, naming filter, rule and value, also when there is no filter.
        """
        task_search.checked_bulk(filters, limit=limit)
        task_search.known_action(action)
        with self._database.transaction() as one:
            found: list[int] = []
            before: int | None = None
            while True:
                page = one.run(task_search.find_ids(filters, limit=limit - len(found), before_id=before))
                found += page.ids
                before = page.next_before
                if before is None or len(found) == limit:
                    break
            changed = one.run(task_search.change_tasks(action, found, dry_run=dry_run))
        return Changed(matched=len(found), changed=changed, more=before is not None)

    def update(self, id: int, payload: Mapping[str, Any] | None = None, **options: Unpack[TaskOptions]) -> None:
        """Change the given options of a task; None empties one. A run under way is not disturbed.

        An edited schedule is planned afresh, ``at`` and ``delay`` move a one-time task that waits. Raises InvalidTask,
        TaskNotFound, and TransitionRefused when a schedule is cancelled, or is given a time of its own, or a task that
        has begun other dependencies.
        """
        self._database.run(task_commands.update(id, payload, options))

    def wait(self, id: int, timeout: Duration | None = None) -> Any:
        """Wait until a task is completed and return its result; of a schedule that of its next completed tick.

        It looks after 10 ms, then less and less often, at last twice a second. Raises TaskFailed when the task is dead
        or cancelled, TimeoutError after ``timeout`` (seconds, or any duration), TaskNotFound.
        """
        waiting = Waiting(id, timeout, clock=time.monotonic)
        while not self._database.run(task_commands.watch(waiting)):
            sleep(waiting.pause())
        if waiting.failed:
            raise TaskFailed(self.get(id))
        return waiting.result

    def run_now(self, id: int) -> int:
        """Make a waiting one-time task due now, or a copy of any other; return the id that runs.

        Raises TaskNotFound, and TransitionRefused when it runs already.
        """
        return self._database.run(task_commands.run_now(id))

    def enable(self, id: int, *, catch_up: bool = True) -> bool:
        """Let a paused task run again; whether it was paused. Raises TaskNotFound.

        Ticks of a schedule that passed meanwhile follow its ``on_missed``; without ``catch_up`` none of them runs.
        """
        return self._database.run(task_commands.enable(id, catch_up=catch_up))

    def disable(self, id: int) -> bool:
        """Pause a task; whether it was not paused before. Raises TaskNotFound."""
        return self._database.run(task_commands.disable(id))

    def cancel(self, id: int) -> None:
        """Stop a task for good, also while it runs; of a group first the steps that have not ended.

        Raises TaskNotFound, and TransitionRefused when it is over.
        """
        self._database.run(task_commands.cancel(id))

    def retry(self, id: int) -> None:
        """Give a dead or cancelled task, or one that waits for its backoff, all its attempts again, due now.

        A group begins afresh, with all its steps.

        Raises TaskNotFound, and TransitionRefused in any other status.
        """
        self._database.run(task_commands.retry(id))

    def delete(self, id: int) -> None:
        """Delete a task; its history stays. Raises TaskNotFound, and TransitionRefused while it runs."""
        self._database.run(task_commands.delete(id))

    def executions(
        self, task_id: int, *, limit: int = 20, before: tuple[int, datetime] | None = None
    ) -> list[Execution]:
        """Return the last attempts at a task, the latest first; also of a task that was deleted.

        The next page comes ``before`` the ``(fencing_token, started_at)`` of the last one.
        """
        return self._database.run(task_commands.executions(task_id, limit=limit, before=before))

    def missed_ticks(self, task_id: int, *, limit: int = 20) -> list[MissedTicks]:
        """Return the ticks of a schedule that were not run, and why, the latest first."""
        return self._database.run(task_commands.missed_ticks(task_id, limit=limit))

    def status(self, id: int, *, limit: int = 10) -> TaskStatus:
        """Return a task with its schedule in words, its next runs and its last executions. Raises TaskNotFound."""
        task = self.get(id)
        executions = self.executions(id, limit=limit)
        missed = self.missed_ticks(id, limit=limit)
        alerts = self._database.run(task_commands.list_alerts(id)) if task.is_watched else []
        now, ticks_running, left_out = self._database.run(task_commands.stand(id))
        return status_of(task, executions, missed, alerts, left_out, now=now, ticks_running=ticks_running)

    def logs(self, task_id: int, *, limit: int = 200) -> list[LogEntry]:
        """Return the last lines that a task's handler logged, in their order."""
        return self._database.run(task_commands.logs(task_id, limit=limit))

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
        return self._database.run(task_commands.dead(queue=queue, task_type=task_type, limit=limit, before=before))

    def retry_dead(self, *, queue: str | None = None, task_type: str | None = None, all: bool = False) -> int:
        """Give all dead tasks that fit all their attempts again, due now; return how many.

        Without a filter ``all`` must be True. Raises InvalidTask.
        """
        return self._database.run(task_commands.retry_dead(queue=queue, task_type=task_type, all=all))

    def purge_dead(
        self,
        *,
        queue: str | None = None,
        task_type: str | None = None,
        older_than: Age | None = None,
        all: bool = False,
    ) -> int:
        """Delete the dead tasks that fit and have been dead for ``older_than``; return how many.

        Without a filter ``all`` must be True. Raises InvalidTask.
        """
        command = task_commands.purge_dead(queue=queue, task_type=task_type, older_than=older_than, all=all)
        return self._database.run(command)

    def workers(self) -> list[WorkerInfo]:
        """Return every worker process."""
        return self._database.run(worker_commands.workers())

    def handlers(self) -> list[HandlerInfo]:
        """Return the register: every type that workers have registered a handler for."""
        return self._database.run(worker_commands.handlers())

    def doctor(self, checks: Sequence[str] = ()) -> Diagnosis:
        """Look what is wrong with the queue and its database, by all checks or by these. Raises ConfigError."""
        from pgsched.ops.doctor import doctor  # only here: nothing else needs it

        return doctor.look(self._database.address(), checks)

    def stats(self) -> Stats:
        """Return queues, workers, and what is due without a worker that has a handler for it."""
        run = self._database.run
        return Stats(
            queues=run(queue_commands.queues()),
            workers=run(worker_commands.workers()),
            unhandled=run(worker_commands.unhandled()),
        )

    def close(self) -> None:
        """Close the connections."""
        self._database.close()

    def _insert_many(self, specs: Iterable[TaskSpec], connection: Joined | None) -> list[int]:
        return self._database.insert(specs) if connection is None else insert_on(connection, specs)

    def _run(self, command: Command[T], connection: Joined | None) -> T:
        return self._database.run(command) if connection is None else run_on(connection, command)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_raised: object) -> None:
        self.close()
