"""How a worker answers those who ask how it is: readiness, liveness, and the troubles that it tells of."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any

from pgsched.domain.settings import WorkerSettings
from pgsched.worker.executor import Executor
from pgsched.worker.heartbeat import Heartbeat
from pgsched.worker.progress import Progress
from pgsched.worker.troubles import Troubles


class Health:
    """Answers from any thread, and asks no database."""

    def __init__(
        self,
        *,
        settings: WorkerSettings,
        heartbeat: Heartbeat,
        progress: Progress,
        troubles: Troubles,
        executor: Executor,
        connected: Callable[[], bool],
        stopping: Callable[[], bool],
    ) -> None:
        self._longest_silence = 3 * settings.lease
        self._heartbeat = heartbeat
        self._progress = progress
        self._troubles = troubles
        self._executor = executor
        self._connected = connected
        self._stopping = stopping

    def unhealthy(self, blocked: float | None = None) -> str | None:
        """Return what another process in its place could do better; None when it is alive, also without a database.

        The event loop may be ``blocked`` for this number of seconds, three leases by default.
        """
        silent = monotonic() - self._heartbeat.last_try
        if silent > self._longest_silence:
            return f"the heartbeat has stood still for {silent:.0f} s"
        stalled = self._progress.stalled(self._longest_silence if blocked is None else blocked)
        return stalled or (None if self._stopping() else self._troubles.hopeless())

    def unready(self) -> str | None:
        """Return what keeps this worker from claiming; None when nothing does."""
        if self._stopping():
            return "stopping"
        if not self._connected():
            return "not connected to the database"
        silent = monotonic() - self._heartbeat.last_beat
        if silent > self._longest_silence:
            return f"no heartbeat for {silent:.0f} s"
        return self.unhealthy() or self._troubles.stopping()

    def troubles(self) -> list[dict[str, Any]]:
        """Return what is wrong, whether it keeps the worker from claiming or not."""
        return self._troubles.record(self._troubles.now())

    def load(self) -> tuple[int, int]:
        """Return how many slots are occupied, and how many there are."""
        running = self._executor.running
        return running, running + self._executor.free
