"""Notifies the service manager of a worker's state from a thread, so that it restarts a stuck worker."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic

from pgsched.observability.logs import get_logger
from pgsched.observability.systemd import Manager

log = get_logger("pgsched.notify")

STATUS_SECONDS = 5.0
"""Interval between status updates."""
LOOK_SECONDS = 0.25
"""Interval between checks whether the worker is ready."""

Probe = Callable[[], str | None]
"""Returns None, or one line that names the problem."""


def longest_block(watchdog: float | None) -> float | None:
    """How long the event loop may be blocked before ``WATCHDOG=1`` is withheld: a quarter of WatchdogSec."""
    return None if watchdog is None else max(watchdog / 4, 1.0)


class SystemdWatchdog:
    """Sends READY=1 once, WATCHDOG=1 while ``stalled`` returns None, and the worker's load as STATUS=."""

    def __init__(self, manager: Manager, *, ready: Probe, stalled: Probe, load: Callable[[], tuple[int, int]]) -> None:
        """``load`` returns the number of running tasks, and of slots."""
        self._manager = manager
        self._ready = ready
        self._stalled = stalled
        self._load = load
        self._interval = min(STATUS_SECONDS, manager.watchdog / 8) if manager.watchdog else STATUS_SECONDS
        self._is_ready = self._is_stopping = self._withheld = False
        self._status = ""
        self._status_at = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pgsched-notify", daemon=True)

    def start(self) -> None:
        """Start notifying."""
        self._thread.start()

    def stopping(self) -> None:
        """Report that the worker is shutting down; idempotent."""
        if not self._is_stopping:
            self._is_stopping = True
            self._manager.stopping()

    def stop(self) -> None:
        """Stop notifying."""
        self._stop.set()

    def run_once(self) -> None:
        """Check the worker once, and notify."""
        stalled = self._feed() if self._manager.watchdog else None
        now = monotonic()
        if self._is_ready and now < self._status_at:
            return
        self._status_at = now + STATUS_SECONDS
        problem = stalled or self._ready()
        if problem is None and not self._is_ready:
            self._is_ready = True
            self._manager.ready()
        status = stalled or self._describe(problem)
        if status != self._status:
            self._status = status
            self._manager.status(status)

    def _describe(self, problem: str | None) -> str:
        running, slots = self._load()
        busy = f"running {running} of {slots}"
        return busy if problem is None else f"{problem}; {busy}"

    def _feed(self) -> str | None:
        problem = self._stalled()
        if problem is None:
            self._manager.alive()
        elif not self._withheld:
            log.error("watchdog_withheld", reason=problem)
        self._withheld = problem is not None
        return problem

    def _run(self) -> None:
        while True:
            try:
                self.run_once()
            except Exception:  # the next round tries again
                log.exception("not_notified")
            if self._stop.wait(self._interval if self._is_ready else min(LOOK_SECONDS, self._interval)):
                return
