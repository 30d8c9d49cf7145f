"""How a worker ends: it releases what has not started, lets the rest end, writes everything, and leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Any, Protocol

from pgsched.concurrency.thread_pool import in_thread
from pgsched.db.error_mapping import SilentDatabase
from pgsched.db.session import Session
from pgsched.db.worker import leases
from pgsched.db.worker.leases import Identity
from pgsched.domain.errors import DatabaseUnavailable
from pgsched.observability.logs import get_logger
from pgsched.worker.completer import Completer
from pgsched.worker.executor import Executor
from pgsched.worker.halves import in_halves
from pgsched.worker.heartbeat import Heartbeat
from pgsched.worker.hook_dispatcher import HookDispatcher
from pgsched.worker.leased_tasks import ABANDON, LeasedTask, LeasedTasks
from pgsched.worker.lifespans import Lifespans
from pgsched.worker.locked_batches import LockedBatches
from pgsched.worker.loops import LOOP_SECONDS, Lasting

log = get_logger("pgsched.worker")

FLUSH_SECONDS = 8.0
"""Maximum total wait of a stopping worker for a silent database."""
ANSWER_SECONDS = 3.0
"""How much of that for a claim or a report in progress."""
CANCEL_SECONDS = 2.0
"""Maximum time for a cancelled handler to clean up."""
CLOSE_SECONDS = 2.0
"""Maximum time for a connection to close."""
HOOK_SECONDS = 3.0
"""Maximum wait of a stopping worker for hooks that have events left."""
LEAST_SECONDS = 0.3
"""Even late, a database that answers receives the last statements."""


class Closable(Protocol):
    """Connections."""

    async def close(self) -> None:
        """Close them."""


@dataclass(kw_only=True, eq=False, repr=False)
class Shutdown:
    """Ends a worker in time: time that a silent database took of FLUSH_SECONDS is not spent again."""

    identity: Identity
    leased_tasks: LeasedTasks
    executor: Executor
    completer: Completer
    locked_batches: LockedBatches
    heartbeat: Heartbeat
    hook_dispatcher: HookDispatcher | None
    lifespans: Lifespans
    report: Callable[[], Awaitable[object]]
    """Writes the last reports of handlers."""
    session: Session
    """For the last statements of the worker."""
    connections: Sequence[Closable]
    """Closed last."""

    def __post_init__(self) -> None:
        self._left = FLUSH_SECONDS

    async def wind_down(self, loops: Sequence[Lasting], finishing: Lasting, shutdown_timeout: float) -> None:
        """End the loops, release what has not started, let the rest finish in time, release what did not, write
        everything.
        """
        try:
            await _take(
                ("end the loops", lambda: self.end_loops(loops)),
                ("end the batches", lambda: self.locked_batches.stop(ANSWER_SECONDS)),
                ("give back", lambda: self.give_back(self.leased_tasks.take_waiting())),
                ("drain", lambda: self.let_end(shutdown_timeout)),
                ("write", lambda: self._write_all(finishing)),
                ("report", self._write_lines),
                ("give back the rest", lambda: self.give_back(self._unfinished())),
                ("end the heartbeat", self.end_heartbeat),
                ("close the slots", self.close_slots),
                ("end the hooks", self.end_hooks),
                ("close the lifespans", self.lifespans.close),
                ("leave", self.leave),
            )
        finally:
            log.info("worker_stopped", unwritten=len(self.completer))

    async def end_loops(self, loops: Sequence[Lasting]) -> None:
        """Wait for loops that end by themselves: claimed rows must be released, and log lines that are being written
        would otherwise be written again with the outcome.
        """
        begun = monotonic()
        await asyncio.gather(*(loop.wait(ANSWER_SECONDS) for loop in loops if loop.may_end()))
        await asyncio.gather(*(loop.end(LOOP_SECONDS) for loop in loops), return_exceptions=True)
        self._left -= monotonic() - begun

    async def let_end(self, shutdown_timeout: float) -> None:
        """Let handlers end in time; interrupt those that do not."""
        await self.executor.drain(shutdown_timeout)
        if self.executor.running:
            log.warning("handing_back", running=self.executor.running)
            await self.executor.interrupt(CANCEL_SECONDS)

    def _unfinished(self) -> list[LeasedTask]:
        return [leased for leased in self.leased_tasks.snapshot() if leased.state != "finishing"]

    async def end_heartbeat(self) -> None:
        """End the heartbeat: no lease is renewed any more."""
        await in_thread(partial(self.heartbeat.stop, min(2.0, self._seconds)), name="pgsched end")

    async def close_slots(self) -> None:
        """Release threads and child processes."""
        self.executor.close()

    async def end_hooks(self) -> None:
        """Let hooks be called for what has happened."""
        if self.hook_dispatcher is not None:
            await self.hook_dispatcher.stop(HOOK_SECONDS)

    @property
    def _seconds(self) -> float:
        return max(self._left, LEAST_SECONDS)

    async def _write_all(self, finishing: Lasting) -> None:
        begun = monotonic()
        deadline = begun + self._seconds
        self.completer.try_all()
        while (self.completer.busy or self.completer.slow.busy) and monotonic() < deadline and not finishing.done:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await finishing.end(LOOP_SECONDS)
        self._left -= monotonic() - begun

    async def _write_lines(self) -> None:
        """Write the logs of handlers whose ends are not written: they were interrupted, or cancelled just now."""
        try:
            await self._tell(lambda _session: self.report())
        except DatabaseUnavailable as error:
            log.warning("report_failed", error=str(error))

    async def give_back(self, leased_tasks: list[LeasedTask]) -> None:
        """Release rows that this worker will not run; if the database does not answer, their leases expire."""
        try:
            try:
                refused = await in_halves(leased_tasks, self._release)
            except SilentDatabase:
                raise
            except DatabaseUnavailable:  # the connection may have gone stale while idle: open a new one
                refused = await in_halves([leased for leased in leased_tasks if not leased.abandoned], self._release)
            for leased, error in refused:
                log.warning("release_failed", task_id=leased.task.id, error=str(error))
        except DatabaseUnavailable as error:
            # Their leases expire by themselves.
            log.warning("release_failed", count=sum(not leased.abandoned for leased in leased_tasks), error=str(error))
        for leased in leased_tasks:
            leased.move(ABANDON)
            self.leased_tasks.drop(leased)

    async def _release(self, leased_tasks: Sequence[LeasedTask]) -> None:
        await self._tell(leases.release, self.identity.id, [leased.task for leased in leased_tasks])
        for leased in leased_tasks:
            leased.move(ABANDON)

    async def leave(self) -> None:
        """Remove this worker from the list, and close its connections."""
        await _take(
            ("unregister", self.unregister),
            *(("close a connection", partial(_close, connections)) for connections in self.connections),
        )

    async def unregister(self) -> None:
        """Remove this worker from the list."""
        try:
            await self._tell(leases.forget, self.identity)
        except DatabaseUnavailable as error:
            log.warning("unregister_failed", error=str(error))

    async def _tell(self, what: Any, *about: object) -> None:
        """Send the database a last statement, in half of the remaining time. Raises DatabaseUnavailable."""
        begun = monotonic()
        self.session.timeout = max(self._left / 2, LEAST_SECONDS)
        try:
            await what(self.session, *about)
        finally:
            self._left -= monotonic() - begun


async def _take(*steps: tuple[str, Callable[[], Awaitable[None]]]) -> None:
    """Run steps; one that fails or is cancelled does not prevent the following ones."""
    cancelled: asyncio.CancelledError | None = None
    for name, step in steps:
        try:
            await step()
        except asyncio.CancelledError as error:
            cancelled = error
        except Exception:
            log.exception("shutdown_step_failed", step=name)
    if cancelled is not None:
        raise cancelled


async def _close(connections: Closable) -> None:
    async with asyncio.timeout(CLOSE_SECONDS):
        await connections.close()
