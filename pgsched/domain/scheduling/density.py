"""Counts how many ticks of a schedule fall into each bucket of time, without listing them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

from pgsched.domain.scheduling.cron import Cron, next_tick, parse_cron
from pgsched.domain.scheduling.recurrence import Schedule, next_after
from pgsched.domain.scheduling.time_zones import load_zone

Counts = Counter[datetime]
"""The number of ticks by the start of their bucket."""

_SECOND: Final = timedelta(seconds=1)
_MICROSECOND: Final = timedelta(microseconds=1)
_HOUR: Final = timedelta(hours=1)
_DAY: Final = timedelta(days=1)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MAX_WALKED: Final = 1_000
"""An interval with months or days is at least a day, so its ticks are walked one by one."""


def floor(moment: datetime, width: timedelta) -> datetime:
    """Return the start of the bucket that contains a moment; buckets are counted from the epoch."""
    return moment - (moment - _EPOCH) % width


def count_ticks(
    schedule: Schedule, first: datetime, until: datetime, *, width: timedelta, done: int, start: datetime
) -> Counts:
    """Count the ticks of a schedule from ``first``, which is one, to ``until`` (exclusive), by bucket.

    A tick before ``start`` is counted in its bucket; ``done`` ticks precede ``first``. Raises InvalidCron and
    InvalidTimezone.
    """
    counts: Counts = Counter()
    ends_at = until if schedule.end_date is None else min(until, schedule.end_date + _MICROSECOND)
    if first >= ends_at:
        return counts
    if schedule.cron_expression is not None:
        counts[floor(max(first, start), width)] += 1
        after = max(first + _SECOND, start)
        for at, number in _cron_counts(schedule, after, ends_at, width):
            counts[at] += number
        return counts
    left = None if schedule.repeat_count is None else schedule.repeat_count - done
    for at, number in _interval_counts(schedule, first, ends_at, width, left, done):
        counts[floor(max(at, start), width)] += number
    return counts


# Cron expressions: whole days come from a cache that thousands of schedules share; only the ends are counted anew.


def _cron_counts(
    schedule: Schedule, start: datetime, until: datetime, width: timedelta
) -> Iterator[tuple[datetime, int]]:
    expression, left_out, zone = schedule.cron_expression, schedule.left_out, schedule.timezone
    assert expression is not None  # noqa: S101
    chunk = _HOUR if width < timedelta(minutes=5) else _DAY
    at = start
    while at < until:
        begin = floor(at, chunk)
        end = begin + chunk
        whole = _counted_chunk(expression, left_out, zone, begin, end, width)
        # Only a part of the buckets at the ends counts, so they are counted separately.
        first, last = floor(at - _MICROSECOND, width) + width, floor(min(end, until), width)
        if first <= last:
            yield from _walked(expression, left_out, zone, at, first, width)
            yield from whole if (first, last) == (begin, end) else (one for one in whole if first <= one[0] < last)
            yield from _walked(expression, left_out, zone, last, min(end, until), width)
        else:
            yield from _walked(expression, left_out, zone, at, min(end, until), width)
        at = end


@lru_cache(maxsize=65536)
def _counted_chunk(
    expression: str, left_out: tuple[str, ...], zone: str, begin: datetime, end: datetime, width: timedelta
) -> tuple[tuple[datetime, int], ...]:
    return tuple(_walk(parse_cron(expression, frozenset(left_out)), zone, begin, end, width))


def _walked(
    expression: str, left_out: tuple[str, ...], zone: str, start: datetime, until: datetime, width: timedelta
) -> Iterator[tuple[datetime, int]]:
    if start < until:
        yield from _walk(parse_cron(expression, frozenset(left_out)), zone, start, until, width)


def _walk(
    cron: Cron, timezone: str, start: datetime, until: datetime, width: timedelta
) -> Iterator[tuple[datetime, int]]:
    """Count piece by piece; a piece ends with its bucket and its hour on the wall clock.

    The scheduler finds the next tick, with its days, calendars and clock changes. Within an hour that has a tick, only
    the minutes and seconds decide.
    """
    zone = load_zone(timezone)
    after = start - _MICROSECOND
    with suppress(OverflowError):
        while (tick := next_tick(cron, zone, after)) is not None and tick < until:
            bucket = floor(tick, width)
            wall = tick.astimezone(zone)
            hour_ends = tick + _HOUR - timedelta(minutes=wall.minute, seconds=wall.second)
            end = min(bucket + width, hour_ends, until)
            offset = wall.minute * 60 + wall.second
            ordinary = wall.hour in cron.hour.values
            number = _matching(cron, offset, offset - (tick - end) // _SECOND) if ordinary else 0
            # A tick that a clock change has moved is at no time of its expression.
            moved = not (ordinary and wall.minute in cron.minute.values and wall.second in cron.second.values)
            yield bucket, number + moved
            after = end - _MICROSECOND


def _matching(cron: Cron, begin: int, end: int) -> int:
    """Return the number of (minute, second) pairs of an expression in a range of the seconds of an hour."""
    whole = len(cron.second.values)
    number = 0
    for minute in cron.minute.values:
        at = minute * 60
        if begin <= at and at + 60 <= end:
            number += whole
        elif at < end and at + 60 > begin:
            number += sum(begin <= at + second < end for second in cron.second.values)
    return number


# Intervals.


def _interval_counts(
    schedule: Schedule, first: datetime, until: datetime, width: timedelta, left: int | None, done: int
) -> Iterator[tuple[datetime, int]]:
    interval = schedule.repeat_interval
    if interval is None or (left is not None and left <= 0):
        return
    if interval.months or interval.days:
        tick: datetime | None = first
        for past in range(MAX_WALKED):
            if tick is None or tick >= until:
                return
            yield tick, 1
            tick = next_after(schedule, tick, done + past + 1)
        return
    step = interval.microseconds
    number = -((first - until) // _MICROSECOND // step)
    number = number if left is None else min(number, left)
    if number <= (until - first) // width + 2:
        for index in range(number):
            yield first + index * step * _MICROSECOND, 1
        return
    index = 0
    while index < number:
        tick = first + index * step * _MICROSECOND
        end = floor(tick, width) + width
        following = min(-((first - end) // _MICROSECOND // step), number)
        yield tick, following - index
        index = following
