"""The database's time, known to the worker without a query each time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from time import monotonic


class DatabaseClock:
    """The database's clock, set by every claim and advanced by the machine's monotonic clock.

    It is late by at most the time that a claim took to reach the server; the machine's own date is never used.
    """

    def __init__(self) -> None:
        self._base = datetime.now(UTC)
        self._set_at = monotonic()

    def set(self, database_now: datetime, at: float) -> None:
        """Set the clock: the database reported ``database_now`` at ``at`` seconds of the monotonic clock."""
        self._base = database_now
        self._set_at = at

    def at(self, instant: float) -> datetime:
        """Return the database's time at an instant of the monotonic clock."""
        return self._base + timedelta(seconds=instant - self._set_at)

    def now(self) -> datetime:
        """Return the database's time, aware, in UTC."""
        return self.at(monotonic())
