"""How long ago something must have ended to be deleted: durations with a unit, and not too short by mistake.

Elsewhere a bare number means seconds. Here it would delete in seconds what somebody meant to keep for days.
"""

from __future__ import annotations

from datetime import timedelta

from pgsched.domain.errors import InvalidTask
from pgsched.domain.interval import Interval
from pgsched.domain.validation import interval_of, refused, shown

Age = timedelta | Interval | str
"""A timedelta, an Interval, or text with a unit, as ``"7d"`` or ``"12h"``."""

SHORTEST = Interval(microseconds=3_600_000_000)
"""A shorter age needs ``allow_short``."""
LONGEST = Interval(months=12_000)
"""The longest there is; as a setting it stands for ever."""


def age_of(option: str, value: Age) -> Interval:
    """Return an age. Raises InvalidTask, naming option, value and rule, for a number without a unit too."""
    if isinstance(value, int | float) or (isinstance(value, str) and _is_number(value)):
        raise refused(option, 'have a unit, as "7d" or "12h"', value)
    age = interval_of(option, value)
    if age.seconds > LONGEST.seconds:
        raise InvalidTask(f"{option} must be at most 1000 years, got {shown(value)}")
    return age


def is_short(age: Interval | None) -> bool:
    """Whether an age needs ``allow_short``."""
    return age is not None and age.seconds < SHORTEST.seconds


def long_enough(option: str, age: Interval, *, allow_short: bool) -> Interval:
    """Return the age. Raises InvalidTask for one under an hour, unless somebody says that it is meant."""
    if is_short(age) and not allow_short:
        raise InvalidTask(f"{option} must be at least 1 hour unless allow_short is said, got {age.to_text()}")
    return age


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
