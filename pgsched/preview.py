"""What a schedule will do, before it is in the table."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from pgsched.cron import Cron, parse_cron
from pgsched.cron_words import describe
from pgsched.errors import InvalidTask
from pgsched.schedule import Schedule, first_tick, next_after, validate
from pgsched.spec import Duration, interval_of
from pgsched.zones import load_zone, to_wall

MAX_TICKS = 10_000


class Previewed(NamedTuple):
    """One tick of a preview."""

    at: datetime
    """The instant, in UTC."""
    local: datetime
    """The same on the wall clock of the schedule's zone, aware."""
    note: str | None
    """What the clocks do to it; None on an ordinary day."""


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
) -> list[datetime]:
    """Return the next ``n`` ticks of a schedule, as instants in UTC; fewer when it ends before.

    ``cron`` is an expression, ``every`` an interval as in ``schedule()``; ticks are those after ``after`` (aware; now
    when None). An interval is counted from ``start``, else from ``after``.
    Raises InvalidCron, InvalidTimezone and InvalidTask.
    """
    ticks = preview_ticks(cron, every=every, timezone=timezone, after=after, start=start, end=end, times=times, n=n)
    return [tick.at for tick in ticks]


def preview_ticks(
    cron: str | None = None,
    *,
    every: Duration | None = None,
    timezone: str = "UTC",
    after: datetime | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
    times: int | None = None,
    n: int = 5,
) -> list[Previewed]:
    """As :func:`preview`, with the wall-clock time of each tick and what a change of the clocks does to it."""
    if not 1 <= n <= MAX_TICKS:
        raise InvalidTask(f"n must be between 1 and {MAX_TICKS}, got {n}")
    for name, moment in (("after", after), ("start", start), ("end", end)):
        if moment is not None and moment.tzinfo is None:
            raise InvalidTask(f"{name} must have a time zone, got {moment}")
    schedule = schedule_of(cron, every=every, timezone=timezone, start=start, end=end, times=times)
    return ticks_of(schedule, after=after or datetime.now(UTC), n=n)


def schedule_of(
    cron: str | None = None,
    *,
    every: Duration | None = None,
    timezone: str = "UTC",
    start: datetime | None = None,
    end: datetime | None = None,
    times: int | None = None,
) -> Schedule:
    """Return the options of a schedule as the value that is planned by. Raises as :func:`preview`."""
    schedule = Schedule(
        cron_expression=cron,
        timezone=timezone,
        start_date=start,
        end_date=end,
        repeat_interval=None if every is None else interval_of("every", every),
        repeat_count=times,
        on_missed="once",
        catchup_window=None,
    )
    validate(schedule)
    return schedule


def ticks_of(schedule: Schedule, *, after: datetime, n: int) -> list[Previewed]:
    """Return the next ``n`` ticks of a valid schedule after an instant."""
    anchor = after + timedelta(microseconds=1) if schedule.cron_expression is not None else after
    return [_noted(schedule, tick) for tick in next_from(schedule, tick=None, anchor=anchor, done=0, n=n)]


def next_from(schedule: Schedule, *, tick: datetime | None, anchor: datetime, done: int, n: int) -> list[datetime]:
    """Return ``n`` ticks from ``tick`` on, which is the first; from the first one after ``anchor`` when it is None.

    ``done`` ticks are over already and count towards ``repeat_count``. Fewer are returned when the schedule ends.
    """
    following = first_tick(schedule, anchor) if tick is None else tick
    ticks: list[datetime] = []
    while following is not None and len(ticks) < n:
        ticks.append(following)
        following = next_after(schedule, following, done + len(ticks))
    return ticks


def explain(schedule: Schedule) -> str:
    """Return the schedule in words, with the zone and the rule that decides when the clocks change.

    Raises InvalidCron and InvalidTimezone.
    """
    zone = schedule.timezone
    if schedule.cron_expression is not None:
        cron = parse_cron(schedule.cron_expression)
        return f"{describe(cron)}, {zone} time; {_clock_rule(cron)}"
    interval = schedule.repeat_interval
    if interval is None:
        return "once"
    times = "" if schedule.repeat_count is None else f", {schedule.repeat_count} times"
    if interval.months or interval.days:
        return f"every {interval.to_text()}{times}; months and days keep the wall clock of {zone}"
    return f"every {interval.to_text()}{times}, in elapsed time"


def _clock_rule(cron: Cron) -> str:
    if cron.fixed:
        return "fixed times: what falls in a skipped hour runs right after it, in a repeated hour once, the first time"
    return "a wildcard or step: follows elapsed time, so a skipped hour has no ticks and a repeated one has them twice"


def _noted(schedule: Schedule, tick: datetime) -> Previewed:
    zone = load_zone(schedule.timezone)
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
