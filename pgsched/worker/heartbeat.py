"""The heartbeat: renews leases from its own thread and connection, which no handler can block."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic

from pgsched.db.worker.leases import HeartbeatConnection, Request
from pgsched.domain.errors import DatabaseUnavailable
from pgsched.observability.logs import get_logger
from pgsched.worker.halves import in_halves_here
from pgsched.worker.leased_tasks import LeasedTask, LeasedTasks
from pgsched.worker.loops import Loop
from pgsched.worker.metrics import WorkerMetrics
from pgsched.worker.troubles import Trouble, Troubles

log = get_logger("pgsched.worker")

RETRY_SECONDS = 1.0
"""Pause after a failed beat."""
LOOK_SECONDS = 1.0
"""How often it checks for new troubles, which are reported at once."""


@dataclass(kw_only=True, eq=False, repr=False)
class Heartbeat:
    """Beats every third of a lease, and when a trouble appears or disappears."""

    connection: HeartbeatConnection
    leased_tasks: LeasedTasks
    lease: float
    counts: WorkerMetrics
    troubles: Troubles
    running: Callable[[], int]
    """Returns the number of occupied slots."""
    loop: Loop
    on_lost: Callable[[list[LeasedTask]], None]
    """Called in this thread with rows that are no longer ours."""
    state: Callable[[], str] = lambda: "active"
    """Returns the state that the worker's row shows."""
    on_request: Callable[[Request], None] = lambda _request: None
    """Called in this thread, after each beat, with the requests to the worker."""

    def __post_init__(self) -> None:
        self._born = monotonic()
        self._told: frozenset[tuple[str, str, bool]] = frozenset()
        """The troubles that the worker's row shows."""
        self._told_state: str | None = None
        self._hurries = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pgsched-heartbeat", daemon=True)
        self.last_beat = self._born
        """When the database last answered, by the monotonic clock."""
        self.last_try = self._born
        """When a beat last ended, successfully or not."""

    @property
    def beating(self) -> bool:
        """Whether its thread runs."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Beat once, which registers the worker, then continue in the thread."""
        self.run_once()
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """End the thread; waits at most ``timeout`` seconds for a beat in progress."""
        self._stop.set()
        if self.beating:
            self._thread.join(timeout)
        if not self.beating:
            self.connection.close()

    def hurry(self) -> None:
        """Beat within a second, because somebody has requested something of this worker. Callable from any thread."""
        self._hurries = True

    def run_once(self) -> None:
        """Renew every lease of which a third has passed.

        Raises DatabaseUnavailable; leases that have expired by then are given up first.
        """
        sent = monotonic()
        self._hurries = False  # requests from now on are read by the next beat
        state = self.state()
        held, troubles = self.leased_tasks.snapshot(), self.troubles.now()
        aging = [leased for leased in held if leased.leased_until - sent < self.lease * 0.7]
        try:
            own = self._beat(aging, troubles, sent, state)
        except BaseException:
            self.last_try = monotonic()
            self._lose([leased for leased in held if leased.batch is None and leased.leased_until <= monotonic()])
            raise
        self.last_beat = self.last_try = monotonic()
        self._told = frozenset(trouble.key for trouble in troubles)
        self._told_state = state
        self.on_request(self.connection.request)
        for leased in aging:
            if own.get(leased.task.id):
                leased.leased_until = sent + self.lease
        # A row that a batch is about to lease may not be ours yet.
        self._lose([leased for leased in aging if leased.batch is None and leased.task.id not in own])

    def _beat(
        self, aging: Sequence[LeasedTask], troubles: Sequence[Trouble], sent: float, state: str
    ) -> dict[int, bool]:
        """Return the ids that are still ours, and whether each lease was renewed; a rejected one affects no other."""
        own: dict[int, bool] = {}
        running, told = self.running(), self.troubles.record(troubles)

        def beat(part: Sequence[LeasedTask]) -> None:
            tasks = [leased.task for leased in part]
            age = sent - self._born
            own.update(self.connection.beat(tasks, running=running, troubles=told, age=age, state=state))

        refused = in_halves_here(aging, beat)
        if len(refused) == len(aging):
            beat([])  # that the worker is alive
        for leased, error in refused:
            own[leased.task.id] = False
            log.warning("lease_not_renewed", task_id=leased.task.id, error=str(error))
        return own

    def _lose(self, leased_tasks: list[LeasedTask]) -> None:
        if leased_tasks:
            self.on_lost(leased_tasks)

    def _run(self) -> None:
        due = monotonic() + self.lease / 3
        while not self._stop.wait(min(max(due - monotonic(), 0.0), LOOK_SECONDS)):
            if monotonic() >= due or self._has_news():
                due = monotonic() + self._beat_once()

    def _has_news(self) -> bool:
        told = frozenset(trouble.key for trouble in self.troubles.now())
        return self._hurries or told != self._told or self.state() != self._told_state

    def _beat_once(self) -> float:
        """Beat, and survive any error; returns the pause until the next beat."""
        try:
            self.run_once()
        except DatabaseUnavailable as error:
            self.counts.database_errors += 1
            self.loop.failed(error)
            log.warning("heartbeat_failed", error=str(error))
        except Exception as error:  # a bug in pgsched: without a heartbeat all leases would be lost
            self.loop.failed(error)
            log.exception("heartbeat_failed")
        else:
            self.loop.worked()
            return self.lease / 3
        return min(RETRY_SECONDS, self.lease / 3)
