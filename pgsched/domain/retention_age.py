"""How long, and how many, finished tasks are kept. Ages need a unit, so that none is too short by mistake.

Elsewhere a bare number means seconds. Here that would delete within seconds what was meant to be kept for days.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final, Literal

from pgsched.domain.errors import Described, InvalidTask
from pgsched.domain.interval import Interval
from pgsched.domain.validation import MAX_INTEGER, interval_of, refused, whole

Age = timedelta | Interval | str
"""A timedelta, an Interval, or text with a unit, such as ``"7d"`` or ``"12h"``."""

_DAY = Interval(days=1)
SHORTEST = Interval(microseconds=3_600_000_000)
"""A shorter age needs ``allow_short``."""
LONGEST = Interval(months=12_000)
"""The longest possible age; as a setting it means forever."""
FOREVER: Final = "forever"
"""Keeps all, in place of another setting."""
LEAVING = Interval()
"""Deletes completed tasks of a queue in the transaction that completes them."""

_count = whole(0, MAX_INTEGER, rule=f"be a whole number between 0 and {MAX_INTEGER}, or {FOREVER}")


def age_of(field: str, value: Age) -> Interval:
    """Return an age. Raises InvalidTask, also for a number without a unit."""
    if isinstance(value, int | float) or (isinstance(value, str) and _is_number(value)):
        raise _unitless(field, value)
    age = interval_of(field, value)
    if age.seconds > LONGEST.seconds:
        raise refused(field, "be at most 1000 years", value)
    return age


def is_short(age: Interval | None) -> bool:
    """Whether an age needs ``allow_short``."""
    return age is not None and age.seconds < SHORTEST.seconds


def long_enough(field: str, age: Interval, *, allow_short: bool) -> Interval:
    """Return the age. Raises InvalidTask for one under an hour unless ``allow_short`` confirms it."""
    if is_short(age) and not allow_short:
        raise refused(field, "be at least 1 hour unless allow_short is set", Described(age.to_text()))
    return age


def age_setting(field: str, value: Age | None, *, allow_short: bool) -> Interval | None:
    """Return a setting that is an age, the longest for ``forever``; None when it is not set. Raises InvalidTask."""
    if value is None:
        return None
    return LONGEST if is_forever(value) else long_enough(field, age_of(field, value), allow_short=allow_short)


def leaving_age(field: str, value: Age | Literal[0] | None, *, allow_short: bool) -> Interval | None:
    """Like :func:`age_setting`, but 0 needs neither a unit nor ``allow_short``. Raises InvalidTask."""
    if isinstance(value, int) or (isinstance(value, str) and _is_number(value)):
        if isinstance(value, bool) or float(value) != 0:
            raise _unitless(field, value)
        return LEAVING
    meant = allow_short or (value is not None and not is_forever(value) and age_of(field, value) == LEAVING)
    return age_setting(field, value, allow_short=meant)


def history_age(field: str, value: Age | None) -> Interval | None:
    """Return such a setting for the history, which is dropped by whole days. Raises InvalidTask."""
    age = age_setting(field, value, allow_short=True)
    if age is not None and age.seconds < _DAY.seconds:
        raise refused(field, "be at least a day", Described(str(value)[:100]))
    return age


def is_forever(value: object) -> bool:
    """Whether all are kept."""
    return isinstance(value, str) and value.strip().lower() == FOREVER


def count_of(field: str, value: int | str | None) -> int | None:
    """Return the number to keep, from a number or its digits; the highest for ``forever``. Raises InvalidTask."""
    if isinstance(value, str) and value.strip().isascii() and value.strip().isdigit() and len(value) <= 20:
        value = int(value)
    return None if value is None else MAX_INTEGER if is_forever(value) else int(_count(field, value))


def archives(field: str, value: object) -> bool | None:
    """Return whether deleted tasks are copied first; None when another setting decides. Raises InvalidTask."""
    if not isinstance(value, bool | None):
        raise refused(field, "be true or false", Described(str(value)[:100]))
    return value


def _unitless(field: str, value: object) -> InvalidTask:
    return refused(field, 'have a unit, such as "7d" or "12h"', value)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
