"""Runs due tasks in the test's own process, with a real worker that has no loops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from time import monotonic

from pgsched.app.app import App
from pgsched.db.dsn import resolved
from pgsched.db.session import Session
from pgsched.db.worker.claims import find_due_ids
from pgsched.db.worker.durable import wake_suspended
from pgsched.domain.attempt import Finish
from pgsched.domain.settings import WorkerSettings
from pgsched.testing.clock import Clock
from pgsched.testing.handlers import registry_of
from pgsched.testing.loops import without_loop
from pgsched.testing.outcomes import Ran, raise_first, ran
from pgsched.worker.declared_schedules import declare_schedules
from pgsched.worker.leased_tasks import CURRENT_ATTEMPT, LeasedTask
from pgsched.worker.scan import Scan
from pgsched.worker.shutdown import HOOK_SECONDS
from pgsched.worker.traces import load_traces
from pgsched.worker.worker import Worker

EVERY_QUEUE = ("*",)
LEASE = 3600.0
"""Seconds: there are no heartbeats while a test runs tasks."""
MANY = 1_000_000
"""Maximum number of rows in one pass."""
LOOK_SECONDS = 0.02
"""Interval between checks whether a transactional handler has written its outcome itself."""


async def run_due_async(
    app: App,
    *,
    queues: Sequence[str] = EVERY_QUEUE,
    limit: int | None = None,
    until: datetime | None = None,
    clock: Clock | None = None,
    raises: bool = True,
    concurrency: int = 1,
    declare: bool = False,
) -> list[Ran]:
    """Run what is due now, each row at most once, and return the outcomes, in the order in which the attempts ended.

    What handlers schedule meanwhile, retries and steps of groups wait for the next call (:func:`drain` runs them too).
    With ``until`` and a ``clock``, runs everything that is due until then: the clock is frozen at one due time after
    the other, and left at ``until``. At most ``limit`` attempts are made. ``concurrency`` 1 runs one handler after the
    other, in the order of claims; ``declare`` first writes the schedules that the code declares to the table, as a
    starting worker does. Handlers with ``executor="process"`` run in a thread, or on the loop.

    The exception of the first failed handler is raised once everything is written, unless ``raises`` is False: then
    check ``outcome`` and ``exception``. Raises NotCompleted for an attempt that failed without an exception of its
    handler, and DatabaseUnavailable. ``run_due`` is for tests without an event loop; it raises RuntimeError in one.
    """
    if until is not None and clock is None:
        raise ValueError("run_due: until needs a clock, which is moved from one due time to the next")
    async with _running(
        app, queues=queues, limit=limit, concurrency=concurrency, declare=declare, raises=raises
    ) as running:
        if until is None or clock is None:
            await running.once()
        else:
            await running.until(until, clock)
    return running.attempts


async def drain_async(
    app: App,
    *,
    queues: Sequence[str] = EVERY_QUEUE,
    limit: int | None = None,
    raises: bool = True,
    concurrency: int = 1,
    declare: bool = False,
) -> list[Ran]:
    """Run what is due, and what becomes due as a result, until nothing is; otherwise like :func:`run_due`.

    A retry waits for its backoff, and is not due before the clock is moved there.
    """
    async with _running(
        app, queues=queues, limit=limit, concurrency=concurrency, declare=declare, raises=raises
    ) as running:
        await running.all()
    return running.attempts


run_due = without_loop(run_due_async)
drain = without_loop(drain_async)


@asynccontextmanager
async def _running(
    app: App, *, queues: Sequence[str], limit: int | None, concurrency: int, declare: bool, raises: bool
) -> AsyncIterator[_Running]:
    """Provide a worker for one call; once everything is written, raise the first failed handler's exception."""
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be at least 1, got {limit}")
    with resolved(app.dsn) as dsn:
        running = _Running(app, dsn, queues=queues, limit=limit, concurrency=concurrency)
        async with running.opened(declare=declare):
            yield running
    if raises:
        raise_first(running.attempts)


