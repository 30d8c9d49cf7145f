"""Cron expressions: reading them, and the instants at which they tick in a time zone.

croniter is asked for wall-clock times only. How those become instants where the clocks change is the rule
of Debian's cron (crontab(5), cron(8)), see ``next_tick``.
"""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from croniter import croniter

from pgsched.cron_fields import FIELDS, SECOND_FIELD, Field, Refused, parse_field
from pgsched.errors import InvalidCron
from pgsched.zones import SECOND, change_between, gap_end, load_zone, readings, to_wall

__all__ = ["Cron", "Field", "load_zone", "next_tick", "parse_cron", "previous_tick"]

MAX_LENGTH = 200
ALIASES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
# Debian's cron takes a longer jump of the clock for a correction and does not run what was jumped over.
LONGEST_GAP = timedelta(hours=3)

_DAY = timedelta(days=1)
# Only ASCII spaces part fields: a no-break space in one is an error to show.
_WORD = re.compile(r"\S+", re.ASCII)
# A last field that may as well be seconds: numbers or a step, no names.
_NUMERIC = re.compile(r"[0-9]|/", re.ASCII)
_DAYS_IN_MONTH = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


@dataclass(frozen=True, slots=True)
class Cron:
    """A cron expression that was read and can fire. Equal when the expressions are.

    ``fixed`` is true when the expression names times of the day: neither second, minute nor hour is a
    wildcard or a step. ``day`` and ``weekday``, when both are restricted, are alternatives.
    """

    expression: str
    second: Field = field(compare=False)
    minute: Field = field(compare=False)
    hour: Field = field(compare=False)
    day: Field = field(compare=False)
    month: Field = field(compare=False)
    weekday: Field = field(compare=False)
    fixed: bool = field(compare=False)
    # One for the days of the month, one for the weekdays, one for the nth weekdays: the earliest ticks.
    _walkers: tuple[croniter, ...] = field(compare=False, repr=False)

    def wall_from(self, wall: datetime) -> datetime | None:
        """The first match at or after a wall-clock time of whole seconds; None when 50 years hold none."""
        found = [_walk(walker, wall - SECOND, forward=True) for walker in self._walkers]
        return min((match for match in found if match is not None), default=None)

    def wall_until(self, wall: datetime) -> datetime | None:
        """The last match at or before a wall-clock time of whole seconds; None when 50 years hold none."""
        found = [_walk(walker, wall + SECOND, forward=False) for walker in self._walkers]
        return max((match for match in found if match is not None), default=None)


def _walk(walker: croniter, start: datetime, *, forward: bool) -> datetime | None:
    # A croniter keeps its place in itself: a shallow copy for each walk, so that threads can share the cron.
    mine = copy.copy(walker)
    try:
        match = mine.get_next(datetime, start) if forward else mine.get_prev(datetime, start)
    except (ValueError, OverflowError):  # nothing within 50 years, or beyond the years 1 to 9999
        return None
    assert isinstance(match, datetime)  # noqa: S101
    return match


@lru_cache(maxsize=4096)
def parse_cron(expression: str) -> Cron:
    """Read a cron expression of five fields (minute hour day month weekday), or six with *seconds first*.

    Each field takes ``*``, numbers, names (``mon``, ``jan``), ranges ``a-b``, steps ``*/n``, ``a-b/n`` and
    ``a/n`` (from a to the end), and lists of them. The day of the month takes ``L`` (the last day), the
    weekday ``mon#2`` (the second Monday) and ``5L`` or ``L5`` (the last Friday); both take ``?`` for ``*``.
    Sunday is 0 and 7, as in Unix and unlike in Quartz. When day and weekday are both restricted, a day that
    matches either is enough (POSIX crontab). Aliases: ``@hourly @daily @midnight @weekly @monthly @yearly
    @annually``.

    Six fields have the second first, as in Quartz, Spring and node-cron. Other tools write it last, so what
    both would take for something else is refused: a first field with a wildcard and a last one with
    numbers, which may be a step of seconds. ``* * * * * 0`` fires every second of a Sunday or every minute:
    ``sun`` makes it clear.

    Raises InvalidCron, naming the expression and the rule, when it cannot be read, is longer than 200
    characters, or can never fire, as on the 31st of February.
    """
    try:
        if len(expression) > MAX_LENGTH:
            raise Refused(f"must have at most {MAX_LENGTH} characters, got {len(expression)}")
        return _parse(expression)
    except Refused as refused:
        shown = expression if len(expression) <= MAX_LENGTH else expression[:60] + "…"
        raise InvalidCron(f'cron expression "{shown}": {refused}') from None


def _parse(expression: str) -> Cron:
    text = " ".join(_WORD.findall(expression.lower()))
    if text.startswith("@") and text not in ALIASES:
        raise Refused(f"an alias must be one of {' '.join(ALIASES)}")
    words = _WORD.findall(ALIASES.get(text, text))
    if len(words) not in (5, 6):
        raise Refused(f"must have 5 fields (minute hour day month weekday) or 6 with seconds first, got {len(words)}")
    has_seconds = len(words) == 6
    second = parse_field(SECOND_FIELD, words.pop(0) if has_seconds else "0")
    minute, hour, day, month, weekday = (parse_field(spec, word) for spec, word in zip(FIELDS, words, strict=True))
    if second.stepping and _NUMERIC.search(words[4]):
        raise Refused(
            "may mean seconds first or last; they come first: name the weekday if that is meant, "
            f'as in "sun", got "{words[4]}"'
        )
    fixed = not (second.stepping or minute.stepping or hour.stepping)
    times = f"{_plain(minute)} {_plain(hour)}"
    seconds = f" {_plain(second)}" if has_seconds else ""
    walkers = tuple(
        croniter(f"{times} {days} {_plain(month)} {weekdays}{seconds}")
        for days, weekdays in _day_rules(day, month, weekday)
    )
    return Cron(text, second, minute, hour, day, month, weekday, fixed, walkers)


