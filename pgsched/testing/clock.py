"""The database's clock, which a test can freeze and move.

All of pgsched's timing follows the database's clock, so this moves exactly that: schedules run at their own times,
through daylight saving changes and over years, and the rows in the table stay as they were.
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
    """The clock of one database. It applies to sessions that start after its creation, and to all of pgsched's.

    ``where`` names a database that is only for tests: its schema is changed permanently. Raises DatabaseUnavailable,
    and PermissionRefused unless the role owns the database and the schema ``pgsched``.
    """

    def __init__(self, where: Where) -> None:
        if isinstance(where, App):
            where = where.dsn
        self._clock = MovableClock(where.database.address() if isinstance(where, Client) else where)

    def now(self) -> datetime:
        """Return its time, in UTC."""
        return self._clock.read()[0].astimezone(UTC)

    @property
    def frozen(self) -> bool:
        """Whether it is frozen."""
        return self._clock.read()[1]

    def freeze(self, at: datetime | None = None) -> datetime:
        """Freeze it at the given time, by default the present one; return that time."""
        self._clock.set(_aware(at), "0", runs=False)
        return self.now()

    def advance(self, by: Duration) -> datetime:
        """Advance it by ``"1h30m"``, seconds or a timedelta; a running clock keeps running. Return its new time.

        Days and months are calendar ones, in UTC. Raises InvalidTask for an invalid duration.
        """
        self._clock.set(None, interval_of("by", by).to_text(), runs=not self.frozen)
        return self.now()

    def travel(self, at: datetime) -> datetime:
        """Set it to a time, from which it runs on; return its time."""
        self._clock.set(_aware(at), "0", runs=True)
        return self.now()

    def release(self) -> None:
        """Return to the real time."""
        self._clock.release()

    def next_due(self, task_types: list[str], queues: list[str], patterns: list[str]) -> datetime | None:
        """Return when the next row is due, of the given task_types and queues (LIKE patterns)."""
        return self._clock.next_due(task_types, queues, patterns)

    def close(self) -> None:
        """Return to the real time, and close the connection."""
        self.release()
        self._clock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_raised: object) -> None:
        self.close()


def freeze(where: Where, at: datetime | None = None) -> Clock:
    """Freeze a database's clock inside a ``with`` block, at a time or at the present one."""
    clock = Clock(where)
    clock.freeze(at)
    return clock


def _aware(at: datetime | None) -> datetime | None:
    if at is not None and at.utcoffset() is None:
        raise ValueError(f"at must have a time zone, got {at}")
    return at
