"""Tells the service manager from a thread how a worker is, and lets it start one again that stands still."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic

from pgsched.observability.logs import get_logger
from pgsched.observability.systemd import Manager

log = get_logger("pgsched.notify")

STATUS_SECONDS = 5.0
"""How often what the manager shows is brought up to date."""
LOOK_SECONDS = 0.25
"""How soon it is noticed that the worker is ready."""

Probe = Callable[[], str | None]
"""Returns None when all is well, else one line that says what is not."""


def longest_block(watchdog: float | None) -> float | None:
    """How long the event loop may stand still before ``WATCHDOG=1`` stays away: a quarter of WatchdogSec."""
    return None if watchdog is None else max(watchdog / 4, 1.0)


class SystemdWatchdog:
    """Says READY=1 once, WATCHDOG=1 while ``stalled`` finds nothing, and in STATUS= what the worker does."""

    def __init__(self, manager: Manager, *, ready: Probe, stalled: Probe, load: Callable[[], tuple[int, int]]) -> None:
        """``load`` returns how many tasks run, and how many may."""
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
        """Begin to tell."""
        self._thread.start()

    def stopping(self) -> None:
        """The worker has begun to end; safe to call again."""
        if not self._is_stopping:
            self._is_stopping = True
            self._manager.stopping()

    def stop(self) -> None:
        """Tell nothing more."""
        self._stop.set()

    def run_once(self) -> None:
        """Look at the worker once, and tell."""
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
            except Exception:  # the manager hears nothing for once; the next beat tries again
                log.exception("not_notified")
            if self._stop.wait(self._interval if self._is_ready else min(LOOK_SECONDS, self._interval)):
                return