def _plain(one: Field) -> str:
    """The field as croniter gets it: every value spelled out, so that only our own reading counts."""
    return "*" if one.every else ",".join(map(str, one.values))


def _day_rules(day: Field, month: Field, weekday: Field) -> list[tuple[str, str]]:
    """The pairs of day and weekday, of which one must match. Raises Refused when none ever can."""
    if day.every and weekday.every:
        return [("*", "*")]
    rules = []
    if not day.every:
        longest = max(_DAYS_IN_MONTH[number - 1] for number in month.values)
        days = [str(number) for number in day.values if number <= longest] + ["l"] * day.last_day
        if days:
            rules.append((",".join(days), "*"))
        elif weekday.every:
            raise Refused(f"can never fire: no such month has a day {day.values[0]}")
    if not weekday.every:
        if weekday.values:
            rules.append(("*", ",".join(map(str, weekday.values))))
        if weekday.nth:
            rules.append(("*", ",".join(f"{number}#{n}" if n else f"l{number}" for number, n in weekday.nth)))
    return rules


def next_tick(cron: Cron, zone: ZoneInfo, after: datetime) -> datetime | None:
    """The first instant (aware, UTC) strictly after ``after`` (aware) at which the expression ticks.

    None when 50 years hold none, or before the year 9999 ends. Where the clocks change, Debian's cron
    decides:

    - *fixed* expressions (see ``Cron``) run once for every wall-clock time they name. What falls in a gap
      runs when the gap ends, once however many there were; what falls in a fold runs in the first pass
      only.
    - All others follow elapsed time: they tick at every instant whose wall-clock time matches. A gap has no
      ticks and adds none, a fold has those of both passes.
    - A gap of more than three hours (Samoa skipped the 30th of December 2011) is a correction of the
      calendar: nothing that falls in it runs.

    Raises ValueError when ``after`` is naive.
    """
    return _next_tick(cron, zone, _whole_second(after))


def previous_tick(cron: Cron, zone: ZoneInfo, at_or_before: datetime) -> datetime | None:
    """The last instant (aware, UTC) at or before ``at_or_before`` (aware) at which the expression ticks.

    By the rule of ``next_tick``; None when 50 years hold none. Raises ValueError when the argument is naive.
    """
    until = _whole_second(at_or_before)
    try:
        return _last_fixed(cron, zone, until) if cron.fixed else _last_elapsed(cron, zone, until)
    except OverflowError:  # beyond the years 1 to 9999
        return None


@lru_cache(maxsize=16384)
def _next_tick(cron: Cron, zone: ZoneInfo, after: datetime) -> datetime | None:
    try:
        start = after + SECOND
        return _first_fixed(cron, zone, start) if cron.fixed else _first_elapsed(cron, zone, start)
    except OverflowError:  # beyond the years 1 to 9999
        return None


def _whole_second(instant: datetime) -> datetime:
    if instant.tzinfo is None:
        raise ValueError(f"an instant must have a time zone, got {instant}")
    return instant.astimezone(UTC).replace(microsecond=0)


def _first_fixed(cron: Cron, zone: ZoneInfo, start: datetime) -> datetime | None:
    # From the second before, so that a start right at the end of a gap still sees what fell in the gap.
    wall = to_wall(start - SECOND, zone) + SECOND
    while (match := cron.wall_from(wall)) is not None:
        first, second = readings(match, zone)
        if first > second:
            end = gap_end(match, zone)
            if first - second <= LONGEST_GAP:
                return end
            wall = to_wall(end, zone)
        elif first >= start:
            return first
        else:  # start is in the second pass, the first pass ran: go on where the fold ends
            wall = _fold_end(first, second, zone)
    return None


def _fold_end(first: datetime, second: datetime, zone: ZoneInfo) -> datetime:
    """The wall-clock time at which the fold ends that holds these two readings."""
    change = change_between(zone, first, second)
    assert change is not None  # noqa: S101
    return to_wall(change - SECOND, zone) + SECOND


def _last_fixed(cron: Cron, zone: ZoneInfo, until: datetime) -> datetime | None:
    wall = to_wall(until, zone)
    if wall.fold:  # every time of the fold had its first pass before
        wall = _fold_end(*readings(wall, zone), zone) - SECOND
    while (match := cron.wall_until(wall)) is not None:
        first, second = readings(match, zone)
        if first <= second:
            return first
        end = gap_end(match, zone)
        if first - second <= LONGEST_GAP:
            return end
        wall = to_wall(end - SECOND, zone)
    return None


def _first_elapsed(cron: Cron, zone: ZoneInfo, start: datetime) -> datetime | None:
    while (match := cron.wall_from(wall := to_wall(start, zone))) is not None:
        tick = start + (match - wall)  # if the offset stays as it is
        change = change_between(zone, start, min(tick, start + _DAY))
        if change is not None:
            start = change  # no tick before it
        elif tick <= start + _DAY:
            return tick
        else:
            first, second = readings(match, zone)
            if first <= second:
                return first
            start = gap_end(match, zone)
    return None


def _last_elapsed(cron: Cron, zone: ZoneInfo, until: datetime) -> datetime | None:
    while (match := cron.wall_until(wall := to_wall(until, zone))) is not None:
        tick = until - (wall - match)  # if the offset was as it is
        change = change_between(zone, max(tick, until - _DAY), until)
        if change is not None:
            until = change - SECOND  # no tick since
        elif tick >= until - _DAY:
            return tick
        else:
            first, second = readings(match, zone)
            if first <= second:
                return second
            until = gap_end(match, zone) - SECOND
    return None
