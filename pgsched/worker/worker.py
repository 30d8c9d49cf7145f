"""One worker: its parts, put together, started in order and stopped in order."""

from __future__ import annotations

import asyncio
import os
import re
import socket
from functools import partial
from time import monotonic
from uuid import uuid4

from pgsched.concurrency.thread_pool import in_thread
from pgsched.db.leases import Identity, Pulse
from pgsched.db.listening import CANCEL, QUEUES, BehindPooler, Call, listen
from pgsched.db.pool import Pool
from pgsched.db.session import Session
from pgsched.domain.attempt import GROUP
from pgsched.domain.hooks import Hooks
from pgsched.domain.settings import DEFAULT_CAPTURE_LEVEL, WorkerSettings, capture_level
from pgsched.execution.process_pool import Serve, check_processes
from pgsched.execution.registry import Registry
from pgsched.observability.contained_registry import Metrics
from pgsched.observability.logs import get_logger
from pgsched.worker.attempt_resources import Attempts
from pgsched.worker.claim_on_finish import Chain
from pgsched.worker.claimer import MAX_BYTES, Claimer
from pgsched.worker.clock import DatabaseClock
from pgsched.worker.completer import LOCK_SECONDS, Finisher
from pgsched.worker.dead_letters import Burials
from pgsched.worker.declared_schedules import declared_keys
from pgsched.worker.executor import Slots
from pgsched.worker.groups import Groups
from pgsched.worker.health import Health
from pgsched.worker.health_scan import Watchdog
from pgsched.worker.heartbeat import Heart
from pgsched.worker.hook_dispatcher import Hooking
from pgsched.worker.housekeeping import REPORT_SECONDS, Announcer, Chores, Reporter
from pgsched.worker.leased_tasks import RUNNING, Hold, Holds
from pgsched.worker.loops import Loops
from pgsched.worker.prefetch import Appetite
from pgsched.worker.progress import Progress
from pgsched.worker.queue_rotation import Roster
from pgsched.worker.retention import Retention
from pgsched.worker.run_forever import start_loop, wait_at_most
from pgsched.worker.shutdown import Ending
from pgsched.worker.starting import declare, follow, unless_stopped
from pgsched.worker.table_gauges import Gauges
from pgsched.worker.traces import Traces
from pgsched.worker.trouble_gauges import TroubleGauges
from pgsched.worker.troubles import Troubles
from pgsched.worker.usual import Usual

log = get_logger("pgsched.worker")

QUESTIONS = 2
"""Connections for what is asked for single tasks: results of dependencies, the phases of groups."""
UPKEEP_LOCK_SECONDS = 1.0
"""How long a statement of the upkeep waits for a lock: who has locked one row must not keep all others waiting."""
POOLER_SECONDS = 600.0
"""How often a worker that found a pooler looks whether it can LISTEN after all."""


