# Generated from async_client.py by `make sync`: change that file instead.
"""The client for threads: schedules, reads and changes tasks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Self, Unpack, overload

from pgsched.client.bulk import BulkClient
from pgsched.client.counted import CountedClient
from pgsched.client.databases import DatabaseClient
from pgsched.client.durable import DurableClient
from pgsched.client.locks import LockClient
from pgsched.client.queues import QueueClient
from pgsched.client.reasons import ReasonClient
from pgsched.client.schedules import ScheduleClient
from pgsched.client.views import ViewClient
from pgsched.client.workers import WorkerClient
from pgsched.db.database import Database
from pgsched.db.enlist import insert_on
from pgsched.db.external import Joined
from pgsched.db.notices import hearing, warn
from pgsched.db.queries import queues as queue_commands
from pgsched.db.queries import schedules as schedule_commands
from pgsched.db.queries import task_search
from pgsched.db.queries import tasks as task_commands
from pgsched.db.queries import workers as worker_commands
from pgsched.db.queries.task_search import ListOptions, Page
from pgsched.domain.attempt import GROUP
from pgsched.domain.pages import PagedList, place_of
from pgsched.domain.records import HandlerInfo, Task
from pgsched.domain.scheduled import OnConflict, Scheduled, conflict_rule
from pgsched.domain.stats import Stats
from pgsched.domain.task_filters import TaskFilters
from pgsched.domain.task_spec import Defaults, Payloads, TaskOptions, TaskSpec, no_defaults, spec_with, specs_with
from pgsched.domain.unique import Unique
from pgsched.domain.workflow import Named, Part, checked_group, more_steps

if TYPE_CHECKING:
    from pgsched.observability.tracing import Tracing
    from pgsched.ops.doctor.findings import Diagnosis


class Client(
    BulkClient,
    QueueClient,
    ScheduleClient,
    DurableClient,
    CountedClient,
    LockClient,
    ViewClient,
    WorkerClient,
    ReasonClient,
    DatabaseClient,
):
    """A client for threads: one may be shared by all of them.

    ``dsn`` is a libpq URI, ``embedded:DIR``, or empty for libpq's PG* variables. At most ``pool_size`` connections are
    opened, the first by the first call. Close the client when done, or use it in a ``with``. With ``tracing`` it
    creates a span for what it schedules.

    Every method raises DatabaseUnavailable, SchemaMismatch when the database's schema does not suit this program,
    PermissionRefused when the role lacks the rights, and InvalidTask for an invalid argument, which it names. The first
    call raises ConfigError for a malformed DSN.
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
        """Runs its commands, for other parts of pgsched."""
        return self._database

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Client]:
        """Return a ``with`` whose client makes all its changes in one transaction.

        The transaction is committed at the end, and rolled back after an error.
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
        unique: Unique | None = None,
        **options: Unpack[TaskOptions],
    ) -> Scheduled:
        """Schedule a task and return its id; for an ``idempotency_key`` in use, the id of the task that has it.

        The ``outcome`` of the id says whether the task was created or existed, and ``differs`` which of the given
        options differ from that task's. ``on_conflict`` decides what else happens to it. With ``update`` it is changed
        to the given values (updated or unchanged; TransitionRefused for a task that has ended, InvalidTask for the key
        of another task_type). With ``replace`` it is cancelled unless it has ended, loses the key, and a new task is
        created (replaced; TransitionRefused while it runs). With ``raise``, KeyTaken is raised.

        ``unique`` defines when an existing task blocks this one: by default one of the same type and payload, while it
        waits or runs; see :class:`pgsched.Unique`.

        With a ``connection`` (psycopg's Connection, SQLAlchemy's Session or Connection, Django's) the task joins that
        connection's transaction, and exists once the caller commits it. Raises InvalidTask, naming option, rule and
        value. For a type that no worker has registered the id has ``warnings``, and an UnknownTaskType warning is
        issued.
        """
        spec = spec_with(task_type, payload, options, self._defaults, self._payloads)
        rule = conflict_rule(on_conflict)
        with hearing() as heard:
            if self.tracing is None or rule == "update":  # a trace would differ each time
                scheduled = self._run(schedule_commands.schedule(spec, rule, unique), connection)
            else:
                with self.tracing.sending(spec) as sending:
                    traced = sending.traced(spec)
                    scheduled = self._run(schedule_commands.schedule(traced, rule, unique), connection)
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
        unique: None = None,
    ) -> list[int]: ...

    @overload
    def schedule_many(
        self,
        specs: Iterable[TaskSpec],
        *,
        connection: Joined | None = None,
        on_conflict: Literal["update", "replace", "raise"],
        unique: Unique | None = None,
    ) -> list[Scheduled]: ...

    @overload
    def schedule_many(
        self,
        specs: Iterable[TaskSpec],
        *,
        connection: Joined | None = None,
        on_conflict: OnConflict = "return",
        unique: Unique,
    ) -> list[Scheduled]: ...

    def schedule_many(
        self,
        specs: Iterable[TaskSpec],
        *,
        connection: Joined | None = None,
        on_conflict: OnConflict = "return",
        unique: Unique | None = None,
    ) -> Sequence[int]:
        """Schedule many tasks at once, by COPY, and return their ids in order: all of them or none.

        Idempotency keys, ``connection``, ``on_conflict`` and ``unique`` work as in :meth:`schedule`; with ``unique``,
        or a rule other than ``return``, there is one call per task, and each id has its outcome. Raises InvalidTask
        that names the index of the task (from 0) and the rule.
        """
        complete = specs_with(specs, self._defaults, self._payloads)
        scheduled: list[int]
        rule = conflict_rule(on_conflict)
        with hearing() as heard:
            if unique is not None:
                alike = schedule_commands.schedule_unique(complete, unique, rule)
                scheduled = [*self._run(alike, connection)]
            elif rule != "return":
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
        unique: Unique | None = None,
        **options: Unpack[TaskOptions],
    ) -> Scheduled:
        """Schedule a group of steps, once or as a schedule, and return its id; otherwise like :meth:`schedule`.

        ``group`` comes from :mod:`pgsched.flow`, or is the same object written by hand. Raises InvalidTask, naming
        step, key, rule and value.
        """
        payload = checked_group(group, self._defaults, self._payloads)
        return self.schedule(GROUP, payload, connection=connection, on_conflict=on_conflict, unique=unique, **options)

    def add_steps(self, group_id: int, *parts: Named | Mapping[str, Any]) -> list[int]:
        """Add steps to a running group, which then waits for them as well; return their ids.

        ``parts`` are as in :func:`pgsched.flow.group`, or one plan as an object. They run in their own order; ``after``
        may also name existing steps. A handler uses ``ctx.add_steps`` for the group that it belongs to. Raises
        InvalidTask, naming step, key, rule and value, TaskNotFound, and TransitionRefused when the group has not
        started or is over.
        """
        return self._database.run(task_commands.add_steps(group_id, more_steps(parts, self._defaults, self._payloads)))

    def list_tasks(self, **options: Unpack[ListOptions]) -> PagedList[Task]:
        """Return the latest matching tasks, the latest first; pass ``next_cursor`` for the next page.

        A page is full, however many rows must be examined; for millions of tasks see :meth:`find_tasks`. Raises
        InvalidTask, naming filter, rule and value.
        """
        return self._database.run(task_search.list_tasks(**options))

    def find_tasks(
        self,
        *,
        limit: int = 50,
        before_id: int | None = None,
        cursor: str | None = None,
        **filters: Unpack[TaskFilters],
    ) -> Page:
        """Return the latest matching tasks, the latest first, and where the next page begins; pages may be short.

        For the next page pass ``next_before`` as ``before_id``, or ``next_cursor`` as ``cursor``. Raises InvalidTask,
        naming filter, rule and value.
        """
        place = place_of("tasks", cursor, "before_id", before_id, int)
        return self._database.run(task_search.find_tasks(filters, limit=limit, before_id=place))

    def handlers(self) -> list[HandlerInfo]:
        """Return the register: every type that workers have registered a handler for."""
        return self._database.run(worker_commands.handlers())

    def doctor(self, checks: Sequence[str] = ()) -> Diagnosis:
        """Examine the queue and its database by all checks, or by some. Raises ConfigError."""
        from pgsched.ops.doctor import doctor  # only here: nothing else needs it

        return doctor.look(self._database.address(), checks)

    def stats(self) -> Stats:
        """Return counts by status, queues, workers, and due tasks without a worker that has a handler for them."""
        run = self._database.run
        return Stats(
            statuses=run(queue_commands.count_tasks()),
            queues=run(queue_commands.queues()),
            workers=run(worker_commands.workers()),
            unhandled=run(worker_commands.unhandled()),
        )

    def close(self) -> None:
        """Close the connections."""
        self._database.close()

    def _insert_many(self, specs: Iterable[TaskSpec], connection: Joined | None) -> list[int]:
        return self._database.insert(specs) if connection is None else insert_on(connection, specs)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_raised: object) -> None:
        self.close()
