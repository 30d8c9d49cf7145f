"""The measurement, step by step: check, insert, drain, pick up, clean up."""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from statistics import median
from subprocess import Popen
from typing import Any, TypeVar

from pgsched.bench import processor_time
from pgsched.bench.handlers import VARIABLE, WAITS, names_of
from pgsched.bench.report import SETTINGS, Report, percentile
from pgsched.bench.workers import peak_megabytes, worker
from pgsched.db.connection import connect
from pgsched.db.enlist import insert_on, run_on
from pgsched.db.error_mapping import translated
from pgsched.db.migrations.runner import check_schema
from pgsched.db.queries import bench as bench_commands
from pgsched.db.queries import queues as queue_commands
from pgsched.db.queries import tasks as task_commands
from pgsched.db.queries import workers as worker_commands
from pgsched.db.queries.bench import Surroundings
from pgsched.db.query import Command
from pgsched.domain.errors import DatabaseUnavailable, PermissionRefused, PgschedError
from pgsched.domain.task_spec import TaskSpec
from pgsched.domain.worker_records import WorkerInfo
from pgsched.worker.usual_seconds import KNOWN

PREFIX = "pgsched_bench_"
"""Prefix of the queues of measurements."""
APP = "pgsched.bench.handlers:app"
ROUND_TRIPS = 200
COMMITS = 60
PAUSES = (0.05, 0.15)
"""Seconds between two tasks whose pick-up is measured, at random: the worker is idle when the next one arrives."""
START_SECONDS, DRAIN_SECONDS = 60.0, 900.0
LOOK_SECONDS = 0.02

