"""Cron expressions: parsing them, and the instants at which they tick in a time zone.

The search walks on the wall clock. Debian's cron defines how its times become instants where the clocks change
(crontab(5), cron(8)), see ``next_tick``, unless a schedule has a rule of its own.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from calendar import monthrange
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from pgsched.domain.errors import InvalidCron
from pgsched.domain.scheduling.cron_fields import (
    FIELDS,
    SECOND_FIELD,
    Field,
    Refused,
    days_of,
    parse_field,
    refuse_impossible,
)
from pgsched.domain.scheduling.cron_options import LONGEST_MOVE, CronOptions, take_options
from pgsched.domain.scheduling.time_zones import SECOND, change_between, gap_end, load_zone, readings, to_wall

__all__ = ["Cron", "Field", "load_zone", "next_tick", "parse_cron", "previous_tick"]

MAX_LENGTH = 1_000
ALIASES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
# Debian's cron treats a longer jump of the clock as a correction and does not run the times that were skipped.
LONGEST_GAP = timedelta(hours=3)

# The calendar repeats after this many years: an expression that does not fire within them never does.
REACH = 400
_SINCE = datetime(2000, 1, 1)

_LONGEST_SHOWN = 200
_YEAR = tuple(range(1, 13))
AHEAD, BACK = 1, -1
# Only ASCII spaces separate fields: a no-break space is an error to report.
_WORD = re.compile(r"\S+", re.ASCII)
# A last field that could also be seconds: numbers or a step, no names.
_NUMERIC = re.compile(r"[0-9]|/", re.ASCII)
# Independent of the locale, and ASCII only: the Kelvin sign is not a k.
_LOWER = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")


@dataclass(frozen=True, slots=True)
class Cron:
    """A valid cron expression that can fire. Equal when the expressions and the dates that they exclude are equal.

    ``fixed`` is true when the expression names times of the day: neither second, minute nor hour is a
    wildcard or a step. ``both`` is true when a day must match both ``day`` and ``weekday``; otherwise either suffices.
    """

    expression: str
    second: Field = field(compare=False)
    minute: Field = field(compare=False)
    hour: Field = field(compare=False)
    day: Field = field(compare=False)
    month: Field = field(compare=False)
    weekday: Field = field(compare=False)
    fixed: bool = field(compare=False)
    both: bool = field(compare=False)
    options: CronOptions

    @property
    def runs_skipped(self) -> bool:
        """Whether times that the clocks skip run once right afterwards."""
        return self.fixed if self.options.skipped is None else self.options.skipped == "run"

    @property
    def repeated(self) -> str:
        """The passes in which repeated times run: ``first``, ``second`` or ``both``."""
        return self.options.repeated or ("first" if self.fixed else "both")

    def match(self, wall: datetime, step: int) -> datetime | None:
        """Return the first match at or after a wall-clock time (``step`` is AHEAD), or the last at or before it (BACK).

        None when there is none within REACH years and the years 1 to 9999.
        """
        time = self._time((wall.hour, wall.minute, wall.second), step)
        today = wall.year, wall.month, wall.day
        # Any month may have a tick when ticks are moved.
        months = (_YEAR if self.options.but and self.options.but.moves else self.month.values)[::step]
        last_year = min(wall.year + REACH, 9999) if step > 0 else max(wall.year - REACH, 1)
        for year in range(wall.year, last_year + step, step):
            for month in months:
                nearest = 1 if step > 0 else 31
                if year == wall.year:
                    if (month - wall.month) * step < 0:
                        continue
                    if month == wall.month:  # from today on if a time is left, otherwise from the next day on
                        nearest = wall.day if time else wall.day + step
                if (day := _nearest(_month_days(self, year, month), nearest, step)) is not None:
                    is_today = (year, month, day) == today
                    return datetime(year, month, day, *(time if time and is_today else self._end(step)))
        return None

    def _end(self, step: int) -> tuple[int, int, int]:
        """Return the first time of a day, or the last when walking back."""
        place = 0 if step > 0 else -1
        return self.hour.values[place], self.minute.values[place], self.second.values[place]

    def _time(self, near: tuple[int, int, int], step: int) -> tuple[int, int, int] | None:
        """Return the nearest time of the same day, as in ``match``."""
        hour, minute, second = near
        _, first_minute, first_second = self._end(step)
        if hour in self.hour.values:
            if minute in self.minute.values and (at := _nearest(self.second.values, second, step)) is not None:
                return hour, minute, at
            if (at := _nearest(self.minute.values, minute + step, step)) is not None:
                return hour, at, first_second
        if (at := _nearest(self.hour.values, hour + step, step)) is not None:
            return at, first_minute, first_second
        return None


def _nearest(ascending: Sequence[int], number: int, step: int) -> int | None:
    """Return the value nearest to a number: at or after it, or at or before it when walking back."""
    place = bisect_left(ascending, number) if step > 0 else bisect_right(ascending, number) - 1
    return ascending[place] if 0 <= place < len(ascending) else None


@lru_cache(maxsize=16384)
def _month_days(cron: Cron, year: int, month: int) -> list[int]:
    """Return the days of a month that match and are not excluded, and those to which ticks are moved, ascending."""
    but = cron.options.but
    if but is None:
        return _matching_days(cron, year, month)
    first = date(year, month, 1).toordinal()
    since = date.fromordinal(max(1, first - LONGEST_MOVE) if but.moves else first)
    found: set[date | None] = set()
    for number in range(since.year * 12 + since.month - 1, year * 12 + month):
        for one in _matching_days(cron, number // 12, number % 12 + 1):
            day = date(number // 12, number % 12 + 1, one)
            found.add(but.instead_of(day) if but.holds(day) else day)
    return sorted(day.day for day in found if day is not None and (day.year, day.month) == (year, month))


@lru_cache(maxsize=16384)
def _matching_days(cron: Cron, year: int, month: int) -> list[int]:
    if month not in cron.month.values:
        return []
    monday_first, length = monthrange(year, month)
    days = days_of(cron.day, cron.weekday, cron.both, (monday_first + 1) % 7, length)
    weeks = cron.options.weeks
    return days if weeks is None else [day for day in days if weeks.count(date(year, month, day))]


@lru_cache(maxsize=4096)
def parse_cron(expression: str, known: frozenset[str] = frozenset()) -> Cron:
    """Parse a cron expression of five fields (minute hour day month weekday), or six with *seconds first*.

    Each field takes ``*``, numbers, names (``mon``, ``jan``), ranges ``a-b``, steps ``*/n``, ``a-b/n`` and ``a/n``
    (from a to the end), and lists of them. The day of the month takes ``L`` (the last day), ``L-3`` (three days before
    it), ``15W`` (the weekday Monday to Friday that is nearest to the 15th, in the same month), ``LW`` and ``L-3W``; the
    weekday ``mon#2`` (the second Monday) and ``5L`` or ``L5`` (the last Friday); both take ``?`` for ``*``. Sunday is 0
    and 7, as in Unix and unlike in Quartz. Both day and weekday must match when either field begins with ``*``;
    otherwise a day that matches one of them suffices (Debian's cron). Aliases: ``@hourly @daily @midnight @weekly
    @monthly @yearly @annually``.

    Options may follow, see :class:`pgsched.domain.scheduling.cron_options.CronOptions`: ``0 9 13 * fri days=both``.
    ``known`` holds the dates of the calendars that they name.

    Six fields have the second first, as in Quartz, Spring and node-cron. Other tools write it last, so an expression
    that the two conventions read differently is rejected: a wildcard in the first field and numbers in the last one,
    which may be a step of seconds. ``* * * * * 0`` could fire every second of a Sunday or every minute; ``sun`` makes
    it unambiguous.

    Raises InvalidCron, naming the expression and the rule, when it cannot be parsed, is longer than 1,000 characters,
    or can never fire, as on the 31st of February.
    """
    try:
        if len(expression) > MAX_LENGTH:
            raise Refused(f"must have at most {MAX_LENGTH} characters, got {len(expression)}")
        return _parse(expression, known)
    except Refused as refused:
        shown = expression if len(expression) <= _LONGEST_SHOWN else expression[:60] + "…"
        raise InvalidCron(str(refused), field="cron", subject=f'cron expression "{shown}":') from None


def _parse(expression: str, known: frozenset[str]) -> Cron:
    words = _WORD.findall(expression.translate(_LOWER))
    whole = " ".join(words)
    options = take_options(words, known)
    text = " ".join(words)
    if text.startswith("@") and text not in ALIASES:
        raise Refused(f"an alias must be one of {' '.join(ALIASES)}")
    words = ALIASES[text].split() if text in ALIASES else words
    if len(words) not in (5, 6):
        raise Refused(f"must have 5 fields (minute hour day month weekday) or 6 with seconds first, got {len(words)}")
    second = parse_field(SECOND_FIELD, words.pop(0) if len(words) == 6 else "0")
    minute, hour, day, month, weekday = (parse_field(spec, word) for spec, word in zip(FIELDS, words, strict=True))
    if second.stepping and _NUMERIC.search(words[4]):
        raise Refused(
            "may mean seconds first or last; they come first: name the weekday if that is meant, "
            f'as in "sun", got "{words[4]}"'
        )
    fixed = not (second.stepping or minute.stepping or hour.stepping)
    both = day.starred or weekday.starred if options.days is None else options.days == "both"
    refuse_impossible(day, month, weekday, both)
    cron = Cron(whole, second, minute, hour, day, month, weekday, fixed, both, options)
    if (options.weeks or options.but) and cron.match(_SINCE, AHEAD) is None:
        raise Refused("can never fire: its options leave no day")
    return cron


def next_tick(cron: Cron, zone: ZoneInfo, after: datetime) -> datetime | None:
    """Return the first instant (aware, UTC) strictly after ``after`` (aware) at which the expression ticks.

    None when there is none before the year 9999 ends. Where the clocks change, the rules of Debian's cron apply:

    - *fixed* expressions (see ``Cron``) run once for every wall-clock time they name. Times in a gap run when the gap
      ends, once however many there were; times in a fold run in the first pass only.
    - All others follow elapsed time: they tick at every instant whose wall-clock time matches. A gap has no
      ticks and adds none, a fold has those of both passes.
    - A gap of more than three hours (Samoa skipped the 30th of December 2011) is a correction of the
      calendar: no time that falls in it runs.

    The options ``skipped`` and ``repeated`` of the expression override these rules. Raises ValueError when ``after``
    is naive.
    """
    try:
        return _first_from(cron, zone, _whole_second(after) + SECOND)
    except OverflowError:  # beyond the years 1 to 9999
        return None


def previous_tick(cron: Cron, zone: ZoneInfo, at_or_before: datetime) -> datetime | None:
    """Return the last instant (aware, UTC) at or before ``at_or_before`` (aware) at which the expression ticks.

    By the rules of ``next_tick``; None when there is none after the year 1 begins. Raises ValueError when the
    argument is naive.
    """
    try:
        return _last_until(cron, zone, _whole_second(at_or_before))
    except OverflowError:  # beyond the years 1 to 9999
        return None


def _whole_second(instant: datetime) -> datetime:
    if instant.tzinfo is None:
        raise ValueError(f"an instant must have a time zone, got {instant}")
    return instant.astimezone(UTC).replace(microsecond=0)


def _first_from(cron: Cron, zone: ZoneInfo, start: datetime) -> datetime | None:
    # Right at the end of a gap, the second before still finds the times that fell in the gap.
    wall = min(to_wall(start, zone), to_wall(start - SECOND, zone) + SECOND)
    first, second = readings(wall, zone)
    if first == start and first < second and cron.repeated != "first":
        # start is in the first pass of a fold: its times are repeated in the second one, also those before start.
        again = _fold_start(first, second, zone)
        match = cron.match(wall, AHEAD)
        if match is not None and cron.repeated == "both" and (tick := readings(match, zone)[0]) < again:
            return tick
        start, wall = again, to_wall(again, zone)
    while (match := cron.match(wall, AHEAD)) is not None:
        first, second = readings(match, zone)
        if first > second:
            end = gap_end(match, zone)
            if cron.runs_skipped and first - second <= LONGEST_GAP:
                return end
            wall = to_wall(end, zone)
        elif first >= start and cron.repeated != "second":
            return first
        elif first == second or cron.repeated != "first":
            return second
        else:  # start is in the second pass and the first one ran: continue where the fold ends
            wall = to_wall(_fold_start(first, second, zone) - SECOND, zone) + SECOND
    return None


def _last_until(cron: Cron, zone: ZoneInfo, until: datetime) -> datetime | None:
    wall = to_wall(until, zone)
    first, second = readings(wall, zone)
    if first < second:
        again = _fold_start(first, second, zone)
        if until == first and cron.repeated == "second":  # none of the fold has run yet
            wall = to_wall(again, zone) - SECOND
        elif until == second and cron.repeated != "second":
            match = cron.match(wall, BACK)
            if match is not None and cron.repeated == "both" and (tick := readings(match, zone)[1]) >= again:
                return tick
            until = again - SECOND  # the whole first pass has run
            wall = to_wall(until, zone)
    while (match := cron.match(wall, BACK)) is not None:
        first, second = readings(match, zone)
        if first > second:
            end = gap_end(match, zone)
            if cron.runs_skipped and first - second <= LONGEST_GAP:
                return end
            wall = to_wall(end - SECOND, zone)
        elif second <= until and cron.repeated != "first":
            return second
        else:
            return first
    return None


def _fold_start(first: datetime, second: datetime, zone: ZoneInfo) -> datetime:
    """Return the instant at which the second pass of the fold that contains these two readings begins."""
    change = change_between(zone, first, second)
    assert change is not None  # noqa: S101
    return change
