"""Computes what a schedule will do before it is in the table."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, TypeAlias, TypedDict

from pgsched.domain.errors import Described, InvalidCron, InvalidTask
from pgsched.domain.interval import Interval
from pgsched.domain.scheduling.cron import Cron, parse_cron
from pgsched.domain.scheduling.cron_words import count_words, describe
from pgsched.domain.scheduling.recurrence import Schedule, first_tick, next_after
from pgsched.domain.scheduling.time_zones import load_zone, to_wall
from pgsched.domain.task_spec import TaskSpec
from pgsched.domain.validation import Duration, aware, interval_of, whole

MAX_TICKS = 10_000
check_n = whole(1, MAX_TICKS)
Calendars: TypeAlias = Mapping[str, Collection[str]]
"""Dates by the name of their calendar."""
_NAMED = re.compile(r"[=,]@([a-z][a-z0-9_-]*)", re.ASCII | re.IGNORECASE)


class PreviewOptions(TypedDict, total=False):
    """The options of :func:`preview` besides a cron expression."""

    every: Duration | None
    timezone: str
    after: datetime | None
    start: datetime | None
    end: datetime | None
    times: int | None
    n: int


class Previewed(NamedTuple):
    """One tick of a preview."""

    at: datetime
    """The instant, in UTC."""
    local: datetime
    """The same on the wall clock of the schedule's zone, aware."""
    note: str | None
    """How a clock change affects it; None on an ordinary day."""


def preview(
    cron: str | None = None,
    *,
    every: Duration | None = None,
    timezone: str = "UTC",
    after: datetime | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
    times: int | None = None,
    n: int = 5,
    calendars: Calendars | None = None,
) -> list[datetime]:
    """Return the next ``n`` ticks of a schedule, as instants in UTC; fewer when it ends earlier.

    ``cron`` is an expression, ``every`` an interval as in ``schedule()``; ticks are those after ``after`` (aware; now
    when None). An interval is counted from ``start``; without one from ``after``, which is its first tick.
    ``calendars`` maps the name of each calendar in the expression to its dates; :meth:`Client.preview` loads them.
    Raises InvalidCron, InvalidTimezone and InvalidTask, by the rules of ``schedule()``.
    """
    check_n("n", n)
    if after is not None:
        aware("after", after)
    schedule = schedule_of(cron, every=every, timezone=timezone, start=start, end=end, times=times, calendars=calendars)
    return [tick.at for tick in ticks_of(schedule, after=after or datetime.now(UTC), n=n)]


def schedule_of(
    cron: str | None = None,
    *,
    every: Duration | None = None,
    timezone: str = "UTC",
    start: datetime | None = None,
    end: datetime | None = None,
    times: int | None = None,
    calendars: Calendars | None = None,
) -> Schedule:
    """Return the options of a schedule in the form that ticks are computed from. Raises as :func:`preview`."""
    if cron is None and every is None:
        raise InvalidTask("a schedule must have either cron or every")
    TaskSpec(task_type="preview", cron=cron, every=every, times=times, timezone=timezone, start=start, end=end)
    return Schedule(
        cron_expression=cron,
        timezone=timezone,
        start_date=start,
        end_date=end,
        repeat_interval=None if every is None else interval_of("every", every),
        repeat_count=times,
        left_out=_days_of(cron, calendars),
    )


def calendars_of(cron: str | None) -> frozenset[str]:
    """Return the names of the calendars that a text excludes, if it is a cron expression; it is not parsed as one."""
    return frozenset(name.lower() for name in _NAMED.findall(cron)) if isinstance(cron, str) else frozenset()


def _days_of(cron: str | None, calendars: Calendars | None) -> tuple[str, ...]:
    but = None if cron is None else parse_cron(cron).options.but
    names = frozenset() if but is None else but.calendars
    if names and calendars is None:
        raise InvalidTask(
            "the dates of a calendar are in the database: use Client.preview or pgsched.next_ticks",
            field="cron",
            subject=f'cron expression "{cron}":',
        )
    known = calendars or {}
    for name in sorted(names - set(known)):
        raise InvalidCron(
            "option except names a calendar that is not in pgsched.calendars",
            field="cron",
            subject=f'cron expression "{cron}":',
            value=Described(f'"@{name}"'),
        )
    return tuple(sorted({day for name in names for day in known[name]}))


