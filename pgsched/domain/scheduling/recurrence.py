"""When a recurring or repeating task ticks, and what happens to ticks that have passed.

Nothing here reads a clock: every function receives its instants (aware datetimes) and returns instants in UTC.
A tick is always computed from the tick before or from the start of the grid, never from the time at which something
happened to run, so a late start shifts nothing.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

from pgsched.domain.errors import InvalidTask
from pgsched.domain.interval import Interval
from pgsched.domain.scheduling.cron import Cron, next_tick, parse_cron, previous_tick
from pgsched.domain.scheduling.interval_grid import Grid
from pgsched.domain.scheduling.time_zones import load_zone

# A tick that starts later than this counts as missed. A healthy worker starts one within a second and polls
# every five seconds (the poll interval), so ten seconds are two polls: more means that nothing ran.
MISSED_AFTER = timedelta(seconds=10)

# Cron ticks that passed are counted one by one up to this number; a higher count reads "at least".
COUNT_LIMIT = 1_000

LAST = datetime(9999, 12, 31, tzinfo=UTC)
"""The tables, and every language that reads them, hold instants before this one; a schedule ends here."""

_MICROSECOND = timedelta(microseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Schedule(NamedTuple):
    """The schedule columns of one recurring (``cron_expression``) or repeating (``repeat_interval``) task."""

    cron_expression: str | None
    timezone: str
    start_date: datetime | None
    end_date: datetime | None
    repeat_interval: Interval | None
    repeat_count: int | None
    on_missed: str = "once"
    catchup_window: Interval | None = None
    jitter: Interval | None = None
    task_id: int = 0
    """The key by which jitter is spread."""
    planned_from: datetime | None = None
    """Ticks before this one belong to an earlier version of the schedule; None when it was never edited."""
    left_out: tuple[str, ...] = ()
    """The dates of the calendars that the expression names."""

    @property
    def cron(self) -> Cron | None:
        """The parsed cron expression; None for a repeat interval. Raises InvalidCron."""
        return None if self.cron_expression is None else parse_cron(self.cron_expression, frozenset(self.left_out))


class Admission(NamedTuple):
    """What to do with a due tick that was claimed for its first attempt.

    ``run`` is the tick to run now, possibly a later one than was claimed; when it is None nothing runs and
    ``next_tick`` is scheduled (None when the schedule is over). ``missed`` is the number of dropped ticks.
    """

    run: datetime | None
    next_tick: datetime | None
    missed: int


class Booking(NamedTuple):
    """The tick to schedule after one finished (None when the schedule is over), and the number dropped in between."""

    next_tick: datetime | None
    overlapped: int


def first_tick(schedule: Schedule, anchor: datetime) -> datetime | None:
    """Return the first tick of a schedule that was created or changed at ``anchor``; None when it is past ``end_date``
    or not before ``LAST``.

    Cron: the first tick at or after both ``anchor`` and ``start_date``. Repeating: the grid starts at ``start_date``,
    or at ``anchor`` when there is none, and advances by ``repeat_interval``; the result is the first grid point at or
    after ``anchor``.
    """
    return _ends(schedule, _tick_from(schedule, anchor, schedule.start_date or anchor))


def next_after(schedule: Schedule, tick: datetime, ticks_done: int) -> datetime | None:
    """Return the nominal tick after ``tick``; None when it is past ``end_date``, not before ``LAST``, or
    ``repeat_count`` is reached.

    ``ticks_done`` is the number of ticks finished, ``tick`` included. Missed ticks do not count:
    a task with ``repeat_count`` runs that many times.

    The months and days of a repeat interval follow the wall clock of the task's zone: a time in a gap runs at the end
    of the gap, a time in a fold in the first pass. Microseconds are elapsed time. A day that a month does not have is
    clamped to its last one, as in PostgreSQL. With a ``start_date`` every tick is computed from it: one month after
    the 31st of January is the 28th of February, then the 31st of March. Without one each tick is computed from the
    tick before, so clamping and gaps persist: the 28th of March.
    """
    if schedule.repeat_count is not None and ticks_done >= schedule.repeat_count:
        return None
    return _after(schedule, tick, tick)


def admit(schedule: Schedule, tick: datetime, due: datetime, now: datetime, ticks_done: int) -> Admission:
    """Decide what to do with a ``tick``, ``due`` since a moment, that was claimed for its first attempt at ``now``.

    ``ticks_done`` is the number of ticks finished before. Lateness is measured from when a tick is due, its jitter
    included. A tick is missed when it is more than MISSED_AFTER late, or when a later one is also due. A tick that is
    not missed runs. Otherwise ``on_missed`` decides:

    - ``once``: all ticks that passed become one run of the latest; the others count as missed. When even
      the latest is older than ``catchup_window``, nothing runs.
    - ``skip``: missed ticks are not run. The latest tick still runs when it is not late itself, so that a schedule
      whose interval is shorter than the delay of a start does not starve.
    - ``all``: every tick runs, one after the other. Those older than ``catchup_window`` are dropped.

    ``missed`` is the number of dropped ticks; for cron it stops at COUNT_LIMIT and then means "at least".
    """
    if schedule.repeat_count is not None and ticks_done >= schedule.repeat_count:
        return Admission(None, None, 0)
    is_late = is_catchup(due, now)
    following = _after(schedule, tick, tick)  # cached: the common case, and the fast one
    if not is_late and (following is None or following > now):
        return Admission(tick, None, 0)
    latest = _latest(schedule, tick, now)
    if latest == tick and not is_late:
        return Admission(tick, None, 0)
    oldest = _oldest(schedule, now)
    if schedule.on_missed == "all":
        return _admit_all(schedule, tick, due, now, oldest)
    if latest != tick:
        due = due_at(schedule, latest)
    missed = _count(schedule, tick, latest)
    runs = not is_catchup(due, now) if schedule.on_missed == "skip" else due >= oldest
    if runs:
        return Admission(latest, None, missed - 1)
    return Admission(None, _after(schedule, tick, latest), missed)


def _oldest(schedule: Schedule, now: datetime) -> datetime:
    """Return the instant before which a tick is no longer caught up."""
    if schedule.catchup_window is not None:
        try:
            return now - timedelta(seconds=schedule.catchup_window.seconds)
        except OverflowError:
            pass
    return datetime.min.replace(tzinfo=UTC)


def _admit_all(schedule: Schedule, tick: datetime, due: datetime, now: datetime, oldest: datetime) -> Admission:
    if due >= oldest:
        return Admission(tick, None, 0)
    last_dropped = _latest(schedule, tick, oldest - _MICROSECOND)
    missed = _count(schedule, tick, last_dropped)
    inside = _after(schedule, tick, last_dropped)
    if inside is not None and due_at(schedule, inside) <= now:
        return Admission(inside, None, missed)
    return Admission(None, inside, missed)


def is_catchup(due: datetime, now: datetime) -> bool:
    """Whether a tick that was ``due`` and starts at ``now`` is more than MISSED_AFTER late."""
    return now - due > MISSED_AFTER


def book(schedule: Schedule, tick: datetime, started: datetime, finished: datetime, ticks_done: int) -> Booking:
    """Return the tick to schedule after ``tick`` ran from ``started`` to ``finished``; ``ticks_done`` includes it.

    A next tick that was due before the start was missed, not overlapped: it is scheduled unchanged, and
    ``admit`` decides when it is claimed. Ticks that came due during the run are dropped and counted
    (``overlap`` = skip), and the first one after them is scheduled. For cron the count stops at COUNT_LIMIT.
    """
    following = next_after(schedule, tick, ticks_done)
    if following is None or following > finished or not started < due_at(schedule, following) <= finished:
        return Booking(following, 0)
    last = _latest(schedule, following, finished)
    return Booking(_after(schedule, following, last), _count(schedule, following, last))


def due_at(schedule: Schedule, tick: datetime) -> datetime:
    """Return when a tick is due: later by its share of the jitter, which is spread evenly over [0, ``jitter``).

    The result depends on the task and the tick only (``pgsched.due_at`` in SQL agrees). Never as far as ``LAST``.
    """
    if schedule.jitter is None:
        return tick
    key = f"{schedule.task_id}:{(tick - _EPOCH) // _MICROSECOND}".encode()
    # A float holds more than 52 bits exactly, so the quotient stays below 1.
    share = int(hashlib.sha256(key).hexdigest()[:13], 16) / 2**52
    return tick + timedelta(seconds=share * min(schedule.jitter.seconds, (LAST - tick).total_seconds()))


# --- the ticks of a schedule, whatever its repeat_count ---


def _after(schedule: Schedule, tick: datetime, moment: datetime) -> datetime | None:
    """Return the first tick strictly after ``moment``, on the grid that ``tick`` belongs to."""
    return _ends(schedule, _tick_from(schedule, moment + _MICROSECOND, schedule.start_date or tick))


def _grid(schedule: Schedule, origin: datetime) -> Grid:
    if schedule.repeat_interval is None:
        raise InvalidTask("a schedule must have either a cron_expression or a repeat_interval")
    return Grid(origin.astimezone(UTC), schedule.repeat_interval, load_zone(schedule.timezone))


def _ends(schedule: Schedule, tick: datetime | None) -> datetime | None:
    past = tick is None or tick >= LAST or (schedule.end_date is not None and tick > schedule.end_date)
    return None if past else tick


def _tick_from(schedule: Schedule, moment: datetime, origin: datetime) -> datetime | None:
    """Return the first tick at or after ``moment``, ``start_date`` and ``planned_from``; ``origin`` starts a grid."""
    zone = load_zone(schedule.timezone)
    moment = max(moment, schedule.planned_from or moment)
    if schedule.cron_expression is not None:
        earliest = max(moment, schedule.start_date or moment)
        return _cron_tick(schedule.cron_expression, schedule.left_out, zone, earliest - _MICROSECOND)
    grid = _grid(schedule, origin)
    return grid.point(grid.index_from(moment))


@lru_cache(maxsize=16384)
def _cron_tick(expression: str, left_out: tuple[str, ...], zone: ZoneInfo, after: datetime) -> datetime | None:
    # Thousands of schedules share an expression and a minute.
    return next_tick(parse_cron(expression, frozenset(left_out)), zone, after)


def _latest(schedule: Schedule, tick: datetime, moment: datetime) -> datetime:
    """Return the last tick that is due at ``moment``, at least ``tick``."""
    until = moment if schedule.end_date is None else min(moment, schedule.end_date)
    first = max(tick + _MICROSECOND, schedule.planned_from or tick)
    while (latest := _tick_until(schedule, until, schedule.start_date or tick)) is not None and latest >= first:
        if due_at(schedule, latest) <= moment:
            return latest
        until = latest - _MICROSECOND
    return tick


def _tick_until(schedule: Schedule, moment: datetime, origin: datetime) -> datetime | None:
    """Return the last tick at or before ``moment``; the grid starts at ``origin``."""
    if (cron := schedule.cron) is not None:
        return previous_tick(cron, load_zone(schedule.timezone), moment)
    grid = _grid(schedule, origin)
    index = grid.index_from(moment + _MICROSECOND) - 1
    return grid.point(index) if index >= 0 else None


def _count(schedule: Schedule, first: datetime, last: datetime) -> int:
    """Return the number of ticks from ``first`` to ``last``, inclusive; for cron at most COUNT_LIMIT."""
    if last < first:
        return 0
    if schedule.cron_expression is None:
        grid = _grid(schedule, schedule.start_date or first)
        second = max(first + _MICROSECOND, schedule.planned_from or first)
        return 1 + max(0, grid.index_from(last + _MICROSECOND) - grid.index_from(second))
    count, tick = 1, _after(schedule, first, first)
    while tick is not None and tick <= last and count < COUNT_LIMIT:
        count, tick = count + 1, _after(schedule, first, tick)
    return count
