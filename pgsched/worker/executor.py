"""The slots: runs up to ``concurrency`` attempts at once, each in an asyncio task of its own."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, suppress
from functools import partial
from time import monotonic

from pgsched.concurrency.eager_tasks import starter
from pgsched.concurrency.thread_pool import Threads
from pgsched.domain.attempt import Outcome
from pgsched.domain.lifecycle import Refused, give_up, is_plain, judge
from pgsched.domain.scheduling.recurrence import is_catchup
from pgsched.domain.settings import CAPTURE_OFF
from pgsched.execution.context import Context
from pgsched.execution.durable_context import DurableBase, DurableContext, PlainDurableContext
from pgsched.execution.durable_run import DurableRun
from pgsched.execution.handler import Handler
from pgsched.execution.log_capture import CaptureHandler, capture, keep, release
from pgsched.execution.outcomes import describe
from pgsched.execution.process_pool import Processes, Serve
from pgsched.execution.registry import Registry
from pgsched.execution.runner import run_attempt
from pgsched.execution.state import State
from pgsched.observability.logs import contain_libraries, get_logger, mark_with
from pgsched.worker.attempt_log import attempt_fields
from pgsched.worker.attempt_resources import Attempt, Attempts
from pgsched.worker.clock import DatabaseClock
from pgsched.worker.completer import Completer
from pgsched.worker.durable_runs import DurableRuns
from pgsched.worker.groups import Groups
from pgsched.worker.leased_tasks import BEGIN, CURRENT_ATTEMPT, MOVES, RUNNING, WAITING, LeasedTask, LeasedTasks
from pgsched.worker.loops import own_task
from pgsched.worker.metrics import WorkerMetrics
from pgsched.worker.prefetch import Prefetch

log = get_logger("pgsched.worker")


TURN_SECONDS = 0.003
"""How long slots run handlers before yielding to the event loop."""


class Executor:
    """Runs the waiting holds, ``concurrency`` at a time."""

    def __init__(
        self,
        *,
        concurrency: int,
        registry: Registry,
        leased_tasks: LeasedTasks,
        completer: Completer,
        prefetch: Prefetch,
        clock: DatabaseClock,
        counts: WorkerMetrics,
        attempts: Attempts,
        groups: Groups,
        durable_runs: DurableRuns,
        on_room: Callable[[], None],
        serve: Serve | None = None,
        capture_logs: str = CAPTURE_OFF,
        on_started: Callable[[LeasedTask], None] | None = None,
        run: Callable[..., Awaitable[None]] = run_attempt,
    ) -> None:
        """``serve`` is the main function of child processes; ``on_started`` is called when a handler starts."""
        self._concurrency = concurrency
        self._registry = registry
        self._leased = leased_tasks
        self._completer = completer
        self._prefetch = prefetch
        self._clock = clock
        self._counts = counts
        self._attempts = attempts
        self._groups = groups
        self.durable_runs = durable_runs
        self._on_room = on_room
        self._capture_logs = capture_logs
        self._capturing: CaptureHandler | None = None
        self._on_started = on_started
        self._run_attempt = run
        self.state: State | None = None
        """What all handlers share."""
        self._making_context = threading.Lock()
        self._warned: set[str] = set()
        self._begin_scheduled = False
        self._tasks: dict[asyncio.Task[None], LeasedTask] = {}
        self._threads: Threads[Outcome] = Threads(limit=concurrency, name="pgsched handler")
        self.processes = Processes(serve, name="pgsched handler")
        self._closing = False
        self._interrupted = False
        self._occupants: set[LeasedTask] = set()

    @property
    def running(self) -> int:
        """Occupied slots, including those of handlers that exceeded their timeout and cannot be stopped."""
        return len(self._occupants)

    def occupants(self) -> list[LeasedTask]:
        """Return the holds in the slots; safe to call from any thread (one operation of the interpreter)."""
        return list(self._occupants)

    @property
    def free(self) -> int:
        """Number of idle slots."""
        return self._concurrency - self.running

    def start(self) -> None:
        """Open the slots."""
        contain_libraries()
        mark_with(attempt_fields)
        self._capturing = capture(self._capture_logs, self._logging_context)
        self._loop = asyncio.get_running_loop()
        self._start = starter(self._loop, "pgsched attempt")

    def keep_capturing(self) -> None:
        """Capture what handlers log, even after one has removed the handlers of ``logging``."""
        if not self._closing:
            keep(self._capturing)

    def feed(self) -> None:
        """Schedule the start of waiting holds, as far as slots are free, for the next turn of the event loop."""
        if not self._begin_scheduled:
            self._begin_scheduled = True
            self._loop.call_soon(self._begin)

    def _begin(self) -> None:
        """Start attempts while a slot is free. One that never waits has ended on return and frees its slot."""
        self._begin_scheduled = False
        waiting, occupants = self._leased.waiting, self._occupants
        found = len(waiting)
        now = monotonic()
        turn_ends = now + TURN_SECONDS
        while waiting and len(occupants) < self._concurrency and not self._closing:
            if now > turn_ends:
                # Handlers that never wait must not keep the loop from claiming and writing: the next rows should have
                # arrived when these are done.
                self.feed()
                self._on_room()
                break
            leased = waiting.popleft()
            occupants.add(leased)
            task = self._start(self._run(leased, now))
            if task.done():
                occupants.discard(leased)
            else:
                leased.slot = task
                self._tasks[task] = leased
                task.add_done_callback(self._left)
            now = monotonic()
        self._prefetch.count(found - len(waiting))
        if not waiting:
            self._on_room()

    def _left(self, task: asyncio.Task[None]) -> None:
        """Free the slot of an attempt that waited and has ended."""
        leased = self._tasks.pop(task)
        if leased.slot is task:
            leased.slot = None  # its context variables refer to the row: else only the garbage collector frees it
        self._occupants.discard(leased)
        self.feed()

    async def drain(self, timeout: float) -> None:
        """Start nothing more and wait until every slot is empty, at most ``timeout`` seconds."""
        self._closing = True
        self.durable_runs.hurry()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout)

    async def interrupt(self, grace: float) -> None:
        """Cancel the handlers that still run; plain functions are only notified, because a thread cannot be stopped."""
        self._interrupted = True
        for leased in self._leased.snapshot():
            if leased.state == RUNNING:
                if leased.context is not None:
                    leased.context.cancelled = True
                if leased.slot is not None:
                    leased.slot.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace)

    def close(self) -> None:
        """Release the threads without waiting for those that still run. End the child processes."""
        with ExitStack() as each:  # even when one of them fails
            each.callback(self.processes.close)
            each.callback(self._threads.close)
            each.callback(release, self._capturing)

    async def _run(self, leased: LeasedTask, now: float) -> None:
        """Run a row, in an asyncio task with its own context variables: attempts share nothing."""
        CURRENT_ATTEMPT.set(leased)
        try:
            task = leased.task
            handler = self._registry.get(task.task_type)
            if handler is not None and handler.durable:
                await self._durable(leased, handler)
                return
            if not self._admits(leased, now):
                return
            task = leased.task
            if handler is None:  # only registered types and groups are claimed
                await self._groups.run(leased)
                return
            leased.state = MOVES[leased.state, BEGIN]  # like move(), without a call for every task
            if handler.transactional or (task.depends_on is not None and handler.context_parameter is not None):
                await self._prepared(leased, handler)
            else:
                await self._attempt(leased, handler, now)
        except asyncio.CancelledError:
            log.debug("slot_cancelled", task_id=leased.task.id)
            if not self._interrupted:  # otherwise it is given back
                self._lose(leased)
        except (SystemExit, KeyboardInterrupt):
            # Raised by a signal handler of some task handler: the row is claimed again when its lease expires.
            log.exception("slot_failed", task_id=leased.task.id, task_type=leased.task.task_type)
            self._lose(leased)
        except Exception as error:  # a bug in pgsched, or an unexpected value in the row
            log.exception("slot_failed", task_id=leased.task.id, task_type=leased.task.task_type)
            self._end_failed(leased, describe(error))

    def _lose(self, leased: LeasedTask) -> None:
        leased.slot = None  # it is already ending
        self._leased.abandon(leased)

    def _end_failed(self, leased: LeasedTask, error: str) -> None:
        """End what could not be run, otherwise every worker would try it again when its lease has expired."""
        if leased.state == WAITING:
            self._completer.put(leased, give_up(leased.task, None, f"the task cannot be started: {error}"))
        elif leased.state == RUNNING:
            now = monotonic()
            self._completer.conclude(leased, Outcome("failed", now, now, error=f"the attempt cannot be made: {error}"))

    def _admits(self, leased: LeasedTask, now: float, *, resumed: bool = False) -> bool:
        """Whether a row is to be run now; ``resumed``: as part of a durable run that has started."""
        if leased.state != WAITING:
            return False
        if leased.leased_until <= now:
            # Held past its lease before it started (the process was stopped, the machine slept): no longer ours.
            self._leased.abandon(leased)
            self._counts.leases_lost += 1
            return False
        if not is_plain(leased.task):
            verdict = judge(leased.task, self._clock.at(now), resumed=resumed)
            if isinstance(verdict, Refused):
                finish = verdict.finish
                if finish.execution is not None:  # it expired: the history shows it with a duration of zero
                    finish = finish._replace(started=now, finished=now)
                    log.info("task_expired", task_id=finish.id, task_type=leased.task.task_type)
                self._completer.put(leased, finish)
                return False
            leased.task, leased.missed = verdict.task, verdict.missed
        self._counts.start_delay(leased.task.queue, leased.task.late + now - leased.claimed_at)
        return True

    def _attempt(
        self, leased: LeasedTask, handler: Handler, now: float, attempt: Attempt | None = None
    ) -> Awaitable[None]:
        """Return the awaitable of an attempt. It has no coroutine of its own, for which every task would pay."""
        task = leased.task
        timeout = None if task.timeout is None else task.timeout.seconds
        leased.started_at = now
        if timeout is not None and not leased.abandoned:
            leased.ends_by = now + timeout
        context = self._context(leased, timeout, now, handler) if handler.needs_context else None
        if attempt is not None and context is not None:
            attempt.equip(context)
            if attempt.run is not None and isinstance(context, DurableBase):
                handler = context.enter(attempt.run, handler)
        if self._on_started is not None:
            self._on_started(leased)
        return self._run_attempt(
            handler,
            task.payload,
            context,
            timeout=timeout,
            threads=self._threads,
            report=partial(self._report, leased, attempt),
            processes=self.processes,
            started=now,
        )

    async def _durable(self, leased: LeasedTask, handler: Handler) -> None:
        """Run an attempt that belongs to a durable run."""
        run = await self.durable_runs.open(leased, handler)
        try:
            if self._admits(leased, monotonic(), resumed=run.resumed):
                leased.move(BEGIN)
                await self._prepared(leased, handler, run)
        finally:
            self.durable_runs.leave(run)

    async def _prepared(self, leased: LeasedTask, handler: Handler, run: DurableRun | None = None) -> None:
        """Run an attempt that needs more than its payload."""
        attempt = await self._attempts.prepare(leased, handler, run)
        try:
            await self._attempt(leased, handler, monotonic(), attempt)
        except BaseException:
            attempt.leave()
            raise
        await _settle()
        await attempt.end()

    def _report(self, leased: LeasedTask, attempt: Attempt | None, outcome: Outcome) -> None:
        if attempt is not None and attempt.run is not None and not (leased.abandoned or self._interrupted):
            outcome = attempt.run.outcome_of(outcome)
            if outcome.suspension is not None:
                self.durable_runs.suspended(outcome.suspension)
        if outcome.status != "completed":
            if outcome.status == "released" and not (leased.abandoned or self._interrupted):
                error = "CancelledError: the handler cancelled the task that ran it"
                outcome = outcome._replace(status="failed", error=error)
            if outcome.status == "timed_out":
                self._leased.outlived.add(leased)
        else:
            if outcome.warning is not None:
                self._warn(leased, outcome.warning)
            if leased.context is not None and leased.context.added_steps is not None:
                outcome = outcome._replace(steps=json.dumps(leased.context.added_steps))
        if attempt is not None and attempt.keep(outcome):
            return
        if (outcome.status == "snoozed" or outcome.misfit) and not leased.abandoned:
            self._snooze(leased, outcome)
        else:
            self._completer.conclude(leased, outcome)

    def _warn(self, leased: LeasedTask, warning: str) -> None:
        """Log that a result is not what the handler returned or annotated."""
        self.context_of(leased).log(warning, "warning")
        task = leased.task
        if task.task_type not in self._warned:
            self._warned.add(task.task_type)
            hint = "the attempts' logs say how; further ones of this type are only there"
            log.warning("result_changed", task_id=task.id, task_type=task.task_type, hint=hint)

    def _snooze(self, leased: LeasedTask, outcome: Outcome) -> None:
        """Conclude the attempt after a query of the history; until then it is held and keeps its slot."""
        work = self._attempts.snoozes.settle(leased, outcome, self._completer.conclude)
        leased.slot = own_task(work, name="pgsched snooze")
        self._occupants.add(leased)
        self._tasks[leased.slot] = leased
        leased.slot.add_done_callback(self._left)

    def context_of(self, leased: LeasedTask) -> Context:
        """Return the context of an attempt, created now if its handler did not ask for one."""
        with self._making_context:
            return leased.context or self._context(leased, None, monotonic())

    def _context(
        self, leased: LeasedTask, timeout: float | None, now: float, handler: Handler | None = None
    ) -> Context:
        task = leased.task
        context = leased.context = _class_of(handler)(
            task=task,
            clock=monotonic,
            now=self._clock.now,
            deadline=None if timeout is None else now + timeout,
            is_catchup=is_catchup(task.due, self._clock.at(now)),
        )
        if self.state is not None:
            context.share(self.state)
        return context

    def _logging_context(self) -> Context | None:
        """Return the context of the caller's attempt, created now if its handler did not ask for one."""
        leased = CURRENT_ATTEMPT.get()
        # An attempt that has left its slot, or belongs to another worker in this process, takes no more lines.
        return self.context_of(leased) if leased is not None and leased in self._occupants else None


async def _settle() -> None:
    """End a cancellation with the handler it was meant for: what follows runs without it, even if it was swallowed."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        while task.uncancel():
            pass
        with suppress(asyncio.CancelledError):  # one that was requested but not delivered yet
            await asyncio.sleep(0)


def _class_of(handler: Handler | None) -> type[Context]:
    if handler is None or not handler.durable:
        return Context
    return DurableContext if handler.is_async else PlainDurableContext
