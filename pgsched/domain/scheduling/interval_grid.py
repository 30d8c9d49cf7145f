"""The grid of a repeating task: the instants origin + k * interval, for k = 0, 1, 2 and so on."""

from __future__ import annotations

from calendar import monthrange
from datetime import datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from pgsched.domain.interval import Interval
from pgsched.domain.scheduling.time_zones import instant_of, to_wall

_MICROSECOND = timedelta(microseconds=1)
_DAY = timedelta(days=1)
_DAY_LENGTH = _DAY // _MICROSECOND
# How far a grid of days can deviate from 24 hours a day: the offsets of a zone differ by at most a day (date line).
_SLACK = 2 * _DAY_LENGTH


class Grid(NamedTuple):
    """The instants ``origin`` + k * ``interval`` in a zone, never descending.

    They follow PostgreSQL's addition of an interval to a timestamptz: first the months, clamped to the last day of a
    month, then the days, both on the wall clock of the zone, then the microseconds as elapsed time.
    """

    origin: datetime
    interval: Interval
    zone: ZoneInfo

    def point(self, index: int) -> datetime | None:
        """Return the grid point with this index (from 0) in UTC; None beyond the year 9999."""
        months, days, microseconds = (index * amount for amount in self.interval)
        try:
            if not months and not days:
                return self.origin + microseconds * _MICROSECOND
            wall = _add_months(to_wall(self.origin, self.zone), months) + days * _DAY
            return instant_of(wall, self.zone) + microseconds * _MICROSECOND
        except (OverflowError, ValueError):
            return None

    def index_from(self, moment: datetime) -> int:
        """Return the index (from 0) of the first grid point at or after ``moment``."""
        elapsed = (moment - self.origin) // _MICROSECOND
        if elapsed <= 0:
            return 0
        months, days, microseconds = self.interval
        if not months and not days:
            return -(-elapsed // microseconds)
        shortest = (28 * months + days) * _DAY_LENGTH + microseconds
        longest = (31 * months + days) * _DAY_LENGTH + microseconds
        low = max(0, (elapsed - _SLACK) // longest)
        high = (elapsed + _SLACK) // shortest + 1
        while low < high:
            middle = (low + high) // 2
            point = self.point(middle)
            if point is None or point >= moment:
                high = middle
            else:
                low = middle + 1
        return low


def _add_months(wall: datetime, months: int) -> datetime:
    """Return the same day and time this many months later, or the last day of that month when it is shorter."""
    years, month = divmod(wall.month - 1 + months, 12)
    year = wall.year + years
    day = min(wall.day, monthrange(year, month + 1)[1])
    return wall.replace(year=year, month=month + 1, day=day)
