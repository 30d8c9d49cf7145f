"""One worker: builds its parts, starts them in order and stops them in order."""

from __future__ import annotations

import asyncio
from functools import partial

from pgsched.concurrency.thread_pool import in_thread
from pgsched.db.session import Session, Sessions
from pgsched.db.sql_files import load_statements
from pgsched.db.transaction import Pool
from pgsched.db.worker.leases import HeartbeatConnection
from pgsched.db.worker.locking import LockingSession
from pgsched.domain.errors import LifespanFailed
from pgsched.domain.events import Hooks
from pgsched.domain.settings import DEFAULT_CAPTURE_LEVEL, WorkerSettings, capture_level
from pgsched.execution.gatherer import with_gatherers
from pgsched.execution.middleware import with_middleware
from pgsched.execution.process_pool import Serve, check_processes
from pgsched.execution.registry import Registry
from pgsched.execution.surroundings import NOTHING_AROUND, Surroundings
from pgsched.observability.contained_registry import Metrics
from pgsched.observability.logs import get_logger
from pgsched.worker.attempt_resources import Attempts
from pgsched.worker.backlogs import Backlogs
from pgsched.worker.claim_loop import ClaimLoop
from pgsched.worker.claimer import Claimer
from pgsched.worker.claims import Claims
from pgsched.worker.clock import DatabaseClock
from pgsched.worker.completer import LOCK_SECONDS, Completer
from pgsched.worker.dead_letters import DeadLetters
from pgsched.worker.declared_schedules import declare
from pgsched.worker.durable_runs import DurableRuns, Waking
from pgsched.worker.executor import Executor
from pgsched.worker.finish_writer import FinishWriter
from pgsched.worker.groups import Groups
from pgsched.worker.health import Health, Progress
from pgsched.worker.health_scan import HealthScan
from pgsched.worker.heartbeat import Heartbeat
from pgsched.worker.hook_dispatcher import HookDispatcher
from pgsched.worker.housekeeping import REPORT_SECONDS, EventBroadcaster, Housekeeping, Reporter
from pgsched.worker.identity import new_identity
from pgsched.worker.kept_transactions import KeptTransactions
from pgsched.worker.late_starts import LateStarts
from pgsched.worker.leased_tasks import LeasedTasks
from pgsched.worker.lifespans import Lifespans
from pgsched.worker.limited_claims import LimitedClaims
from pgsched.worker.listener import Listener
from pgsched.worker.locked_batches import LockedBatches
from pgsched.worker.loops import Loops, unless_stopped, wait_at_most
from pgsched.worker.lost_leases import LostLeases
from pgsched.worker.prefetch import Prefetch
from pgsched.worker.queue_rotation import QueueRotation
from pgsched.worker.rate import Rate
from pgsched.worker.registration import register
from pgsched.worker.requests import Requests
from pgsched.worker.retention import Retention
from pgsched.worker.roll_up import RollUp
from pgsched.worker.rulebook import follow
from pgsched.worker.shared_claims import SharedClaims
from pgsched.worker.shutdown import ANSWER_SECONDS, Shutdown
from pgsched.worker.sleep import Sleep
from pgsched.worker.slow_finishes import SLOW_LOCK_SECONDS
from pgsched.worker.snoozes import Snoozes
from pgsched.worker.table_gauges import CachedGauges
from pgsched.worker.traces import Parts, Traces
from pgsched.worker.troubles import Troubles, Usual
from pgsched.worker.unserved import tell_unserved
from pgsched.worker.usual_seconds import UsualSeconds

log = get_logger("pgsched.worker")

QUESTIONS = 2
"""Connections for queries about single tasks: results of dependencies, the phases of groups."""
UPKEEP_LOCK_SECONDS = 1.0
"""How long a statement of the upkeep waits for a lock: a lock on one row must not delay all others."""