class _Running:
    """One worker without loops, for one call of a test."""

    def __init__(self, app: App, dsn: str, *, queues: Sequence[str], limit: int | None, concurrency: int) -> None:
        self.attempts: list[Ran] = []
        self._raised: dict[tuple[int, int], BaseException] = {}
        self._unattempted: set[int] = set()
        """Rows of the last pass that were only planned, or moved to another tick: nothing of them has run."""
        self._limit = limit
        self._upkeep = Session(dsn=dsn, name="pgsched upkeep")
        self._registry = registry_of(app.registry, self._note)
        self._worker = Worker(
            dsn=dsn,
            registry=self._registry,
            settings=WorkerSettings(
                queues=tuple(queues), concurrency=concurrency, lease=LEASE, capture_logs=app.capture_logs
            ),
            hooks=app.hooks,
            surroundings=app.surroundings(),
            traces=load_traces(app.tracing),
        )
        self._told = self._worker.completer.writer.on_written
        self._worker.completer.writer.on_written = self._written

    @asynccontextmanager
    async def opened(self, *, declare: bool) -> AsyncIterator[None]:
        """Open the slots, and close everything at the end; rows still in hand are released."""
        worker = self._worker
        await worker.lifespans.open()
        worker.executor.state = worker.lifespans.state
        if worker.hook_dispatcher is not None:
            worker.hook_dispatcher.start()
        worker.executor.start()
        try:
            if declare:
                await declare_schedules(self._upkeep, self._registry)
            yield
        finally:
            await self._upkeep.close()
            ending = worker.ending()
            await worker.executor.interrupt(0)
            await ending.give_back(worker.leased_tasks.snapshot())
            await worker.executor.drain(1)
            worker.executor.close()
            if worker.hook_dispatcher is not None:
                await worker.hook_dispatcher.stop(HOOK_SECONDS)
            await worker.lifespans.close()
            await ending.leave()

    async def once(self) -> None:
        """Run what is due, each row once; also a schedule that was only planned and is due then."""
        self._worker.claimer.wake_after_change()
        await self._worker.claimer.learn_types(monotonic())
        await wake_suspended(self._upkeep, MANY)
        due = await find_due_ids(self._upkeep, self._worker.identity)
        while due and self._room() > 0:
            found = await self._pass(due)
            if not found:
                return
            due -= found - self._unattempted

    async def all(self) -> None:
        """Run what is due until nothing is."""
        while self._room() > 0 and await self._pass(None):
            pass

    async def until(self, until: datetime, clock: Clock) -> None:
        """Run everything that becomes due until then."""
        identity = self._worker.identity
        while self._room() > 0:
            await self.all()
            due = await asyncio.to_thread(
                clock.next_due, identity.claimed_types, list(identity.queues), list(identity.patterns)
            )
            if due is None or due > until:
                await asyncio.to_thread(clock.freeze, until)
                return
            if due <= clock.now():
                return  # it cannot be claimed: a limit, or another worker's lease
            await asyncio.to_thread(clock.freeze, due)

    async def _pass(self, only: set[int] | None) -> set[int]:
        """Claim all that is due, run it, write the outcomes; return the ids of the rows.

        Rows other than ``only`` do not run: they are released.
        """
        worker = self._worker
        await wake_suspended(self._upkeep, MANY)
        worker.claimer.wake_after_change()
        self._unattempted = set()
        while (room := min(self._room() - len(worker.leased_tasks), WorkerSettings.max_batch)) > 0:
            before = len(worker.leased_tasks)
            worker.shared_claims.scan = Scan()  # scans all queues in one claim, however slow earlier claims were
            more = await worker.claimer.run_once(room, worker.executor.free - len(worker.leased_tasks.waiting))
            if not more and len(worker.leased_tasks) == before:
                break
        if only is not None:
            claimed = worker.leased_tasks.take_waiting()
            worker.leased_tasks.waiting.extend(leased for leased in claimed if leased.task.id in only)
            await worker.ending().give_back([leased for leased in claimed if leased.task.id not in only])
        found = {leased.task.id for leased in worker.leased_tasks.waiting}
        worker.executor.feed()
        while len(worker.leased_tasks):
            with suppress(TimeoutError):
                await asyncio.wait_for(worker.completer.wakeup.wait(), LOOK_SECONDS)
            await worker.completer.run_once()
        return found

    def _room(self) -> int:
        return MANY if self._limit is None else self._limit - len(self.attempts)

    def _note(self, error: BaseException) -> None:
        leased = CURRENT_ATTEMPT.get()
        if leased is not None:
            self._raised[leased.task.id, leased.task.fencing_token] = error

    def _written(self, batch: Sequence[tuple[LeasedTask, Finish]]) -> None:
        for leased, finish in batch:
            attempt = ran(leased.task, finish, self._raised.get((finish.id, finish.fencing_token)))
            if attempt is not None:
                self.attempts.append(attempt)
            elif finish.next_status == "pending":
                self._unattempted.add(finish.id)
        if self._told is not None:
            self._told(batch)
