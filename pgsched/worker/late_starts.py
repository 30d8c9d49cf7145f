"""Records when rows of a queue with a rate limit really start: a start that comes late counts for longer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from time import monotonic

from pgsched.db.error_mapping import RefusedByDatabase
from pgsched.db.session import Session
from pgsched.db.worker import leases
from pgsched.db.worker.leases import LateStart
from pgsched.observability.logs import get_logger
from pgsched.worker.leased_tasks import WAITING, LeasedTask

log = get_logger("pgsched.worker")

START_LOOK_SECONDS = 0.002
"""How often rows of a queue with a rate limit are checked until they have started."""
LATE_SECONDS = 0.007
"""A start this long after its claim was sent is reported. The window of a rate is 10 ms longer than configured."""


class LateStarts:
    """Watches such starts, and reports late ones to the database."""

    def __init__(self, *, session: Session, on_late: Callable[[], None]) -> None:
        """``on_late`` is called when there is something to report."""
        self._session = session
        self._on_late = on_late
        self._late: list[LateStart] = []

    def watch(self, queue: str, noted: datetime, leased_tasks: Sequence[LeasedTask], sent: float) -> None:
        """Watch these rows, which were claimed ``sent`` and recorded as started then."""

        def look() -> None:
            if any(leased.state == WAITING for leased in leased_tasks):
                loop.call_later(START_LOOK_SECONDS, look)
                return
            late = monotonic() - sent
            if late > LATE_SECONDS:
                self._late.append(LateStart(queue, noted, late))
                self._on_late()

        loop = asyncio.get_running_loop()
        loop.call_later(START_LOOK_SECONDS, look)

    async def report(self) -> None:
        """Report to the database. Raises DatabaseUnavailable; a report that it rejects counts as on time."""
        if not self._late:
            return
        late = list(self._late)
        try:
            await leases.note_late_starts(self._session, late)
        except RefusedByDatabase as error:
            log.warning("late_starts_refused", count=len(late), error=str(error))
        del self._late[: len(late)]
