"""The slots: so many tasks run at once. Each takes the next row that waits, runs it, and takes the next."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, suppress
from functools import partial
from time import monotonic

from pgsched.capture import CaptureHandler, capture, release
from pgsched.config import CAPTURE_OFF
from pgsched.context import Context
from pgsched.endings import describe
from pgsched.logs import get_logger
from pgsched.model import Outcome
from pgsched.processes import Processes, Serve
from pgsched.registry import Registry
from pgsched.runner import run_attempt
from pgsched.schedule import is_catchup
from pgsched.threads import Threads
from pgsched.transition import Refused, give_up, is_plain, judge
from pgsched.worker.appetite import Appetite
from pgsched.worker.attempts import Attempt, Attempts
from pgsched.worker.clock import DatabaseClock
from pgsched.worker.finisher import Finisher
from pgsched.worker.groups import Groups
from pgsched.worker.holds import RUNNING, WAITING, Hold, Holds
from pgsched.worker.lasting import own_task
from pgsched.worker.places import Places, current_hold
from pgsched.worker.tally import Tally

log = get_logger("pgsched.worker")


TURN_SECONDS = 0.003
"""How long slots run handlers before the event loop gets its turn."""


class Slots:
    """Runs what waits in the holds, ``concurrency`` at a time."""

    def __init__(
        self,
        *,
        concurrency: int,
        registry: Registry,
        holds: Holds,
        finisher: Finisher,
        appetite: Appetite,
        clock: DatabaseClock,
        tally: Tally,
        attempts: Attempts,
        groups: Groups,
        on_room: Callable[[], None],
        serve: Serve | None = None,
        capture_logs: str = CAPTURE_OFF,
        on_started: Callable[[Hold], None] | None = None,
        run: Callable[..., Awaitable[None]] = run_attempt,
    ) -> None:
        """``serve`` is what child processes do; ``on_started`` is called when a handler begins; ``run`` runs it."""
        self._concurrency = concurrency
        self._registry = registry
        self._holds = holds
        self._finisher = finisher
        self._appetite = appetite
        self._clock = clock
        self._tally = tally
        self._attempts = attempts
        self._groups = groups
        self._on_room = on_room
        self._capture_logs = capture_logs
        self._capturing: CaptureHandler | None = None
        self._on_started = on_started
        self._run_attempt = run
        self._making_context = threading.Lock()
        self._places = Places()
        self._on_wait = self._pass_on  # bound once, not for every task
        self._idle: deque[asyncio.Future[None]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._threads: Threads[Outcome] = Threads(limit=concurrency, name="pgsched handler")
        self.processes = Processes(serve, name="pgsched handler")
        self._closing = False
        self._turn_ends = 0.0
        self._interrupted = False
        self._occupants: set[Hold] = set()

    @property
    def running(self) -> int:
        """Slots that are occupied, also by what has overstayed its timeout and cannot be stopped."""
        return len(self._occupants)

    def occupants(self) -> list[Hold]:
        """Return what occupies them; safe to call from any thread (one operation of the interpreter)."""
        return list(self._occupants)

    @property
    def free(self) -> int:
        """Slots with nothing to do."""
        return self._concurrency - self.running

    def start(self) -> None:
        """Open the slots."""
        self._capturing = capture(self._capture_logs, self._logging_context)
        for number in range(self._concurrency):
            self._open(number)

    def feed(self) -> None:
        """Wake an idle slot when rows wait. It takes one after the other, and wakes others when a handler waits."""
        self._wake(min(1, len(self._holds.waiting)))

    def _open(self, number: int) -> None:
        task = own_task(self._slot(), name=f"pgsched slot {number}")
        self._tasks.add(task)
        task.add_done_callback(partial(self._slot_ended, number))

    def _wake(self, count: int) -> None:
        while count > 0 and self._idle:
            future = self._idle.popleft()
            if not future.done():  # that of a slot which somebody cancelled is
                future.set_result(None)
                count -= 1

    def _pass_on(self) -> None:
        """A handler waits for something: two more slots may start. So all do in a few turns of the loop, and handlers
        that never wait are run by one slot without waking any other."""
        self._wake(min(2, len(self._holds.waiting)))
        self._places.waits()

    async def drain(self, timeout: float) -> None:
        """Start nothing more and wait until every slot is empty, ``timeout`` seconds at most."""
        self._closing = True
        self._wake(len(self._idle))
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout)

    async def interrupt(self, grace: float) -> None:
        """Cancel the handlers that still run; plain functions are only told, a thread cannot be stopped."""
        self._interrupted = True
        for hold in self._holds.snapshot():
            if hold.state == RUNNING:
                if hold.context is not None:
                    hold.context.cancelled = True
                if hold.slot is not None:
                    hold.slot.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace)

    def close(self) -> None:
        """Let go of the threads; those that still run are not waited for. End the child processes."""
        with ExitStack() as each:  # also when one of them fails
            each.callback(self.processes.close)
            each.callback(self._threads.close)
            each.callback(release, self._capturing)

    async def _slot(self) -> None:
        loop = asyncio.get_running_loop()
        waiting = self._holds.waiting
        slot = asyncio.current_task()
        assert slot is not None  # noqa: S101
        place, quick = self._places.make(), self._places.quick
        while not self._closing:
            if not waiting:
                self._on_room()
                place.hold = None
                future: asyncio.Future[None] = loop.create_future()
                self._idle.append(future)
                await future
                continue
            hold = waiting.popleft()
            hold.slot = slot
            if place.waited or hold.task.task_type not in quick:
                place = self._places.make(hold.task.task_type)
            place.hold = hold
            self._occupants.add(hold)
            try:
                await self._run(hold)
            except asyncio.CancelledError:
                log.debug("slot_cancelled", task_id=hold.task.id)
                if not self._interrupted:  # else it is given back
                    hold.slot = None
                    self._holds.abandon(hold)
            except (SystemExit, KeyboardInterrupt):
                # What a signal handler of some handler raised: the row is claimed again when its lease runs out.
                log.exception("slot_failed", task_id=hold.task.id, task_type=hold.task.task_type)
                hold.slot = None
                self._holds.abandon(hold)
            except Exception as error:  # a fault of pgsched, or a value of the row: the slot lives on
                log.exception("slot_failed", task_id=hold.task.id, task_type=hold.task.task_type)
                hold.slot = None
                self._end_failed(hold, describe(error))
            finally:
                self._occupants.discard(hold)
                hold.slot = None
                if slot.cancelling():
                    await _settle(slot)
            now = monotonic()
            if now > self._turn_ends:
                # Handlers that never wait must not keep the loop from claiming and writing.
                self._turn_ends = now + TURN_SECONDS
                await asyncio.sleep(0)

    def _end_failed(self, hold: Hold, error: str) -> None:
        """End what could not be run, or every worker would try it again when its lease has run out."""
        if hold.state == WAITING and not hold.abandoned:
            self._finisher.put(hold, give_up(hold.task, None, f"the task cannot be started: {error}"))
        elif hold.state == RUNNING:
            now = monotonic()
            self._finisher.conclude(hold, Outcome("failed", now, now, error=f"the attempt cannot be made: {error}"))

    async def _run(self, hold: Hold) -> None:
        self._appetite.count()
        now = monotonic()
        if hold.abandoned:
            return
        if hold.leased_until <= now:
            # Held past its lease before it began (the process was stopped, the machine slept): no longer ours.
            self._holds.abandon(hold)
            self._tally.leases_lost += 1
            return
        if not is_plain(hold.task):
            verdict = judge(hold.task, self._clock.at(now))
            if isinstance(verdict, Refused):
                self._finisher.put(hold, verdict.finish)
                return
            hold.task, hold.missed = verdict.task, verdict.missed
        task = hold.task
        self._tally.start_delay(task.queue, task.late + now - hold.claimed_at)
        handler = self._registry.get(task.task_type)
        if handler is None:  # only registered types and groups are claimed
            self._pass_on()
            await self._groups.run(hold)
            return
        hold.state = RUNNING
        attempt: Attempt | None = None
        if handler.transactional or (task.depends_on is not None and handler.context_parameter is not None):
            self._pass_on()
            attempt = await self._attempts.prepare(hold, handler)
            now = monotonic()
        timeout = None if task.timeout is None else task.timeout.seconds
        hold.started_at = now
        if timeout is not None and not hold.abandoned:
            hold.ends_by = now + timeout
        context = self._context(hold, timeout, now) if handler.needs_context else None
        if attempt is not None and context is not None:
            attempt.equip(context)

        if self._on_started is not None:
            self._on_started(hold)

        def report(outcome: Outcome) -> None:
            if outcome.status == "released" and not (hold.abandoned or self._interrupted):
                error = "CancelledError: the handler cancelled the task that ran it"
                outcome = outcome._replace(status="failed", error=error)
            if attempt is None or not attempt.keep(outcome):
                self._finisher.conclude(hold, outcome)

        try:
            await self._run_attempt(
                handler,
                task.payload,
                context,
                timeout=timeout,
                threads=self._threads,
                report=report,
                on_wait=self._on_wait,
                processes=self.processes,
                started=now,
            )
        except Exception as error:  # a fault of pgsched, not of the handler: the attempt failed, the slot lives on
            log.exception("run_failed", task_id=task.id, task_type=task.task_type)
            if attempt is not None:
                attempt.leave()
            if hold.state == RUNNING:
                report(Outcome("failed", now, monotonic(), error=describe(error)))
        except BaseException:
            if attempt is not None:
                attempt.leave()
            raise
        if attempt is not None:
            if hold.slot is not None and hold.slot.cancelling():
                await _settle(hold.slot)
            await attempt.end()

    def context_of(self, hold: Hold) -> Context:
        """Return the context of an attempt, made now if its handler asked for none."""
        with self._making_context:
            return hold.context or self._context(hold, None, monotonic())

    def _context(self, hold: Hold, timeout: float | None, now: float) -> Context:
        task = hold.task
        hold.context = Context(
            task=task,
            clock=monotonic,
            now=self._clock.now,
            deadline=None if timeout is None else now + timeout,
            is_catchup=is_catchup(task.scheduled_for or task.next_run_at, self._clock.at(now)),
        )
        return hold.context

    def _logging_context(self) -> Context | None:
        """The context of the attempt that the caller is part of, made now if its handler asked for none."""
        hold = current_hold()
        # An attempt that has ended, or is another worker's in this process, takes no more lines.
        if hold is None or hold.state != RUNNING or self._holds.get(hold.task.id) is not hold:
            return None
        return self.context_of(hold)

    def _slot_ended(self, number: int, task: asyncio.Task[None]) -> None:
        """Open a slot again that something ended: it never ends but by a shutdown."""
        self._tasks.discard(task)
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if self._closing:
            return
        log.error("slot_ended", slot=number, error=repr(error))
        for hold in self._holds.snapshot():
            if hold.slot is task:
                hold.slot = None
                self._holds.abandon(hold)
        self._open(number)


async def _settle(slot: asyncio.Task[None]) -> None:
    """End a cancellation with the run it was for: the next begins without it, even if a handler swallowed it."""
    while slot.cancelling():
        slot.uncancel()
    with suppress(asyncio.CancelledError):  # one that was asked for and not delivered yet
        await asyncio.sleep(0)
