# Generated from async_client.py by `make sync`: change that file instead.
"""Schedules tasks, reads and changes them: the client for threads."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, Self, Unpack, overload

from pgsched.client.locks import LockClient
from pgsched.client.queues import QueueClient
from pgsched.client.schedules import ScheduleClient
from pgsched.db.database import Database
from pgsched.db.enlist import insert_on, run_on
from pgsched.db.external import Joined
from pgsched.db.notices import hearing, warn
from pgsched.db.queries import payload_edits, task_search
from pgsched.db.queries import queues as queue_commands
from pgsched.db.queries import schedules as schedule_commands
from pgsched.db.queries import tasks as task_commands
from pgsched.db.queries import workers as worker_commands
from pgsched.db.queries.payload_edits import EditedPayloads
from pgsched.db.queries.task_search import Changed, Page
from pgsched.db.queries.tasks import ListOptions
from pgsched.db.query import Command, T
from pgsched.domain.attempt import GROUP
from pgsched.domain.records import HandlerInfo, Stats, Task, WorkerInfo
from pgsched.domain.retention_age import Age
from pgsched.domain.scheduled import OnConflict, Scheduled, conflict_rule
from pgsched.domain.task_filters import TaskFilters
from pgsched.domain.task_spec import Defaults, Payloads, TaskOptions, TaskSpec, no_defaults, spec_with, specs_with
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
        on_conflict: OnConflict = "return",
        **options: Unpack[TaskOptions],
    ) -> Scheduled:
        """Schedule a task and return its id; a known ``idempotency_key`` returns the task that has it.

        The id says by its ``outcome`` whether the task was created or existing, and by ``differs`` which of the given
        options that task has otherwise. ``on_conflict`` says what else becomes of it. With ``update`` it is changed to
        what is given, and the rest of it stays (updated or unchanged; TransitionRefused for a task that is over,
        InvalidTask for the key of another task_type). With ``replace`` it is cancelled if it is not over, gives up the
        key, and a new task is made (replaced; TransitionRefused while it runs). With ``raise`` KeyTaken is raised.

        With a ``connection`` (psycopg's Connection, a Session or Connection of SQLAlchemy's, Django's) the task is part
        of that connection's transaction and comes with its commit, which is left to the caller. Raises InvalidTask,
        naming option, rule and value. Of a type that no worker has registered the id says so by its ``warnings``, and
        an UnknownTaskType is warned of.
        """
        spec = spec_with(task_type, payload, options, self._defaults, self._payloads)
        rule = conflict_rule(on_conflict)
        with hearing() as heard:
            if self.tracing is None or rule == "update":  # each trace would be a change
                scheduled = self._run(schedule_commands.schedule(spec, rule), connection)
            else:
                with self.tracing.sending(spec) as sending:
                    scheduled = self._run(schedule_commands.schedule(sending.traced(spec), rule), connection)
                    sending.sent(scheduled)
        if not heard:
            return scheduled
        warn(heard)
        return Scheduled(scheduled, scheduled.outcome, heard, scheduled.differs)

    @overload
    def schedule_many(
        self,
        specs: Iterable[TaskSpec],
        *,
        connection: Joined | None = None,
        on_conflict: Literal["return", "keep"] = "return",
    ) -> list[int]: ...

    @overload
    def schedule_many(
        self,
        specs: Iterable[TaskSpec],
        *,
        connection: Joined | None = None,
        on_conflict: Literal["update", "replace", "raise"],
    ) -> list[Scheduled]: ...

    def schedule_many(
        self, specs: Iterable[TaskSpec], *, connection: Joined | None = None, on_conflict: OnConflict = "return"
    ) -> Sequence[int]:
        """Schedule many tasks at once, by COPY, and return their ids in order: all of them or none.

        Idempotency keys, ``connection`` and ``on_conflict`` work as in :meth:`schedule`; with one that is not
        ``return`` it is a call for each task, and each id says what became of it. Raises InvalidTask that names the
        place of the task (from 0) and the rule.
        """
        complete = specs_with(specs, self._defaults, self._payloads)
        scheduled: list[int]
        rule = conflict_rule(on_conflict)
        with hearing() as heard:
            if rule != "return":
                scheduled = [*self._run(schedule_commands.schedule_by_key(complete, rule), connection)]
            elif self.tracing is None:
                scheduled = self._insert_many(complete, connection)
            else:
                with self.tracing.sending_many() as sending:
                    scheduled = sending.all_sent(self._insert_many(sending.stream(complete), connection))
        warn(heard)
        return scheduled

    def schedule_group(
        self,
        group: Mapping[str, Any] | Part,
        *,
        connection: Joined | None = None,
        on_conflict: OnConflict = "return",
        **options: Unpack[TaskOptions],
    ) -> Scheduled:
        """Schedule a group of steps, once or as a schedule, and return its id; the rest is as in :meth:`schedule`.

        ``group`` comes from :mod:`pgsched.flow`, or is the same object written by hand. Raises InvalidTask, naming
        step, key, rule and value.
        """
        payload = checked_group(group, self._defaults, self._payloads)
        return self.schedule(GROUP, payload, connection=connection, on_conflict=on_conflict, **options)

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

    def edit_payloads(
        self,
        patch: Mapping[str, Any],
        *,
        batch: int = payload_edits.BATCH,
        dry_run: bool = False,
        on_batch: Callable[[EditedPayloads], object] | None = None,
        **filters: Unpack[TaskFilters],
    ) -> EditedPayloads:
        """Change the payloads of all tasks that fit and wait for a run, or in a dry run only tell how many.

        ``patch`` is a merge patch (RFC 7396): what it has is set, None removes a key, objects are merged. Those that
        wait are pending or blocked, or schedules. Each ``batch`` is a transaction of its own, the latest tasks first;
        after each ``on_batch`` is called with what was done so far. A payload that would break a rule, as that of a
        strict handler, stays as it is and is told of. Raises InvalidTask, also when there is no filter.
        """
        done = EditedPayloads()
        while True:
            one = self.edit_payload_batch(patch, limit=batch, before_id=done.next_before, dry_run=dry_run, **filters)
            done = done.and_then(one)
            if one.matched and on_batch is not None:
                on_batch(done)
            if done.next_before is None:
                return done

    def edit_payload_batch(
        self,
        patch: Mapping[str, Any],
        *,
        limit: int = payload_edits.BATCH,
        before_id: int | None = None,
        dry_run: bool = False,
        **filters: Unpack[TaskFilters],
    ) -> EditedPayloads:
        """Do one batch of :meth:`edit_payloads`, of tasks with smaller ids than ``before_id``; the next one is said."""
        task_search.checked_bulk(filters, limit=payload_edits.checked_batch(limit))
        payload_edits.checked_patch(patch)
        with self._database.transaction() as one:
            page = one.run(task_search.find_ids(payload_edits.of_waiting(filters), limit=limit, before_id=before_id))
            return one.run(payload_edits.edit_payloads(page.ids, patch, dry_run=dry_run, next_before=page.next_before))

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