def ticks_of(schedule: Schedule, *, after: datetime, n: int) -> list[Previewed]:
    """Return the next ``n`` ticks of a valid schedule after an instant.

    An interval without a start begins at that instant, like a row that is inserted then.
    """
    ticks: list[Previewed] = []
    with suppress(OverflowError):  # beyond the years 1 to 9999, perhaps only on the wall clock
        if schedule.repeat_interval is not None and schedule.start_date is None:
            anchor, schedule = after, schedule._replace(start_date=after)
        else:
            anchor = after + timedelta(microseconds=1)
        for tick in next_from(schedule, tick=None, anchor=anchor.astimezone(UTC), done=0, n=n):
            ticks.append(noted(tick, schedule.timezone))
    return ticks


def next_from(schedule: Schedule, *, tick: datetime | None, anchor: datetime, done: int, n: int) -> list[datetime]:
    """Return ``n`` ticks, the first of which is ``tick``, or the first one after ``anchor`` when it is None.

    ``done`` ticks are over already and count towards ``repeat_count``. Fewer are returned when the schedule ends.
    """
    ticks: list[datetime] = []
    if schedule.repeat_count is not None and done >= schedule.repeat_count:
        return ticks
    with suppress(OverflowError):  # beyond the years 1 to 9999
        following = first_tick(schedule, anchor) if tick is None else tick
        while following is not None and len(ticks) < n:
            ticks.append(following)
            following = next_after(schedule, following, done + len(ticks))
    return ticks


def explain(schedule: Schedule) -> str:
    """Return the schedule in words, with its zone and the rule for clock changes.

    Raises InvalidCron and InvalidTimezone.
    """
    zone = schedule.timezone
    if schedule.cron_expression is None and schedule.repeat_interval is None:
        return "once"
    load_zone(zone)
    if (cron := schedule.cron) is not None:
        return f"{describe(cron)}, {zone} time; {_clock_rule(cron)}"
    interval = schedule.repeat_interval or Interval()
    times = "" if schedule.repeat_count is None else f", {count_words(schedule.repeat_count, 'time')}"
    if interval.months or interval.days:
        return f"every {_length(interval)}{times}; months and days keep the wall clock of {zone}"
    return f"every {_length(interval)}{times}, in elapsed time"


def _length(interval: Interval) -> str:
    """Return ``month``, ``90 days``, ``1 hour 30 minutes``: the words after ``every``."""
    minutes, microseconds = divmod(interval.microseconds, 60_000_000)
    hours, minutes = divmod(minutes, 60)
    seconds, fraction = divmod(microseconds, 1_000_000)
    counts = ((interval.months, "month"), (interval.days, "day"), (hours, "hour"), (minutes, "minute"))
    words = [count_words(number, unit) for number, unit in counts if number]
    if fraction:
        words.append(f"{seconds}.{fraction:06}".rstrip("0") + " seconds")
    elif seconds:
        words.append(count_words(seconds, "second"))
    return words[0].removeprefix("1 ") if len(words) == 1 else " ".join(words)


def _clock_rule(cron: Cron) -> str:
    if cron.options.skipped or cron.options.repeated:
        skipped = "runs right after it" if cron.runs_skipped else "does not run"
        repeated = {"first": "once, the first time", "second": "once, the second time", "both": "both times"}
        return f"what falls in a skipped hour {skipped}, in a repeated hour {repeated[cron.repeated]}"
    if cron.fixed:
        return "fixed times: what falls in a skipped hour runs right after it, in a repeated hour once, the first time"
    return "a wildcard or step: follows elapsed time, so a skipped hour has no ticks and a repeated one has them twice"


def noted(tick: datetime, timezone: str) -> Previewed:
    """Return a tick with its wall clock and the effect of a clock change. Raises InvalidTimezone."""
    zone = load_zone(timezone)
    local = tick.astimezone(zone)
    before = (tick - timedelta(seconds=1)).astimezone(zone)
    note = None
    jump = (local.utcoffset() or timedelta()) - (before.utcoffset() or timedelta())
    if jump > timedelta():
        note = f"the clocks have just gone forward from {(to_wall(tick, zone) - jump):%H:%M} to {local:%H:%M}"
    elif local.fold:
        note = "the second time this hour comes"
    elif to_wall(tick, zone).replace(tzinfo=zone, fold=1).utcoffset() != local.utcoffset():
        note = "this hour comes twice, this is the first time"
    return Previewed(tick, local, note)
