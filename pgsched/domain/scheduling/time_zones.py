"""Time zones: names to zones, wall-clock times to instants.

An *instant* is an aware datetime in UTC. A *wall-clock* time is a naive datetime in some zone. Where a zone's offset
grows, wall-clock times are skipped (a *gap*); where it shrinks, they are repeated (a *fold*), see PEP 495.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

from pgsched.domain.errors import Described, InvalidTimezone

SECOND = timedelta(seconds=1)
_DAY = timedelta(days=1)

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*", re.ASCII)
_MAX_NAME = 100
# Files of the zoneinfo folder that are not IANA names: they depend on the machine or count leap seconds.
_NOT_IANA = ("posix/", "right/", "localtime", "posixrules", "Factory")


@lru_cache(maxsize=1024)
def load_zone(name: str) -> ZoneInfo:
    """Return the zone with this name in the IANA time zone database, for example ``Europe/Berlin``.

    Raises InvalidTimezone, naming the value, for anything else: an offset, a path, a wrong case, an unknown name.
    """
    shown = name if len(name) <= _MAX_NAME else name[:_MAX_NAME] + "…"
    refused = InvalidTimezone(
        'must be a name of the IANA time zone database, as "Europe/Berlin"',
        field="timezone",
        value=Described(f'"{shown}"'),
    )
    if len(name) > _MAX_NAME or not _NAME.fullmatch(name) or name.startswith(_NOT_IANA):
        raise refused
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        # ZoneInfoNotFoundError is a KeyError; a folder or a file that is not a zone raises the other two.
        raise refused from error


class Rules(NamedTuple):
    """The rules of a zone in some years, as another system knows them."""

    zone: str
    since: datetime
    until: datetime
    changes: Sequence[datetime]
    """The instants at which the offset changes."""
    offsets: Sequence[int]
    """Seconds east of UTC: before the first change, and after each."""


def agrees(rules: Rules) -> bool:
    """Return whether this process knows the zone by the same rules. Changes are at least a day apart."""
    try:
        zone = load_zone(rules.zone)
    except InvalidTimezone:
        return False
    starts = [rules.since, *rules.changes]
    for start, end, offset in zip(starts, [*rules.changes, rules.until], rules.offsets, strict=True):
        moments = [start, *(start + day * _DAY for day in range(1, -((start - end) // _DAY))), end - SECOND]
        if any(moment.astimezone(zone).utcoffset() != offset * SECOND for moment in moments):
            return False
    return True


def to_wall(instant: datetime, zone: ZoneInfo) -> datetime:
    """Return the wall-clock time of an instant; ``fold`` is 1 in the second pass of a repeated hour."""
    return instant.astimezone(zone).replace(tzinfo=None)


def readings(wall: datetime, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """Return the two instants that a wall-clock time can mean: by the offset before and after a change.

    They are equal for an ordinary time, ascending in a fold (both exist) and descending in a gap (neither does).
    """
    return (wall.replace(tzinfo=zone, fold=0).astimezone(UTC), wall.replace(tzinfo=zone, fold=1).astimezone(UTC))


def change_between(zone: ZoneInfo, before: datetime, until: datetime) -> datetime | None:
    """Return the instant in (before, until] at which the zone's offset changes, None when both ends have the same.

    The span must be short enough to contain at most one change, such as a day.
    """
    offset = before.astimezone(zone).utcoffset()
    if until.astimezone(zone).utcoffset() == offset:
        return None
    base = before.replace(microsecond=0)
    low, high = 0, -((base - until) // SECOND)
    # The offset is still the old one at base + low and already the new one at base + high.
    while high - low > 1:
        middle = (low + high) // 2
        if (base + middle * SECOND).astimezone(zone).utcoffset() == offset:
            low = middle
        else:
            high = middle
    return base + high * SECOND


def gap_end(wall: datetime, zone: ZoneInfo) -> datetime:
    """Return the instant at which the gap that contains this wall-clock time ends."""
    late, early = readings(wall, zone)
    end = change_between(zone, early, late)
    assert end is not None, f"{wall} is in no gap of {zone.key}"  # noqa: S101
    return end


def instant_of(wall: datetime, zone: ZoneInfo) -> datetime:
    """Return the single instant for a wall-clock time: the end of its gap, or the first pass of its fold."""
    first, second = readings(wall, zone)
    return gap_end(wall, zone) if first > second else first