class Worker:
    """Claims, runs and finishes tasks until it is asked to stop."""

    def __init__(
        self,
        *,
        dsn: str,
        registry: Registry,
        settings: WorkerSettings,
        counts_table: bool = False,
        hooks: Hooks | None = None,
        serve: Serve | None = None,
        traces: Traces | None = None,
        surroundings: Surroundings = NOTHING_AROUND,
    ) -> None:
        """``counts_table``: its metrics include those of the whole table. One worker of a process group suffices.

        ``serve`` is the main function of child processes, ``traces`` creates spans, ``surroundings`` wrap the handlers.
        Raises ConfigError when a handler needs a child process and there is none.
        """
        check_processes(registry, serve)
        registry = with_gatherers(with_middleware(registry, surroundings.middleware_of), settings.concurrency)
        self._registry = registry
        self._settings = settings
        self.rotation = rotation = QueueRotation(settings.queue_specs)
        self.identity = new_identity(registry, rotation, settings)
        self.traces = traces or Traces()
        self.counts = self.traces.counts(settings.concurrency)
        self.leased_tasks = LeasedTasks()
        self.progress = Progress(settings)
        self.loops = Loops(self.counts)
        clock = DatabaseClock()
        prefetch = Prefetch(concurrency=settings.concurrency, max_batch=settings.max_batch)
        timeout = settings.statement_timeout
        self.claim_session = Session(dsn=dsn, name="pgsched claim", tuned=True, timeout=timeout)
        self.finish_session = Session(
            dsn=dsn, name="pgsched finish", tuned=True, timeout=timeout, lock_timeout=LOCK_SECONDS
        )
        self.upkeep_session = Session(dsn=dsn, name="pgsched upkeep", lock_timeout=UPKEEP_LOCK_SECONDS)
        self._questions = Sessions(
            lambda: Session(dsn=dsn, name="pgsched flow", timeout=timeout, lock_timeout=UPKEEP_LOCK_SECONDS),
            size=QUESTIONS,
        )
        self._transactions = Pool(
            dsn=dsn, name="pgsched handler", size=settings.connections_for_transactions, timeout=timeout
        )
        usual_seconds = UsualSeconds(registry)
        self.hook_dispatcher = HookDispatcher(hooks, clock=clock, loop=self.loops.of("hooks")) if hooks else None
        self.claims = Claims(
            session=self.claim_session,
            identity=self.identity,
            dead_letters=DeadLetters(
                put=lambda leased, finish: self.completer.put(leased, finish),
                wrote=lambda ended: self.completer.writer.wrote(ended),
                counts=self.counts,
            ),
            leased_tasks=self.leased_tasks,
            clock=clock,
        )
        rate = Rate()
        late_starts = LateStarts(session=self.claim_session, on_late=lambda: self.claimer.wake_for_limited())
        self.limited_claims = LimitedClaims(
            identity=self.identity,
            claims=self.claims,
            rotation=rotation,
            leased_tasks=self.leased_tasks,
            late_starts=late_starts,
            rate=rate,
            on_claim=self.counts.claim,
            on_due=lambda: self.claimer.wake_for_limited(),
            free=lambda: 0 if self._stopping.is_set() else self.executor.free - len(self.leased_tasks.waiting),
            on_claimed=lambda: self.executor.feed(),
        )
        self.completer = Completer(
            session=self.finish_session,
            writer=FinishWriter(
                session=self.finish_session,
                worker=self.identity.id,
                clock=clock,
                counts=self.counts,
                limited_claims=self.limited_claims,
                on_written=self.hook_dispatcher.finished if self.hook_dispatcher else None,
            ),
            slow_session=Session(
                dsn=dsn, name="pgsched slow finish", tuned=True, timeout=timeout, lock_timeout=SLOW_LOCK_SECONDS
            ),
            lease=settings.lease,
            worker=self.identity.id,
            leased_tasks=self.leased_tasks,
            clock=clock,
            counts=self.counts,
            usual=usual_seconds,
            limited_claims=self.limited_claims,
        )
        self.locked_batches = LockedBatches(
            make_session=lambda: LockingSession(dsn=dsn, name="pgsched lock", timeout=timeout, lease=settings.lease),
            upkeep=self.upkeep_session,
            identity=self.identity,
            leased_tasks=self.leased_tasks,
            rulebook=self.claims.rulebook,
            writer=self.completer.writer,
            on_ended=self.completer.put_again,
            counts=self.counts,
            usual=usual_seconds,
            on_room=lambda: self.executor.feed(),
            on_due=lambda: self.claim_loop.room_came(),
            on_refused=self.claims.suspect,
        )
        self.shared_claims = SharedClaims(
            claims=self.claims,
            locked_batches=self.locked_batches,
            clock=clock,
            rate=rate,
            on_claim=self.counts.claim,
        )
        self.sleep = Sleep(session=self.claim_session, identity=self.identity, poll_interval=settings.poll_interval)
        self.claimer = Claimer(
            session=self.claim_session,
            identity=self.identity,
            claims=self.claims,
            shared=self.shared_claims,
            limited=self.limited_claims,
            late_starts=late_starts,
            rotation=rotation,
            leased_tasks=self.leased_tasks,
            rate=rate,
            sleep=self.sleep,
            poll_interval=settings.poll_interval,
        )
        self.durable_runs = DurableRuns(
            worker=self.identity.id,
            registry=registry,
            session=Session(dsn=dsn, name="pgsched steps", tuned=True, timeout=timeout, lock_timeout=LOCK_SECONDS),
            questions=self._questions,
            transactions=self._transactions,
            leased_tasks=self.leased_tasks,
            clock=clock,
            counts=self.counts,
            has_room=lambda: (
                self.executor.free > 0 and not self._stopping.is_set() and self.requests.state != "draining"
            ),
            waking=(waking := Waking(session=self.upkeep_session)),
            span=self.traces.step,
        )
        self.executor = Executor(
            concurrency=settings.concurrency,
            registry=registry,
            leased_tasks=self.leased_tasks,
            completer=self.completer,
            prefetch=prefetch,
            clock=clock,
            counts=self.counts,
            attempts=Attempts(
                worker=self.identity.id,
                transactions=self._transactions,
                questions=self._questions,
                leased_tasks=self.leased_tasks,
                completer=self.completer,
                clock=clock,
                counts=self.counts,
                snoozes=Snoozes(questions=self._questions, registry=registry, counts=self.counts),
                on_due=self.claimer.wake,
                on_end=self.limited_claims.look_after_end,
            ),
            groups=Groups(
                worker=self.identity.id,
                questions=self._questions,
                leased_tasks=self.leased_tasks,
                completer=self.completer,
                counts=self.counts,
                fire=self.traces.fire_group,
                on_due=self.claimer.wake,
                on_end=self.limited_claims.look_after_end,
            ),
            durable_runs=self.durable_runs,
            on_room=lambda: self.claim_loop.room_came(),
            serve=serve,
            capture_logs=capture_level(settings.capture_logs or DEFAULT_CAPTURE_LEVEL),
            on_started=self.hook_dispatcher.started if self.hook_dispatcher else None,
            run=self.traces.run_attempt,
        )
        self.claim_loop = ClaimLoop(
            claimer=self.claimer,
            limited_claims=self.limited_claims,
            executor=self.executor,
            completer=self.completer,
            leased_tasks=self.leased_tasks,
            prefetch=prefetch,
            counts=self.counts,
        )
        self.requests = Requests(
            claim_loop=self.claim_loop,
            progress=self.progress,
            leased_tasks=self.leased_tasks,
            executor=self.executor,
            completer=self.completer,
            stop=self.stop,
        )
        troubles = Troubles(
            loops=self.loops,
            claims=self.claim_session,
            completer=self.completer,
            executor=self.executor,
            waiting=self.leased_tasks.waiting,
            usual=(usual := Usual(self.counts)),
            clock=clock,
            blocked=self.progress.blocked,
            set_aside=[self.completer.set_aside, self.claims.set_aside],
        )
        self.lost_leases = LostLeases(leased_tasks=self.leased_tasks, counts=self.counts)
        self.heartbeat = Heartbeat(
            connection=HeartbeatConnection(dsn=dsn, identity=self.identity),
            leased_tasks=self.leased_tasks,
            lease=settings.lease,
            counts=self.counts,
            troubles=troubles,
            running=lambda: self.executor.running,
            loop=self.loops.of("heartbeat"),
            on_lost=self.lost_leases.lost_elsewhere,
            state=lambda: self.requests.state,
            on_request=self.requests.heard,
        )
        self.health = Health(
            longest_silence=3 * settings.lease,
            heartbeat=self.heartbeat,
            progress=self.progress,
            findings=troubles,
            executor=self.executor,
            connected=lambda: self.claim_session.connected,
            stopping=lambda: self._stopping.is_set(),
        )
        self.reporter = Reporter(session=self.upkeep_session, worker=self.identity.id, leased_tasks=self.leased_tasks)
        self.health_scan = HealthScan(dsn=dsn, worker=self.identity.id)
        self.roll_up = RollUp(dsn=dsn, worker=self.identity.id, claimed=self.counts.claimed)
        self.retention = Retention(dsn=dsn, identity=self.identity, counts=self.counts, loop=self.loops.of("retention"))
        self.broadcaster = EventBroadcaster(session=self.upkeep_session, writer=self.completer.writer)
        self.listener = Listener(
            dsn=settings.listen_dsn or dsn,
            chosen=settings.listen_dsn is not None,
            loop=self.loops.of("listen"),
            counts=self.counts,
            leased_tasks=self.leased_tasks,
            limited_claims=self.limited_claims,
            claimer=self.claimer,
            broadcaster=self.broadcaster,
            durable_runs=self.durable_runs,
            heartbeat=self.heartbeat,
            worker=self.identity.id,
        )
        self.metrics = Metrics()
        self.metrics.register(self.counts)
        self.metrics.register(troubles)
        self.table_gauges = CachedGauges(session=self.upkeep_session) if counts_table else None
        if self.table_gauges is not None:
            self.metrics.register(self.table_gauges)
        self.housekeeping = Housekeeping(
            session=self.upkeep_session,
            loops=self.loops,
            often={
                "progress": self.reporter.run_once,
                "lost_attempts": self.locked_batches.note_lost,
                "set_aside_finishes": partial(self.completer.set_aside.run_once, self.upkeep_session, self.identity.id),
                "set_aside_claims": partial(self.claims.set_aside.run_once, self.upkeep_session, self.identity.id),
                "announcements": self.broadcaster.run_once,
                "requests": self.requests.run_once,
                "backlogs": Backlogs(session=self.upkeep_session, claimed=self.counts.claimed).run_once,
                "suspended_runs": waking.run_once,
                "durations": partial(usual.learn, self.upkeep_session),
                **({"gauges": self.table_gauges.run_once} if self.table_gauges else {}),
            },
        )
        self.traces.watch(
            Parts(str(self.identity.id), self.leased_tasks, self._questions, self.metrics, self.executor.context_of)
        )
        self.lifespans = Lifespans(surroundings.lifespans, on_lost=self._fail)
        self._failure: LifespanFailed | None = None
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Work until :meth:`stop`, then finish what runs, release what does not end, and return.

        Raises DatabaseUnavailable when the database cannot be reached at the start, and LifespanFailed.
        """
        self.lost_leases.loop = self.requests.loop = asyncio.get_running_loop()
        load_statements()
        try:
            if not await unless_stopped(self.lifespans.open(), self._stopping, grace=0):
                log.warning("stopped_before_start", reason="its lifespans were not open yet")
                return
            self.executor.state = self.lifespans.state
            await self._work()
        finally:
            await self.lifespans.close()
        if self._failure is not None:
            raise self._failure

    async def _work(self) -> None:
        if not await unless_stopped(self._start(), self._stopping, grace=ANSWER_SECONDS):
            log.warning("stopped_before_start", reason="the database is silent")
            return
        self.executor.start()
        self.retention.start()
        self.progress.start()
        start = self.loops.start
        loops = [
            start("claim", self.progress.watching(self.claim_loop.run_once), may_end=self._stopping.is_set),
            start("listen", self.listener.run_once),
            start("upkeep", self._housekeeping_once, may_end=self._stopping.is_set),
            start("watchdog", self.health_scan.run),
            start("roll-up", self.roll_up.run),
            start("transactions", KeptTransactions(pool=self._transactions).run_once),
        ]
        finishing = start("finish", self._finish_once)
        if self.hook_dispatcher is not None:
            self.hook_dispatcher.start()
        log.info(
            "worker_started",
            worker=str(self.identity.id),
            queues=list(self._settings.queues),
            concurrency=self._settings.concurrency,
            task_types=self._registry.task_types,
        )
        try:
            await self._stopping.wait()
        finally:
            self.claimer.wake()
            await self.ending().wind_down(loops, finishing, self._settings.shutdown_timeout)

    def stop(self) -> None:
        """Ask the worker to stop; safe to call again."""
        stopping = self._stopping.is_set()
        self._stopping.set()
        self.progress.end()
        if not stopping:
            log.info("worker_stopping", running=self.executor.running, timeout=self._settings.shutdown_timeout)

    def _fail(self, failure: LifespanFailed) -> None:
        self._failure = failure
        self.stop()

    async def _start(self) -> None:
        await in_thread(self.heartbeat.start, name="pgsched start")
        await register(self.upkeep_session, self._registry)
        await declare(self.upkeep_session, self._registry)
        await tell_unserved(self.upkeep_session)
        await follow(self.upkeep_session)
        await self.broadcaster.run_once()

    def ending(self) -> Shutdown:
        """Return what ends this worker."""
        sessions = (self.claim_session, self.finish_session, self.upkeep_session)
        return Shutdown(
            identity=self.identity,
            leased_tasks=self.leased_tasks,
            executor=self.executor,
            completer=self.completer,
            heartbeat=self.heartbeat,
            hook_dispatcher=self.hook_dispatcher,
            lifespans=self.lifespans,
            report=self.reporter.run_once,
            session=self.upkeep_session,
            locked_batches=self.locked_batches,
            connections=(
                self.completer.slow,
                self.retention,
                self.locked_batches,
                self.durable_runs,
                *sessions,
                self._questions,
                self._transactions,
            ),
        )

    async def _finish_once(self) -> None:
        await self.completer.wakeup.wait()
        self.claim_loop.ended(await self.completer.run_once())

    async def _housekeeping_once(self) -> None:
        await self.housekeeping.run_once()
        self.counts.running = self.executor.running
        await wait_at_most(REPORT_SECONDS, self._stopping)
