"""The days of a month that a cron expression names.

A month is known by the weekday of its first day (Sunday is 0) and by its length, so there are 28 kinds of month.
"""

from __future__ import annotations

from collections.abc import Iterator

from pgsched.domain.scheduling.cron_fields import Field, Refused

_LENGTHS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def days_of(day: Field, weekday: Field, both: bool, first: int, length: int) -> list[int]:
    """The days, ascending, of a month of this kind that match both fields, or either."""
    by_day = set(_days(day, first, length))
    by_weekday = set(_weekdays(weekday, first, length))
    return sorted(by_day & by_weekday if both else by_day | by_weekday)


def refuse_impossible(day: Field, month: Field, weekday: Field, both: bool) -> None:
    """Raise Refused when no month has a day that matches."""
    lengths = {_LENGTHS[number - 1] for number in month.values} | ({28} if 2 in month.values else set())
    kinds = [(first, length) for length in sorted(lengths, reverse=True) for first in range(7)]
    if any(days_of(day, weekday, both, first, length) for first, length in kinds):
        return
    if any(True for kind in kinds for _ in _days(day, *kind)):
        raise Refused(f"can never fire: no such month has a day that is both {day.text} and {weekday.text}")
    raise Refused(f"can never fire: no such month has a day {day.text}")


def _days(day: Field, first: int, length: int) -> Iterator[int]:
    yield from (value for value in day.values if value <= length)
    yield from (length - n for n in day.from_end if n < length)
    near = {*day.near, *(length - n for n in day.near_end)}
    yield from (_workday(value, first, length) for value in near if 1 <= value <= length)


def _workday(value: int, first: int, length: int) -> int:
    """The weekday Monday to Friday that is nearest to a day and in the same month."""
    match (first + value - 1) % 7:
        case 6:
            return value - 1 if value > 1 else value + 2
        case 0:
            return value + 1 if value < length else value - 2
    return value


def _weekdays(weekday: Field, first: int, length: int) -> Iterator[int]:
    for value in range(1, length + 1):
        number = (first + value - 1) % 7
        nth, is_last = (value + 6) // 7, value + 7 > length
        if number in weekday.values or (number, nth) in weekday.nth or (is_last and (number, 0) in weekday.nth):
            yield value
