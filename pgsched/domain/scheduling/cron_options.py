"""The options of a cron expression: words such as ``days=both`` after its fields."""

from __future__ import annotations

import re
from datetime import date, timedelta
from typing import NamedTuple

from pgsched.domain.scheduling.cron_fields import Refused, shown

_WORDS = {
    "days": ("both", "either"),
    "skipped": ("run", "skip"),
    "repeated": ("first", "second", "both"),
    "instead": ("skip", "workday"),
}
_NAMES = "days= skipped= repeated= weeks= except= instead="
LONGEST_MOVE = 31
_END = date.max.toordinal() + 1
CALENDAR = re.compile(r"[a-z][a-z0-9_-]{0,62}", re.ASCII)
"""The name of a calendar."""
_DAY = re.compile(r"(?:([0-9]{4})-)?([0-9]{2}-[0-9]{2})", re.ASCII)
_WEEKS = re.compile(r"([0-9]{1,2})@([0-9]{4}-[0-9]{2}-[0-9]{2})", re.ASCII)


class Weeks(NamedTuple):
    """Every nth week, Monday to Sunday, counted from the week of a date in both directions."""

    every: int
    week_of: date

    def count(self, day: date) -> bool:
        """Whether a day is in a week that counts."""
        # The first day of the calendar is a Monday, and has the number 1.
        return ((day.toordinal() - 1) // 7 - (self.week_of.toordinal() - 1) // 7) % self.every == 0


class Except(NamedTuple):
    """Excluded dates, of every year or of one."""

    days: frozenset[str]
    """As ``12-25`` and ``2030-12-25``."""
    moves: bool
    """Moves ticks of an excluded day to the next day from Monday to Friday that is not excluded."""
    calendars: frozenset[str] = frozenset()
    """Names in ``pgsched.calendars`` whose dates are also excluded; those that are known are among ``days``."""

    def holds(self, day: date) -> bool:
        """Whether a day is excluded."""
        text = day.isoformat()
        return text in self.days or text[5:] in self.days

    def instead_of(self, day: date) -> date | None:
        """Return the day to which the ticks of an excluded day move; None when none is within LONGEST_MOVE days."""
        later = (day + timedelta(days=n) for n in range(1, LONGEST_MOVE + 1) if day.toordinal() + n < _END)
        return next((one for one in later if one.weekday() < 5 and not self.holds(one)), None) if self.moves else None


class CronOptions(NamedTuple):
    """Where an expression deviates from Debian's cron; None keeps Debian's rule."""

    days: str | None = None
    """Whether a day must match ``both`` day of month and weekday, or ``either``."""
    skipped: str | None = None
    """Times that the clocks skip: ``run`` once right afterwards, or ``skip``."""
    repeated: str | None = None
    """Times that occur twice: run in the ``first`` pass, the ``second`` or ``both``."""
    weeks: Weeks | None = None
    """Only every nth week: ``weeks=2@2030-01-07`` is the week of that day, and every second one."""
    but: Except | None = None
    """Excluded dates: ``except=12-25,2030-04-19``; ``instead=workday`` moves their ticks."""


def take_options(words: list[str], known: frozenset[str]) -> CronOptions:
    """Parse the options at the end of an expression's words, which are in lower case. Raises Refused.

    ``known``: the dates of the calendars that the expression names.
    """
    start = len(words)
    while start and "=" in words[start - 1]:
        start -= 1
    found: dict[str, str] = {}
    for word in words[start:]:
        name, _, value = word.partition("=")
        if name not in _WORDS and name not in ("weeks", "except"):
            raise Refused(f"an option must be one of {_NAMES}, got {shown(word)}")
        if name in found:
            raise Refused(f"option {name} must come once")
        if name in _WORDS and value not in _WORDS[name]:
            raise Refused(f"option {name} must be {' or '.join(_WORDS[name])}, got {shown(value)}")
        found[name] = value
    del words[start:]
    weeks, but, instead = found.pop("weeks", None), found.pop("except", None), found.pop("instead", None)
    if instead and but is None:
        raise Refused("option instead must come with except")
    return CronOptions(
        **found,
        weeks=None if weeks is None else _weeks(weeks),
        but=None if but is None else _except(but, instead == "workday", known),
    )


def _except(text: str, moves: bool, known: frozenset[str]) -> Except:
    words = frozenset(text.split(","))
    named = frozenset(word for word in words if word.startswith("@") and CALENDAR.fullmatch(word[1:]))
    for day in text.split(","):
        if day not in named and not is_day(day):
            raise Refused(f"option except must be days or calendars, as 12-25,2030-04-19,@holidays, got {shown(day)}")
    days, calendars = words - named, frozenset(name[1:] for name in named)
    return Except(days | known if calendars else days, moves, calendars)


def is_day(text: str) -> bool:
    """Whether a text is a date of every year, such as ``12-25``, or of one, such as ``2030-04-19``."""
    read = _DAY.fullmatch(text)
    try:
        return read is not None and bool(date.fromisoformat(f"{read[1] or '2000'}-{read[2]}"))
    except ValueError:  # no such day
        return False


def _weeks(text: str) -> Weeks:
    read = _WEEKS.fullmatch(text)
    try:
        if read and 2 <= int(read[1]) <= 52:
            return Weeks(int(read[1]), date.fromisoformat(read[2]))
    except ValueError:  # no such day
        pass
    raise Refused(f"option weeks must be 2 to 52 and a day of a week that counts, as 2@2030-01-07, got {shown(text)}")
