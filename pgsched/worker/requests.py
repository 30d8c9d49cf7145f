"""Requests of operators to this worker: to pause, to drain, or to work again.

A request is stored in the worker's own row, and each heartbeat reads it. A notification only makes the next heartbeat
come at once, so a request also arrives where notifications do not.

| state    | what it does                                                            | what ends it            |
|----------|-------------------------------------------------------------------------|-------------------------|
| active   | claims and runs                                                         | a request               |
| paused   | runs what it has, claims nothing                                        | ``resume_worker``       |
| draining | runs what it has, claims nothing, and stops when it has nothing left    | ``resume_worker``, or that |
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from pgsched.db.worker.leases import NO_REQUEST, Request
from pgsched.observability.logs import get_logger
from pgsched.worker.claim_loop import ClaimLoop
from pgsched.worker.completer import Completer
from pgsched.worker.executor import Executor
from pgsched.worker.health import Progress
from pgsched.worker.leased_tasks import LeasedTasks

log = get_logger("pgsched.worker")

STATES = {None: "active", "pause": "paused", "drain": "draining"}
"""The state that each request leads to."""


@dataclass(kw_only=True, eq=False, repr=False)
class Requests:
    """Obeys the last request; the program around an embedded worker may pause it as well."""

    claim_loop: ClaimLoop
    progress: Progress
    leased_tasks: LeasedTasks
    executor: Executor
    completer: Completer
    stop: Callable[[], None]
    """Ends the worker."""
    loop: asyncio.AbstractEventLoop | None = None
    """The loop of the worker, once it runs."""

    def __post_init__(self) -> None:
        self.request: Request = NO_REQUEST
        self.drained = False
        """Whether it has stopped because of a request to drain."""
        self._paused_by_program = False

    @property
    def state(self) -> str:
        """The state that the worker's row shows."""
        if self.request.what is None and self._paused_by_program:
            return "paused"
        return STATES[self.request.what]

    def pause_by_program(self, paused: bool) -> None:
        """Note that the program around this worker pauses it, or no longer does."""
        self._paused_by_program = paused
        self._apply()

    def heard(self, request: Request) -> None:
        """Process the request in the worker's row; safe to call from any thread."""
        if request != self.request and self.loop is not None and not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self.obey, request)

    def obey(self, request: Request) -> None:
        """Carry out the request; on the event loop."""
        if request == self.request:
            return
        self.request = request
        log.info("request_obeyed", state=self.state, requested_by=request.by)
        self._apply()

    async def run_once(self) -> None:
        """Stop a draining worker once it has nothing left to run or write."""
        idle = not len(self.leased_tasks) and not self.executor.running and not self.completer.busy
        if self.request.what == "drain" and idle and not self.drained:
            self.drained = True
            log.info("worker_drained", requested_by=self.request.by)
            self.stop()

    def _apply(self) -> None:
        paused = self._paused_by_program or self.request.what is not None
        self.progress.paused = paused
        self.claim_loop.pause(paused)
