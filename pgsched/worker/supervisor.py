"""Runs workers as processes: signals, the metrics port, several processes under one parent."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple

from prometheus_client.core import Metric

from pgsched.app.app import App
from pgsched.app.loading import load_app
from pgsched.builtin import with_builtins
from pgsched.builtin.settings import Builtins
from pgsched.db.dsn import pin
from pgsched.domain.errors import ConfigError, DatabaseUnavailable, PgschedError
from pgsched.domain.settings import WorkerSettings
from pgsched.execution.process import (
    ProcessState,
    exit_now,
    exit_soon,
    exit_timer,
    open_standard_files,
    settle_collector,
)
from pgsched.execution.process_pool import TERM_SECONDS
from pgsched.execution.signals import Signals
from pgsched.observability import logs
from pgsched.observability.contained_registry import Metrics
from pgsched.observability.extras import check_telemetry, flush_telemetry, set_up_telemetry
from pgsched.observability.systemd import Manager, find_manager
from pgsched.observability.systemd_watchdog import SystemdWatchdog, longest_block
from pgsched.worker.child_process import serve
from pgsched.worker.children import Child, ControlServer, Mender, MergedMetrics, all_troubles, first_problem, load_of
from pgsched.worker.http_server import served
from pgsched.worker.identity import with_own_queues
from pgsched.worker.lifespans import CLOSE_SECONDS
from pgsched.worker.loops import LOOP_SECONDS, run_steadily
from pgsched.worker.served_shards import RestartPauses, ShardProblems, check_shards
from pgsched.worker.shutdown import CANCEL_SECONDS, FLUSH_SECONDS, HOOK_SECONDS
from pgsched.worker.traces import load_traces
from pgsched.worker.worker import Worker

log = logs.get_logger("pgsched.worker")

DRAINED_CODE = 79
"""Exit code of a child that was asked to drain: its parent does not replace it."""
UNAVAILABLE_CODE = 78
"""Exit code of the process of a shard whose database was down at the start: it holds nothing, so it ended in order."""
RESTART_SECONDS = 1.0
"""Pause before a dead worker process is restarted."""


class Job(NamedTuple):
    """What a worker process needs to know; passed to children."""

    dsn: str
    app_path: str | None
    """None for the built-in handlers only."""
    settings: WorkerSettings
    log_level: str
    builtins: Builtins
    own_queues: bool = False
    """Whether it also serves the queues that handlers name, besides those of the settings."""
    blocked: float | None = None
    """For how many seconds the event loop may block before the service manager is no longer notified."""
    otel: bool = False
    """Whether to set up OpenTelemetry for spans and metrics."""
    shard: str = ""
    """The name of the database, if there are several."""
    counts_table: bool = True
    """Whether it is the process that counts the tasks of its database."""


def run_worker(
    *,
    dsn: str = "",
    shards: Mapping[str, str] | None = None,
    app_path: str | None,
    settings: WorkerSettings,
    builtins: Builtins | None = None,
    processes: int = 1,
    metrics_host: str = "127.0.0.1",
    metrics_port: int | None = None,
    log_level: str = "info",
    otel: bool = False,
    own_queues: bool = False,
) -> int:
    """Run ``processes`` workers until SIGTERM, SIGINT or SIGHUP; returns the exit code.

    A second signal ends them at once: what they held is claimed again when its leases expire. ``dsn`` is libpq's;
    ``shards`` are the DSNs of several databases by name instead, each of which ``processes`` workers serve.
    ``app_path`` is ``module:attribute``, None for the ``builtins`` alone; ``metrics_port`` None serves nothing and 0
    takes a free port; ``log_level`` is for the children, this process has set up its logging; ``otel`` creates spans
    and metrics, configured by the ``OTEL_*`` environment; ``own_queues`` also serves the queues that handlers name.
    Raises ConfigError, SchemaMismatch, CopiedDatabase and DatabaseUnavailable before any work is taken.
    """
    open_standard_files()
    manager = find_manager(os.environ)
    if otel:
        check_telemetry()
    dsns = {name: pin(one, os.environ) for name, one in (shards or {"": dsn}).items()}
    if settings.listen_dsn is not None:
        if len(dsns) > 1:
            raise ConfigError("listen_dsn belongs to one database, and there are several: start a worker for each")
        settings = replace(settings, listen_dsn=pin(settings.listen_dsn, os.environ))
    check_shards(dsns)
    blocked = longest_block(manager.watchdog if manager else None)
    given = builtins or Builtins()
    jobs = [
        Job(one, app_path, settings, log_level, given, own_queues, blocked, otel, name, counts_table=number == 0)
        for name, one in dsns.items()
        for number in range(processes)
    ]
    with Signals() as signals:
        if app_path is not None:
            load_app(app_path)  # a mistake in it is reported once, here, and not by every child
        if len(jobs) == 1:
            return _run_one(jobs[0], signals, metrics_host, metrics_port, manager)
        return _Parent(jobs, manager).run(signals, metrics_host, metrics_port)


def _run_one(job: Job, signals: Signals, host: str, port: int | None, manager: Manager | None) -> int:
    worker = _make_worker(job, counts_table=port is not None or job.otel)
    health = worker.health
    with served(host, port, worker.metrics, health.unhealthy, health.unready, health.troubles):
        if manager is None:
            return _ended(_run_until_signalled(worker, job.settings, signals))
        stalled = partial(health.unhealthy, job.blocked)
        watchdog = SystemdWatchdog(manager, ready=health.unready, stalled=stalled, load=health.load)
        watchdog.start()
        try:
            return _ended(_run_until_signalled(worker, job.settings, signals, on_stop=watchdog.stopping))
        finally:
            watchdog.stop()


def _ended(code: int) -> int:
    """Return the exit code of a worker without a parent: a drained one has also ended in order."""
    return 0 if code == DRAINED_CODE else code


def _make_worker(job: Job, *, counts_table: bool) -> Worker:
    app = App() if job.app_path is None else load_app(job.app_path)
    if job.otel:
        set_up_telemetry()  # after the application, which may do so itself
        app.trace()
    settle_collector()
    capture_logs = job.settings.capture_logs or app.capture_logs
    children = None
    if job.app_path is not None:
        children = partial(
            serve, app_path=job.app_path, log_level=job.log_level, capture_logs=capture_logs, otel=job.otel
        )
    queues = with_own_queues(job.settings.queues, app.registry) if job.own_queues else job.settings.queues
    return Worker(
        dsn=job.dsn,
        registry=with_builtins(app.registry, job.builtins),
        settings=replace(job.settings, capture_logs=capture_logs, queues=queues),
        counts_table=counts_table,
        hooks=app.hooks,
        surroundings=app.surroundings(),
        serve=children,
        traces=load_traces(app.tracing),
    )


def _run_until_signalled(
    worker: Worker,
    settings: WorkerSettings,
    signals: Signals,
    on_loop: Callable[[Callable[[], None]], None] | None = None,
    on_stop: Callable[[], None] | None = None,
) -> int:
    stops = 0
    # An orderly stop that hangs (a silent database, a handler that blocks the loop) must end as well.
    guard = exit_timer(_longest_stop(settings), 1)

    async def main() -> None:
        loop = asyncio.get_running_loop()

        def begin_to_stop() -> None:
            worker.stop()
            if on_stop is not None:
                on_stop()

        def stop() -> None:
            """Stop from a thread: the event loop may be blocked."""
            nonlocal stops
            stops += 1
            if stops > 1:
                exit_now(1)
            guard.start()
            with suppress(RuntimeError):  # the loop is closed: nothing is left to stop
                loop.call_soon_threadsafe(begin_to_stop)

        signals.take(stop)
        ProcessState(signals, worker.executor.keep_capturing).start(loop)
        if on_loop is not None:
            on_loop(stop)
        await worker.run()
        if worker.executor.running:
            # Handlers that were released and do not end must not run on beside their successors. This is checked here,
            # because leaving the loop cancels the slots that wait for them.
            log.warning("handlers_left_behind", running=worker.executor.running)
            exit_now(0)

    try:
        run_steadily(main())
        if worker.traces.on:
            flush_telemetry()
    finally:
        guard.cancel()
    return DRAINED_CODE if worker.requests.drained else 0


def _longest_stop(settings: WorkerSettings) -> float:
    """The maximum duration of an orderly stop, in seconds."""
    return (
        settings.shutdown_timeout
        + CANCEL_SECONDS
        + FLUSH_SECONDS
        + HOOK_SECONDS
        + CLOSE_SECONDS
        + LOOP_SECONDS
        + TERM_SECONDS
        + 8
    )


class _Parent:
    """Starts the children, restarts dead or unhealthy ones, forwards signals, serves their metrics as one.

    A signal to stop is a byte in a pipe. The loop that starts children reads it, so that a signal which arrives while
    one is being started reaches that one as well, and none is missed on the way to sleep.
    """

    def __init__(self, jobs: Sequence[Job], manager: Manager | None = None) -> None:
        """One process is started for each job; the jobs differ in their shards only."""
        self._jobs = jobs
        self._names = list(dict.fromkeys(job.shard for job in jobs))
        self._problems = ShardProblems()
        self._unready_shards: dict[str, str | None] = {}
        self._pauses = RestartPauses()
        self._watchdog = manager and SystemdWatchdog(
            manager,
            ready=self.unready,
            stalled=lambda: first_problem(self._children(), "alive", but=self._mender.mending, often=True),
            load=lambda: load_of(self._children()),
        )
        settings = jobs[0].settings
        self._mender = Mender(silence=3 * settings.lease, stop=_longest_stop(settings))
        self._context = multiprocessing.get_context("spawn")
        self._slots: list[Child | None] = [None] * len(jobs)
        self._signals, self._signalled = os.pipe()

    def run(self, signals: Signals, host: str, port: int | None) -> int:
        """Run until a signal arrives and every child has ended; returns 0, or 1 when one could not stop in order."""
        signals.take(partial(os.write, self._signalled, b"."))
        metrics = Metrics()
        metrics.register(MergedMetrics(self._children))
        with served(host, port, metrics, self._unhealthy, self.unready, self._troubles):
            self._start_missing()
            if self._watchdog:
                self._watchdog.start()
            while not self._pass_on_signals(RESTART_SECONDS) and not self._all_drained():
                self._start_missing()
                self._mender.run_once(self._children())
            if self._watchdog:
                self._watchdog.stopping()
            while alive := self._alive():
                self._pass_on_signals(None, ends_of=alive)
            processes = [child.process for child in self._children()]
            # A child that SIGTERM ended did not yet, or no longer, have the handler that it has while it holds work.
            in_order = (0, -signal.SIGTERM, DRAINED_CODE, UNAVAILABLE_CODE)
            return 0 if all(process.exitcode in in_order for process in processes) else 1

    def _unhealthy(self) -> str | None:
        def unhealthy(shard: str) -> str | None:
            return first_problem(
                self._children(shard), "healthy", but=lambda child: self._mender.mending(child) or _has_drained(child)
            )

        return self._problems.of_all({name: unhealthy(name) for name in self._names})

    def unready(self) -> str | None:
        """Return what keeps the processes from claiming; None when nothing does. One that has not started counts.

        With several shards it is enough that those of one claim.
        """
        self._unready_shards = {name: self._unready(name) for name in self._names}
        return self._problems.of_all(self._unready_shards)

    def _unready(self, shard: str) -> str | None:
        children = self._children(shard)
        wanted = sum(job.shard == shard for job in self._jobs)
        if len(children) < wanted:
            return f"{len(children)} of {wanted} processes have started"
        return first_problem([child for child in children if not _has_drained(child)], "ready")

    def _troubles(self) -> list[dict[str, Any]]:
        found = all_troubles(self._children())
        return found if len(self._names) == 1 else [*self._problems.troubles(self._unready_shards), *found]

    def _all_drained(self) -> bool:
        children = self._children()
        return len(children) == len(self._slots) and all(map(_has_drained, children))

    def _children(self, shard: str | None = None) -> list[Child]:
        return [child for child in self._slots if child is not None and shard in (None, child.shard)]

    def _alive(self) -> list[BaseProcess]:
        return [child.process for child in self._children() if child.process.is_alive()]

    def _start_missing(self) -> None:
        for number, (job, child) in enumerate(zip(self._jobs, self._slots, strict=True)):
            counted: list[Metric] = []
            if child is not None:
                if child.process.is_alive() or _has_drained(child):
                    continue
                if job.shard and not self._pauses.may_start(number):
                    continue
                more = {"shard": job.shard} if job.shard else {}
                log.error("process_died", number=number, exit_code=child.process.exitcode, **more)
                counted = child.retire()
            ours, theirs = self._context.Pipe()
            process = self._context.Process(target=_run_child, args=(job, theirs), name=f"pgsched worker {number}")
            try:
                process.start()
            except OSError as error:  # no process can be started at the moment: the next turn tries again
                log.error("process_not_started", number=number, error=str(error))
                ours.close()
                continue
            finally:
                theirs.close()
            self._pauses.started(number)
            self._slots[number] = Child(process, ours, before=counted, shard=job.shard)

    def _pass_on_signals(self, timeout: float | None, *, ends_of: Sequence[BaseProcess] = ()) -> bool:
        """Wait for a signal, at most ``timeout`` seconds, or until one of ``ends_of`` has ended; forward it."""
        if self._signals not in wait([self._signals, *(process.sentinel for process in ends_of)], timeout):
            return False
        for _ in os.read(self._signals, 100):
            for process in self._alive():
                process.terminate()
        return True


def _has_drained(child: Child) -> bool:
    """Whether it ended because of a request to drain: its place stays empty until the parent is restarted."""
    return child.process.exitcode == DRAINED_CODE


def _run_child(job: Job, pipe: Connection) -> None:
    # In its own group, so that Ctrl-C in the terminal reaches the parent alone, which forwards it once.
    os.setpgrp()
    open_standard_files()
    logs.configure(job.log_level)
    try:
        with Signals() as signals:
            code = _run_as_child(job, pipe, signals)
    except PgschedError as error:
        log.error("worker_failed", error=str(error))
        code = UNAVAILABLE_CODE if job.shard and isinstance(error, DatabaseUnavailable) else 1
    exit_soon(code)
    sys.exit(code)


def _run_as_child(job: Job, pipe: Connection, signals: Signals) -> int:
    worker = _make_worker(job, counts_table=job.counts_table)

    def answer(stop: Callable[[], None]) -> None:
        ControlServer(
            pipe=pipe,
            metrics=worker.metrics,
            healthy=worker.health.unhealthy,
            ready=worker.health.unready,
            troubles=worker.health.troubles,
            alive=partial(worker.health.unhealthy, job.blocked),
            load=worker.health.load,
            on_orphaned=stop,
        ).start()

    return _run_until_signalled(worker, job.settings, signals, on_loop=answer)
