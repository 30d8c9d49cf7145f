"""The health of a worker: readiness, liveness, and whether its claim loop advances."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any

from pgsched.domain.errors import DatabaseUnavailable
from pgsched.domain.settings import WorkerSettings
from pgsched.worker.executor import Executor
from pgsched.worker.heartbeat import Heartbeat
from pgsched.worker.troubles import Troubles

PULSE_SECONDS = 0.25
"""How often the event loop shows that nothing blocks it."""
FAILING_SECONDS = 60.0
"""How long the claim loop may keep failing for a reason other than the database."""
STATEMENTS = 6
"""Maximum number of statements in a turn of the claim loop, each of which may take as long as its timeout."""
CONNECTING_SECONDS = 30.0
"""How long opening the connection may take in addition."""


class Progress:
    """Records each turn of the claim loop and each pulse of the event loop; read from any thread.

    A turn that ends because the database is unavailable counts as well: another process would have no more success.
    """

    def __init__(self, settings: WorkerSettings) -> None:
        self.longest_turn = settings.poll_interval + STATEMENTS * settings.statement_timeout + CONNECTING_SECONDS
        """The maximum duration of a turn of the claim loop in seconds, including a wait for work."""
        self._pulse_at = self._turn_at = monotonic()
        self._failing_since: float | None = None
        self._watched = False
        self.started = asyncio.Event()
        """Set when the worker has started."""
        self.paused = False

    def start(self) -> None:
        """Start watching; called on the event loop."""
        self.started.set()
        self._turn_at = monotonic()
        self._watched = True
        self._beat(asyncio.get_running_loop())

    def end(self) -> None:
        """Stop watching: the worker stops, which has its own time limit."""
        self._watched = False

    def watching(self, step: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
        """Return the claim loop's step, watched."""

        async def watched() -> None:
            try:
                await step()
                self._failing_since = None
            except DatabaseUnavailable:
                self._failing_since = None
                raise
            except Exception:
                self._failing_since = self._failing_since or monotonic()
                raise
            finally:
                self._turn_at = monotonic()

        return watched

    def blocked(self) -> float:
        """Return for how many seconds the event loop has been blocked; 0 while the worker is not running."""
        return max(monotonic() - self._pulse_at - PULSE_SECONDS, 0.0) if self._watched else 0.0

    def stalled(self, blocked: float) -> str | None:
        """Return what keeps the claim loop from advancing, or None. It may be ``blocked`` for that long."""
        if not self._watched:
            return None
        now = monotonic()
        if now - self._pulse_at > blocked:
            return f"the event loop has been blocked for {now - self._pulse_at:.0f} s"
        if self._failing_since is not None and now - self._failing_since > FAILING_SECONDS:
            return f"the claim loop has failed for {now - self._failing_since:.0f} s"
        if now - self._turn_at > self.longest_turn:
            return f"the claim loop has stood still for {now - self._turn_at:.0f} s"
        return None

    def _beat(self, loop: asyncio.AbstractEventLoop) -> None:
        self._pulse_at = monotonic()
        if self._watched:
            loop.call_later(PULSE_SECONDS, self._beat, loop)


@dataclass(kw_only=True, eq=False, repr=False)
class Health:
    """Answers from any thread, without a query."""

    longest_silence: float
    """Maximum silence of the heartbeat, in seconds."""
    heartbeat: Heartbeat
    progress: Progress
    findings: Troubles
    executor: Executor
    connected: Callable[[], bool]
    stopping: Callable[[], bool]

    def unhealthy(self, blocked: float | None = None) -> str | None:
        """Return a problem that a new process might not have; None when the worker is alive, even without a database.

        The event loop may be ``blocked`` for this number of seconds, three leases by default.
        """
        silent = monotonic() - self.heartbeat.last_try
        if silent > self.longest_silence:
            return f"the heartbeat has stood still for {silent:.0f} s"
        stalled = self.progress.stalled(self.longest_silence if blocked is None else blocked)
        return stalled or (None if self.stopping() else self.findings.hopeless())

    def unready(self) -> str | None:
        """Return what keeps this worker from claiming; None when nothing does."""
        if self.stopping():
            return "stopping"
        if self.progress.paused:
            return "paused"
        if not self.connected():
            return "not connected to the database"
        silent = monotonic() - self.heartbeat.last_beat
        if silent > self.longest_silence:
            return f"no heartbeat for {silent:.0f} s"
        return self.unhealthy() or self.findings.stopping()

    def troubles(self) -> list[dict[str, Any]]:
        """Return all troubles, whether they keep the worker from claiming or not."""
        return self.findings.record(self.findings.now())

    def load(self) -> tuple[int, int]:
        """Return the number of occupied slots, and of all slots."""
        running = self.executor.running
        return running, running + self.executor.free