T = TypeVar("T")
Tell = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The size of a measurement."""

    tasks: int = 20_000
    seconds: float = 5.0
    """Maximum duration of each measurement of single inserts and of pick-ups."""
    processes: int = 1
    concurrency: int = 100
    handler: float = 0.0
    """Seconds that the handler of each drained task waits."""


def _less(after: float | None, before: float | None) -> float | None:
    return None if after is None or before is None else after - before


def _per_task(seconds: float | None, tasks: int) -> float | None:
    return seconds * 1000 / tasks if seconds else None  # 0: too short to be measured


class Bench:
    """A measurement on one connection; its rows have a queue and types of their own. :meth:`clean` deletes them."""

    def __init__(self, dsn: str, plan: Plan, tell: Tell) -> None:
        """``tell`` is called with each step. Raises DatabaseUnavailable and SchemaMismatch."""
        check_schema(dsn)
        self._dsn = dsn
        self._plan = plan
        self._tell = tell
        self._connection = connect(dsn, application_name="pgsched bench")
        self._run_id = secrets.token_hex(4)
        self.queue = PREFIX + self._run_id
        self._noop, self._stamp = names_of(self._run_id)
        self._since = datetime.now(UTC) - timedelta(days=1)  # this machine's clock; limits the partitions to scan

    def look_around(self) -> Surroundings:
        """Return other activity. Raises DatabaseUnavailable on a standby, PermissionRefused without rights."""
        found = self._run(bench_commands.look_around())
        if found.standby:
            raise DatabaseUnavailable("the server is a standby, which accepts no tasks: measure the primary")
        if not found.permitted:
            raise PermissionRefused(
                "the database's role may not do this: a measurement deletes what it created, including the history and "
                "settings of its queue; use the owner of the schema pgsched"
            )
        return found

    def run(self) -> Report:
        """Measure. The rows remain until :meth:`clean`."""
        surroundings = self.look_around()
        backend = surroundings.backend
        settings = self._run(bench_commands.server_settings(SETTINGS))
        self._tell("measuring the round trip to the server")
        trips = [self._timed(lambda: self._run(bench_commands.ask_nothing())) for _ in range(ROUND_TRIPS)]
        sync = self._sync()
        self._run(queue_commands.pause_queue(self.queue))  # so that the workers wait until all tasks are inserted
        before = self._run(bench_commands.storage())
        self._tell("inserting single tasks")
        used, served = time.process_time(), processor_time.server_seconds(backend)
        singles = self._insert_singles()
        inserting = _per_task(_less(processor_time.server_seconds(backend), served), len(singles))
        if inserting is not None:
            inserting += (time.process_time() - used) / len(singles)
        self._tell("inserting many tasks at once")
        many = [TaskSpec(task_type=self._noop, queue=self.queue)] * max(self._plan.tasks - len(singles), 1)
        bulk = self._timed(lambda: insert_on(self._connection, many))
        tasks = len(singles) + len(many)
        with self._worker() as process:
            self._tell(f"draining {tasks:,} tasks")
            started = self._run(bench_commands.storage())
            pids = [one.pid for one in self._workers()]
            worked, served = processor_time.seconds_of(pids), processor_time.server_seconds(backend)
            self._run(queue_commands.resume_queue(self.queue))
            drained = self._timed(lambda: self._until(self._is_drained, DRAIN_SECONDS, process))
            worked = _less(processor_time.seconds_of(pids), worked)
            served = _less(processor_time.server_seconds(backend), served)
            ended = self._run(bench_commands.storage())
            self._tell("measuring how soon an idle worker starts a task")
            pickups = self._pick_up(process)
            memory = self._memory()
            self._check_privacy()
        return Report(
            version=surroundings.version,
            settings=settings,
            cores=processor_time.cores(),
            tasks=tasks,
            processes=self._plan.processes,
            concurrency=self._plan.concurrency,
            handler=self._plan.handler * 1000,
            sync_p50=sync,
            worker_processor=_per_task(worked, tasks),
            server_processor=_per_task(served, tasks),
            insert_processor=inserting,
            round_trip_p50=median(trips),
            round_trip_p99=percentile(trips, 0.99),
            single_per_second=len(singles) * 1000 / sum(singles),
            single_p50=median(singles),
            bulk_per_second=len(many) * 1000 / bulk,
            drain_per_second=tasks * 1000 / drained,
            wal_per_task=(ended.wal - started.wal) / tasks,
            pickup_p50=median(pickups) if pickups else None,
            pickup_p99=percentile(pickups, 0.99) if pickups else None,
            disk_tasks=(ended.tasks - before.tasks) / tasks,
            disk_indexes=(ended.indexes - before.indexes) / tasks,
            disk_history=(ended.history - before.history) / tasks,
            worker_megabytes=memory,
        )

    def clean(self) -> int:
        """Delete all rows of the measurement, and close; return the number of tasks. May use another connection."""
        self._connection.close()
        command = bench_commands.delete_rows(self.queue, self._since)
        with connect(self._dsn, application_name="pgsched bench") as connection, translated(command.params):
            return run_on(connection, command)

    def _run(self, command: Command[T]) -> T:
        with translated(command.params):
            return run_on(self._connection, command)

    def _timed(self, what: Callable[[], object]) -> float:
        begun = time.perf_counter()
        what()
        return (time.perf_counter() - begun) * 1000

    def _sync(self) -> float:
        """Return how long a commit waits for the disk, and for standbys: the difference of two medians, in ms."""
        taken: dict[bool, list[float]] = {True: [], False: []}
        for _ in range(COMMITS):
            for synchronous, times in taken.items():
                command = bench_commands.commit_nothing(synchronous=synchronous)
                times.append(self._timed(lambda command=command: self._run(command)))  # type: ignore[misc]
        return max(median(taken[True]) - median(taken[False]), 0.0)

    def _insert_singles(self) -> list[float]:
        """Return the duration of each insert, in ms: for this many seconds, and at most half of the tasks."""
        command = task_commands.schedule(TaskSpec(task_type=self._noop, queue=self.queue))
        until = time.monotonic() + self._plan.seconds
        taken = [self._timed(lambda: self._run(command))]
        while len(taken) < self._plan.tasks // 2 and time.monotonic() < until:
            taken.append(self._timed(lambda: self._run(command)))
        return taken

    @contextmanager
    def _worker(self) -> Iterator[Popen[bytes]]:
        plan = self._plan
        self._tell(f"starting {plan.processes} worker {'process' if plan.processes == 1 else 'processes'}")
        with worker(
            self._dsn,
            app=APP,
            queue=self.queue,
            concurrency=plan.concurrency,
            processes=plan.processes,
            environment={VARIABLE: self._run_id, WAITS: str(plan.handler)},
        ) as process:
            self._until(lambda: len(self._workers()) == plan.processes, START_SECONDS, process)
            time.sleep(0.5)  # until each of them listens
            yield process

    def _workers(self) -> list[WorkerInfo]:
        return [one for one in self._run(worker_commands.workers()) if one.queues == [self.queue]]

    def _check_privacy(self) -> None:
        """Reject figures of tasks that other workers ran or changed, or that did not complete."""
        workers = [one.id for one in self._workers()]
        strangers, unfinished = self._run(bench_commands.meddled(self.queue, self._since, workers))
        if strangers or unfinished:
            raise PgschedError(
                f"the measurement is unusable: other workers made {strangers:,} attempts at its tasks, and "
                f"{unfinished:,} of its tasks were not completed"
            )

    def _is_drained(self) -> bool:
        return not self._run(bench_commands.is_busy(self.queue))

    def _pick_up(self, process: Popen[bytes]) -> list[float]:
        """Insert single tasks at random intervals; return the time from each commit to the start of its handler, in ms.

        Both are this machine's monotonic clock. A handler that starts before its commit is confirmed here counts as 0.
        """
        stamp = TaskSpec(task_type=self._stamp, queue=self.queue)
        insert_on(self._connection, [stamp] * KNOWN)  # from then on the worker knows that the type is short
        self._until(self._is_drained, START_SECONDS, process)
        command = task_commands.schedule(stamp)
        committed: dict[int, int] = {}
        until = time.monotonic() + self._plan.seconds
        while time.monotonic() < until:
            time.sleep(random.uniform(*PAUSES))  # noqa: S311
            task_id = self._run(command)
            committed[task_id] = time.monotonic_ns()
        self._until(self._is_drained, START_SECONDS, process)
        began = self._run(bench_commands.returned(self.queue, self._stamp))
        return [max(began[id] - at, 0) / 1e6 for id, at in committed.items() if id in began]

    def _memory(self) -> float | None:
        found = [size for one in self._workers() if (size := peak_megabytes(one.pid)) is not None]
        return max(found, default=None)

    def _until(self, over: Callable[[], bool], longest: float, process: Popen[Any]) -> None:
        deadline = time.monotonic() + longest
        while not over():
            if process.poll() is not None:
                raise DatabaseUnavailable(
                    f"the worker exited with {process.returncode} before the measurement was done"
                )
            if time.monotonic() > deadline:
                raise DatabaseUnavailable(f"the worker was not done within {longest:g} s")
            time.sleep(LOOK_SECONDS)
