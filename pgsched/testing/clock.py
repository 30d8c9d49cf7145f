"""The database's clock, for a test to freeze and to move.

Everything that pgsched decides by time it decides by the database's clock, so that is what is moved: schedules tick at
their own times, through changes of the clocks and over years, and what is in the table stays what it was.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Self, TypeAlias

from pgsched.app.app import App
from pgsched.client.client import Client
from pgsched.db.embedded.movable_clock import MovableClock
from pgsched.domain.validation import Duration, interval_of

Where: TypeAlias = App | Client | str
"""Names a database: an App or a Client of it, or its DSN."""


class Clock:
    """The clock of one database. It is for sessions that begin after this was made, and for all of pgsched's.

    ``where`` names a database that is for tests only: its schema is changed for good. Raises DatabaseUnavailable, and
    PermissionRefused unless the role owns the database and the schema ``pgsched``.
    """

    def __init__(self, where: Where) -> None:
        if isinstance(where, App):
            where = where.dsn
        self._clock = MovableClock(where.database.address() if isinstance(where, Client) else where)

    def now(self) -> datetime:
        """Return what it shows, in UTC."""
        return self._clock.read()[0].astimezone(UTC)

    @property
    def frozen(self) -> bool:
        """Whether it stands still."""
        return self._clock.read()[1]

    def freeze(self, at: datetime | None = None) -> datetime:
        """Let it stand still, at a moment, or at the one that it shows; returns that."""
        self._clock.set(_aware(at), "0", runs=False)
        return self.now()

    def advance(self, by: Duration) -> datetime:
        """Move it on, by ``"1h30m"``, seconds or a timedelta; one that runs, runs on. Returns what it shows then.

        Days and months are those of the calendar, in UTC. Raises InvalidTask for what is no duration.
        """
        self._clock.set(None, interval_of("by", by).to_text(), runs=not self.frozen)
        return self.now()

    def travel(self, at: datetime) -> datetime:
        """Set it to a moment, from which it runs on; returns what it shows."""
        self._clock.set(_aware(at), "0", runs=True)
        return self.now()

    def release(self) -> None:
        """Let it show the real time again."""
        self._clock.release()

    def next_due(self, task_types: list[str], queues: list[str], patterns: list[str]) -> datetime | None:
        """Return when the next row is due, of some task_types and queues (patterns as LIKE has them)."""
        return self._clock.next_due(task_types, queues, patterns)

    def close(self) -> None:
        """Let it show the real time again, and close its connection."""
        self.release()
        self._clock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_raised: object) -> None:
        self.close()


def freeze(where: Where, at: datetime | None = None) -> Clock:
    """Freeze a database's clock, at a moment or at the present one; for a ``with``, which lets it go again."""
    clock = Clock(where)
    clock.freeze(at)
    return clock


def _aware(at: datetime | None) -> datetime | None:
    if at is not None and at.utcoffset() is None:
        raise ValueError(f"at must have a time zone, got {at}")
    return at
