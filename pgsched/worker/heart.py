"""The heartbeat: renews leases from a thread and a connection of its own, which no handler can block."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from time import monotonic

from pgsched.db.leases import Pulse
from pgsched.errors import DatabaseUnavailable
from pgsched.logs import get_logger
from pgsched.worker.halves import in_halves_here
from pgsched.worker.holds import Hold, Holds
from pgsched.worker.tally import Tally

log = get_logger("pgsched.worker")

RETRY_SECONDS = 1.0
"""Pause after a beat that failed."""


class Heart:
    """Beats every third of a lease. ``on_lost`` is called in this thread with holds that are no longer ours."""

    def __init__(
        self, *, pulse: Pulse, holds: Holds, lease: float, tally: Tally, on_lost: Callable[[list[Hold]], None]
    ) -> None:
        self._pulse = pulse
        self._holds = holds
        self._lease = lease
        self._tally = tally
        self._on_lost = on_lost
        self._born = monotonic()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pgsched-heart", daemon=True)
        self.last_beat = self._born
        """When the database last answered, by the monotonic clock."""
        self.last_try = self._born
        """When a beat last ended, well or not."""

    def start(self) -> None:
        """Beat once, which registers the worker, then go on in the thread."""
        self.tick()
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """End the thread; a beat under way is not waited for longer than ``timeout`` seconds."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout)
        if not self._thread.is_alive():
            self._pulse.close()

    def tick(self) -> None:
        """Renew every lease that has used a third of its time.

        Raises DatabaseUnavailable; whatever is past its lease by then is given up first.
        """
        sent = monotonic()
        held = self._holds.snapshot()
        aging = [hold for hold in held if hold.leased_until - sent < self._lease * 0.7]
        try:
            own = self._beat(held, aging, sent)
        except BaseException:
            self.last_try = monotonic()
            self._lose([hold for hold in held if hold.leased_until <= monotonic()])
            raise
        self.last_beat = self.last_try = monotonic()
        for hold in aging:
            if own.get(hold.task.id):
                hold.leased_until = sent + self._lease
        self._lose([hold for hold in aging if hold.task.id not in own])

    def _beat(self, held: Sequence[Hold], aging: Sequence[Hold], sent: float) -> dict[int, bool]:
        """Return the ids still ours, and whether each lease was renewed; one that is refused costs no other."""
        own: dict[int, bool] = {}

        def beat(part: Sequence[Hold]) -> None:
            own.update(self._pulse.beat([hold.task for hold in part], running=len(held), age=sent - self._born))

        refused = in_halves_here(aging, beat)
        if len(refused) == len(aging):
            beat([])  # that the worker lives
        for hold, error in refused:
            own[hold.task.id] = False
            log.warning("lease_not_renewed", task_id=hold.task.id, error=str(error))
        return own

    def _lose(self, holds: list[Hold]) -> None:
        if holds:
            self._on_lost(holds)

    def _run(self) -> None:
        pause = self._lease / 3
        while not self._stop.wait(pause):
            try:
                self.tick()
                pause = self._lease / 3
            except DatabaseUnavailable as error:
                self._tally.database_errors += 1
                log.warning("heartbeat_failed", error=str(error))
                pause = min(RETRY_SECONDS, self._lease / 3)
            except Exception:  # whatever it is: without heartbeats every lease runs out
                log.exception("heartbeat_failed")
                pause = min(RETRY_SECONDS, self._lease / 3)