class Worker:
    """Claims, runs and finishes tasks until it is told to stop."""

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
    ) -> None:
        """``counts_table``: its metrics include those of the whole table. One worker of a process group is enough.

        ``serve`` is what child processes do, ``traces`` makes spans. Raises ConfigError when a handler wants a child
        and there is none.
        """
        check_processes(registry, serve)
        self._dsn = dsn
        self._registry = registry
        self._settings = settings
        roster = Roster(settings.queue_specs)
        self.identity = Identity(
            id=uuid4(),
            hostname=socket.gethostname(),
            pid=os.getpid(),
            queues=roster.exact,
            patterns=roster.likes,
            task_types=(*registry.task_types, GROUP),
            declared_keys=declared_keys(registry),
            concurrency=settings.concurrency,
            lease=settings.lease,
        )
        traces = traces or Traces()
        self.traced = traces.on
        self.tally = traces.tally(settings.concurrency)
        self.holds = Holds()
        self.progress = Progress(settings)
        self.loops = Loops()
        clock = DatabaseClock()
        self._appetite = Appetite(concurrency=settings.concurrency, max_batch=settings.max_batch)
        self._claims = Session(dsn=dsn, name="pgsched claim", tuned=True, timeout=settings.patience)
        self._finishes = Session(
            dsn=dsn, name="pgsched finish", tuned=True, timeout=settings.patience, lock_timeout=LOCK_SECONDS
        )
        self._upkeep = Session(dsn=dsn, name="pgsched upkeep", lock_timeout=UPKEEP_LOCK_SECONDS)
        self._questions = Pool(
            dsn=dsn,
            name="pgsched flow",
            size=QUESTIONS,
            prepares=True,
            timeout=settings.patience,
            lock_timeout=UPKEEP_LOCK_SECONDS,
        )
        self._transactions = Pool(
            dsn=dsn,
            name="pgsched handler",
            size=settings.connections_for_transactions,
            prepares=False,
            timeout=settings.patience,
        )
        self.hooking = Hooking(hooks, clock=clock, loop=self.loops.of("hooks")) if hooks else None
        self.finisher = Finisher(
            session=self._finishes,
            worker=self.identity.id,
            holds=self.holds,
            clock=clock,
            tally=self.tally,
            on_written=self.hooking.finished if self.hooking else None,
        )
        self.claimer = Claimer(
            session=self._claims,
            identity=self.identity,
            burials=Burials(put=self.finisher.put, wrote=self.finisher.wrote, tally=self.tally),
            roster=roster,
            holds=self.holds,
            appetite=self._appetite,
            clock=clock,
            poll_interval=settings.poll_interval,
            on_claim=self.tally.claim,
        )
        self.slots = Slots(
            concurrency=settings.concurrency,
            registry=registry,
            holds=self.holds,
            finisher=self.finisher,
            appetite=self._appetite,
            clock=clock,
            tally=self.tally,
            attempts=Attempts(
                worker=self.identity.id,
                transactions=self._transactions,
                questions=self._questions,
                holds=self.holds,
                finisher=self.finisher,
                clock=clock,
                tally=self.tally,
                on_due=self.claimer.call,
                on_end=self.claimer.look_after_end,
            ),
            groups=Groups(
                worker=self.identity.id,
                questions=self._questions,
                holds=self.holds,
                finisher=self.finisher,
                tally=self.tally,
                fire=traces.fire_group,
                on_due=self.claimer.call,
                on_end=self.claimer.look_after_end,
            ),
            on_room=self._room,
            serve=serve,
            capture_logs=capture_level(settings.capture_logs or DEFAULT_CAPTURE_LEVEL),
            on_started=self.hooking.started if self.hooking else None,
            run=traces.run_attempt,
        )
        self.finisher.chain = Chain(
            claimer=self.claimer,
            free=lambda: 0 if self._stopping.is_set() else self.slots.free - len(self.holds.waiting),
            on_claimed=self.slots.feed,
        )
        usual = Usual(self.tally)
        troubles = Troubles(
            loops=self.loops,
            claims=self._claims,
            outcomes=self.finisher,
            work=self.slots,
            waiting=self.holds.waiting,
            usual=usual,
            clock=clock,
            blocked=self.progress.blocked,
            set_aside=[self.finisher.set_aside, self.claimer.claims.set_aside],
        )
        self.heart = Heart(
            pulse=Pulse(dsn=dsn, identity=self.identity),
            holds=self.holds,
            lease=settings.lease,
            tally=self.tally,
            troubles=troubles,
            running=lambda: self.slots.running,
            loop=self.loops.of("heartbeat"),
            on_lost=self._lost_elsewhere,
        )
        self.health = Health(
            settings=settings,
            heart=self.heart,
            progress=self.progress,
            troubles=troubles,
            slots=self.slots,
            connected=lambda: self._claims.connected,
            stopping=lambda: self._stopping.is_set(),
        )
        self._reporter = Reporter(session=self._upkeep, worker=self.identity.id, holds=self.holds)
        self._watchdog = Watchdog(dsn=dsn, worker=self.identity.id)
        self.retention = Retention(dsn=dsn, identity=self.identity, tally=self.tally, loop=self.loops.of("retention"))
        self.announcer = Announcer(session=self._upkeep, finisher=self.finisher)
        self.metrics = Metrics()
        self.metrics.register(self.tally)
        self.metrics.register(TroubleGauges(troubles))
        self._gauges = Gauges(session=self._upkeep) if counts_table else None
        if self._gauges is not None:
            self.metrics.register(self._gauges)
        self._chores = Chores(
            session=self._upkeep,
            loops=self.loops,
            tally=self.tally,
            often={
                "progress": self._reporter.tick,
                "set_aside_finishes": partial(self.finisher.set_aside.tick, self._upkeep, self.identity.id),
                "set_aside_claims": partial(self.claimer.claims.set_aside.tick, self._upkeep, self.identity.id),
                "announcements": self.announcer.tick,
                "durations": partial(usual.learn, self._upkeep),
                **({"gauges": self._gauges.tick} if self._gauges else {}),
            },
        )
        traces.watch(str(self.identity.id), self.holds, self._questions, self.metrics, self.slots.context_of)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = asyncio.Event()
        self._room_needed = asyncio.Event()

    async def run(self) -> None:
        """Work until :meth:`stop`, then finish what runs, give back what does not end, and return.

        Raises DatabaseUnavailable when the database cannot be reached at the start.
        """
        self._loop = asyncio.get_running_loop()
        if not await unless_stopped(self._start(), self._stopping):
            log.warning("stopped_before_start", reason="the database is silent")
            return
        self.slots.start()
        self.retention.start()
        self.progress.start()
        start = partial(start_loop, self.tally, self.loops)
        loops = [
            start("claim", self.progress.watching(self._claim_tick), may_end=self._stopping.is_set),
            start("listen", self._listen),
            start("upkeep", self._upkeep_tick, may_end=self._stopping.is_set),
            start("watchdog", self._watchdog.run),
        ]
        finishing = start("finish", self._finish_tick)
        if self.hooking is not None:
            self.hooking.start()
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
            self.claimer.called.set()
            await self.ending().wind_down(loops, finishing, self._settings.shutdown_timeout)

    def stop(self) -> None:
        """Ask the worker to stop; safe to call again."""
        stopping = self._stopping.is_set()
        self._stopping.set()
        self.progress.end()
        if not stopping:
            log.info("worker_stopping", running=self.slots.running, timeout=self._settings.shutdown_timeout)

    async def _start(self) -> None:
        await in_thread(self.heart.start, name="pgsched start")
        await declare(self._upkeep, self._registry)
        await follow(self._upkeep)
        await self.announcer.tick()

    def ending(self) -> Ending:
        """Return what ends this worker."""
        return Ending(
            identity=self.identity,
            holds=self.holds,
            slots=self.slots,
            finisher=self.finisher,
            heart=self.heart,
            hooking=self.hooking,
            report=self._reporter.tick,
            session=self._upkeep,
            connections=(
                self.retention,
                self._claims,
                self._finishes,
                self._upkeep,
                self._questions,
                self._transactions,
            ),
        )

    async def _claim_tick(self) -> None:
        waiting = len(self.holds.waiting)
        free = self.slots.free - waiting
        wanted = self._appetite.wanted(free_slots=self.slots.free, waiting=waiting)
        full = self.finisher.behind or (waiting and self.holds.bytes >= MAX_BYTES)
        if wanted <= 0 or full or self.claimer.waits_for_room(free):
            self._room_needed.set()
            await self.claimer.wait_for_room()
            self._room_needed.clear()
            return
        self._appetite.measure(monotonic())
        try:
            more = await self.claimer.tick(wanted, free)
        finally:
            self.slots.feed()  # after an error too: what was claimed before it must not wait for ever
        if len(self.holds.waiting) < wanted:
            await asyncio.sleep(0)  # there is no hurry to claim again: what was claimed begins first
        self.tally.running = self.slots.running
        if not more:
            if free <= 0:
                self._room_needed.set()  # what is not held in advance may wait for a slot
            await self.claimer.rest()
            self._room_needed.clear()

    async def _finish_tick(self) -> None:
        await self.finisher.called.wait()
        booked = await self.finisher.tick()
        self.claimer.look_after_end()
        if booked or self._room_needed.is_set():
            self.claimer.call()

    async def _upkeep_tick(self) -> None:
        await self._chores.tick()
        self.tally.running = self.slots.running
        await wait_at_most(REPORT_SECONDS, self._stopping)

    async def _listen(self) -> None:
        chosen = self._settings.listen_dsn
        try:
            await listen(chosen or self._dsn, on_ready=self._listening, on_call=self._called, chosen=chosen is not None)
        except BehindPooler:
            log.warning("polls_only", reason="a pooler answers", hint="--listen-dsn may lead to the server itself")
            await asyncio.sleep(POOLER_SECONDS)
        finally:
            self.tally.listener_connected = self.claimer.heard = self.announcer.heard = False

    def _listening(self) -> None:
        self.tally.listener_connected = self.claimer.heard = self.announcer.heard = True
        self.loops.of("listen").worked()
        self._settings_changed()

    def _called(self, call: Call) -> None:
        if call.channel == CANCEL:
            hold = self.holds.get(int(call.payload)) if re.fullmatch("[0-9]{1,19}", call.payload) else None
            if hold is not None:
                log.info("task_cancelled", task_id=hold.task.id, task_type=hold.task.task_type)
                self.holds.abandon(hold)
                self.claimer.look_after_end()
        elif call.channel == QUEUES:
            self._settings_changed()
        elif self.claimer.serves(call.payload):
            self.claimer.call(call.payload)

    def _settings_changed(self) -> None:
        self.claimer.call_after_change()
        self.announcer.look_again()

    def _room(self) -> None:
        self.claimer.look_after_end()
        if self._room_needed.is_set():
            self.claimer.call()

    def _lost_elsewhere(self, holds: list[Hold]) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._lost, holds)

    def _lost(self, holds: list[Hold]) -> None:
        for hold in holds:
            if self.holds.get(hold.task.id) is hold and hold.state != "finishing":
                self.tally.leases_lost += 1
                self.tally.fenced += hold.state == RUNNING  # whatever its handler still returns is not written
                log.warning("lease_lost", task_id=hold.task.id, task_type=hold.task.task_type, state=hold.state)
                self.holds.abandon(hold)
