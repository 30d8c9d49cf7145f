"""The fields of a cron expression: text to sets of numbers, and the days of a month that they name.

This is our own parser so that an error can name the field, the value and the rule, and so that the search works on
plain lists of numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

WEEKDAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
_LENGTHS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


class Spec(NamedTuple):
    """What a field may contain: numbers from ``low`` to ``high``, and names for some of them."""

    name: str
    low: int
    high: int
    names: dict[str, int]


SECOND_FIELD = Spec("second", 0, 59, {})
FIELDS = (
    Spec("minute", 0, 59, {}),
    Spec("hour", 0, 23, {}),
    Spec("day of month", 1, 31, {}),
    Spec("month", 1, 12, {name[:3].lower(): n for n, name in enumerate(MONTHS, 1)}),
    Spec("day of week", 0, 7, {name[:3].lower(): n for n, name in enumerate(WEEKDAYS)}),
)


class Field(NamedTuple):
    """One parsed field of an expression.

    ``values`` are its plain numbers in ascending order (Sunday is 0). ``every`` is true for ``*`` and
    ``?``. ``stepping`` is true when the field contains ``*``, ``*/n`` or ``a/n``; a range ``a-b/n`` with an
    end is a list of fixed values. ``from_end`` holds n for ``L-n``, 0 for ``L``; ``near`` the days of ``15W``, and
    ``near_end`` n for ``L-nW``, 0 for ``LW``. ``nth`` holds (weekday, n) for ``mon#2``, n = 0 for the last.
    """

    text: str
    values: tuple[int, ...]
    every: bool
    stepping: bool
    from_end: tuple[int, ...] = ()
    near: tuple[int, ...] = ()
    near_end: tuple[int, ...] = ()
    nth: tuple[tuple[int, int], ...] = ()

    @property
    def starred(self) -> bool:
        """Whether the field begins with ``*``, which is what Debian's cron tests."""
        return self.text.startswith("*")


class Refused(Exception):
    """Why an expression cannot be parsed."""


def parse_field(spec: Spec, text: str) -> Field:
    """Parse one field, given in lower case. Raises Refused, naming the field, the rule and the value."""
    if text == "?" and spec.name.startswith("day"):
        text = "*"
    values: set[int] = set()
    ends: tuple[set[int], set[int], set[int]] = (set(), set(), set())
    nth: set[tuple[int, int]] = set()
    every = stepping = False
    for item in text.split(","):
        if spec.name == "day of month" and ("l" in item or "w" in item):
            kind, number = _parse_end(spec, item)
            ends[kind].add(number)
        elif spec.name == "day of week" and ("#" in item or "l" in item):
            nth.add(_parse_nth(spec, item))
        else:
            every |= item == "*"
            stepping |= item.startswith("*") or ("/" in item and "-" not in item)
            values.update(_parse_item(spec, item))
    from_end, near, near_end = (tuple(sorted(numbers)) for numbers in ends)
    return Field(text, tuple(sorted(values)), every, stepping, from_end, near, near_end, tuple(sorted(nth)))


def _parse_item(spec: Spec, item: str) -> set[int]:
    """Return the values of ``*``, ``a``, ``a-b``, each with or without ``/n``."""
    span, slash, step_text = item.partition("/")
    first, dash, last = span.partition("-")
    high = 6 if spec is FIELDS[-1] else spec.high
    if span == "*":
        start, end = spec.low, high
    else:
        start = _number(spec, first)
        end = start
        if dash:
            # A range may end on Sunday: fri-sun.
            end = 7 if spec is FIELDS[-1] and last in ("sun", "0") and start else _number(spec, last)
        elif slash:
            end = high
        if end < start:
            raise Refused(f"{spec.name} range must not run backwards, got {span}")
    step = 1
    if slash:
        step = int(step_text) if _is_number(step_text) else 0
        if not 1 <= step <= spec.high:
            raise Refused(f"{spec.name} step must be between 1 and {spec.high}, got {shown(step_text)}")
    return {value % 7 if spec is FIELDS[-1] else value for value in range(start, end + 1, step)}


def _parse_end(spec: Spec, item: str) -> tuple[int, int]:
    """Parse ``l`` and ``l-3`` as (0, n), ``15w`` as (1, 15), ``lw`` and ``l-3w`` as (2, n)."""
    day = item.removesuffix("w")
    if not day.startswith("l"):
        return 1, _number(spec, day)
    kind = 0 if day == item else 2
    if day == "l":
        return kind, 0
    number = day.removeprefix("l-")
    if not _is_number(number) or not 1 <= int(number) <= 30:
        raise Refused(f"{spec.name} after L must be -1 to -30, got {shown(day[1:])}")
    return kind, int(number)


def _parse_nth(spec: Spec, item: str) -> tuple[int, int]:
    """Parse ``mon#2`` and ``1#2`` as (1, 2), the last weekday ``5l``, ``l5`` and ``fril`` as (5, 0)."""
    if "#" in item:
        name, _, n = item.partition("#")
        if n not in ("1", "2", "3", "4", "5"):
            raise Refused(f"{spec.name} after # must be between 1 and 5, got {shown(n)}")
        return _number(spec, name) % 7, int(n)
    name = item.removesuffix("l") if item.endswith("l") else item.removeprefix("l")
    if not name:
        raise Refused(f"{spec.name} L must come with a weekday, as in 5L")
    return _number(spec, name) % 7, 0


def _number(spec: Spec, text: str) -> int:
    if text in spec.names:
        return spec.names[text]
    if not _is_number(text):
        names = f" or a name ({next(iter(spec.names))})" if spec.names else ""
        raise Refused(f"{spec.name} must be a number between {spec.low} and {spec.high}{names}, got {shown(text)}")
    if not spec.low <= int(text) <= spec.high:
        raise Refused(f"{spec.name} must be between {spec.low} and {spec.high}, got {text}")
    return int(text)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def shown(text: str) -> str:
    """Return a word as errors quote it."""
    if _is_number(text):
        return text
    return f'"{text}"' if text else "nothing"


# The days of a month. The weekday of its first day (Sunday is 0) and its length identify a month, so there are 28
# kinds of month.


def days_of(day: Field, weekday: Field, both: bool, first: int, length: int) -> list[int]:
    """Return the days, ascending, of a month of this kind that match both fields, or either."""
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
    """Return the weekday Monday to Friday that is nearest to a day and in the same month."""
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
