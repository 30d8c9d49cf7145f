"""Describes a cron expression in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product

from pgsched.domain.scheduling.cron import Cron
from pgsched.domain.scheduling.cron_fields import MONTHS, WEEKDAYS, Field

_NTH = ("last", "first", "second", "third", "fourth", "fifth")
# When there are more times of the day than this, each field is described by itself.
_MOST_TIMES = 6


def describe(cron: Cron) -> str:
    """Return the expression in words: ``every day at 08:00``, ``every 5 minutes``, ``at 02:30 on Monday``."""
    when, days, months = _times(cron), _days(cron), _months(cron)
    weeks = cron.options.weeks
    parts = ("every day", months, when) if when.startswith("at ") and not days else (when, days, months)
    words = " ".join(part for part in parts if part)
    if weeks is not None:
        words += f", every {weeks.every} weeks from that of {weeks.week_of}"
    if (but := cron.options.but) is not None:
        calendars = [f"the days of calendar {name}" for name in sorted(but.calendars)]
        words += f", but not on {_and(calendars or sorted(but.days))}" + (": on the next workday" if but.moves else "")
    return words


def _times(cron: Cron) -> str:
    seconds = cron.second.values
    if len(cron.hour.values) * len(cron.minute.values) * len(seconds) <= _MOST_TIMES:
        clock = [
            f"{hour:02}:{minute:02}" + (f":{second:02}" if seconds != (0,) else "")
            for hour, minute, second in product(cron.hour.values, cron.minute.values, seconds)
        ]
        return f"at {_and(clock)}"
    if seconds == (0,) and (rhythm := _rhythm(cron)):
        return rhythm
    if cron.minute.every and cron.hour.every and (step := _step(cron.second, 60)):
        return _every(step, "second")
    parts = [] if seconds == (0,) else [_field("second", cron.second)]
    if not cron.minute.every or seconds == (0,):
        parts.append(_field("minute", cron.minute))
    if not cron.hour.every:
        parts.append(_field("hour", cron.hour))
    return f"at {' of '.join(parts)}"


def _rhythm(cron: Cron) -> str:
    """Return words for an even interval of minutes or hours, empty when there is none."""
    if cron.hour.every and (step := _step(cron.minute, 60)):
        return _every(step, "minute")
    if len(cron.minute.values) == 1 and (step := _step(cron.hour, 24)):
        minute = cron.minute.values[0]
        return _every(step, "hour") + (f" at minute {minute}" if minute else "")
    return ""


def _step(field: Field, cycle: int) -> int:
    """Return the step of a field that divides its cycle evenly, otherwise 0."""
    step = cycle // len(field.values)
    return step if field.stepping and field.values == tuple(range(0, cycle, step)) else 0


def _every(step: int, unit: str) -> str:
    return f"every {unit}" if step == 1 else f"every {step} {unit}s"


def _field(unit: str, field: Field) -> str:
    return f"every {unit}" if field.every else f"{unit} {_and(_runs(field.values))}"


def _days(cron: Cron) -> str:
    rules = []
    if not cron.day.every:
        names = [f"day {_and(_runs(cron.day.values))}"] if cron.day.values else []
        names += [_from_end(n) for n in cron.day.from_end]
        names += [f"the workday nearest to day {value}" for value in cron.day.near]
        names += [f"the workday nearest to {_from_end(n)}" for n in cron.day.near_end]
        rules.append(f"on {_and(names)} of the month")
    if not cron.weekday.every:
        if cron.weekday.values:
            rules.append(f"on {_and(_weekday_runs(cron.weekday.values))}")
        rules += [f"on the {_NTH[n]} {WEEKDAYS[number]} of the month" for number, n in cron.weekday.nth]
    return (" if " if cron.both else " or ").join(rules)


def _from_end(n: int) -> str:
    return f"{count_words(n, 'day')} before the last day" if n else "the last day"


def count_words(number: int, unit: str) -> str:
    """``1 day``, ``2 days``."""
    return f"{number} {unit}" if number == 1 else f"{number} {unit}s"


def _weekday_runs(numbers: tuple[int, ...]) -> list[str]:
    # The week of the words starts on Monday, so that Saturday and Sunday stay together.
    monday_first = sorted((number - 1) % 7 for number in numbers)
    return _runs(monday_first, [*WEEKDAYS[1:], WEEKDAYS[0]])


def _months(cron: Cron) -> str:
    return "" if cron.month.every else f"in {_and(_runs(cron.month.values, ['', *MONTHS]))}"


def _runs(numbers: Iterable[int], names: Sequence[str] = ()) -> list[str]:
    """Return the numbers, or their names, with three or more consecutive ones as ``8 to 18``."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    words: list[str] = []
    for run in runs:
        texts = [names[number] if names else str(number) for number in run]
        words += [f"{texts[0]} to {texts[-1]}"] if len(run) > 2 else texts
    return words


def _and(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
