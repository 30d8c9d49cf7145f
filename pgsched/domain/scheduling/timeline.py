"""A timeline of the coming runs: every schedule's ticks and the one-time tasks, counted by buckets of time."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, Final, NamedTuple

from pgsched.domain.errors import InvalidTask
from pgsched.domain.interval import Interval
from pgsched.domain.planned_schedule import PlannedSchedule
from pgsched.domain.records import Record
from pgsched.domain.scheduling.density import Counts, count_ticks, floor
from pgsched.domain.scheduling.preview import calendars_of, explain, next_from
from pgsched.domain.task_status import coming_tick, planned_as
from pgsched.domain.validation import Duration, interval_of, refused, whole

MAX_SCHEDULES: Final = 10_000
"""Maximum number of schedules that are read, the newest first."""
MAX_TASKS: Final = 20_000
"""Maximum number of one-time tasks that are counted."""
MAX_TASKS_EACH: Final = 2_000
"""Maximum number of one-time tasks that are counted for each queue and priority."""
MAX_MARKS: Final = 96
"""A schedule that runs more often than this is shown as bands of time instead of single runs."""
LONGEST: Final = timedelta(days=31)
MOST_BUCKETS: Final = 128
_WIDTHS: Final = tuple(timedelta(seconds=seconds) for seconds in (60, 300, 900, 3_600, 7_200, 21_600))
PILE: Final = 3
"""A bucket with more than this many times the average of the buckets with runs is marked as a pile-up…"""
SMALLEST_PILE: Final = 20
"""… if it has at least this many runs."""
_rows = whole(0, 1_000)


class Band(NamedTuple):
    """A period in which a schedule runs repeatedly."""

    since: datetime
    until: datetime

    def as_dict(self) -> dict[str, Any]:
        """Return it as a JSON-able dictionary."""
        return {"since": _z(self.since), "until": _z(self.until)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket(Record):
    """A bucket of time, and what starts in it."""

    at: datetime
    """Its start; the timeline states its length."""
    ticks: int
    """Runs of schedules."""
    tasks: int
    """One-time tasks."""
    pile_up: bool
    """Whether far more starts here than elsewhere: at least three times the average and at least 20."""
    over: list[str]
    """Queues whose rate limit lets fewer tasks start in this bucket than are due in it."""

    @property
    def runs(self) -> int:
        """The number of runs and tasks that start in it."""
        return self.ticks + self.tasks


@dataclass(frozen=True, slots=True, kw_only=True)
class UpcomingSchedule(Record):
    """One schedule of a timeline."""

    id: int
    task_type: str
    task_name: str | None
    queue: str
    schedule: str
    """The schedule in words, or why its ticks cannot be computed."""
    state: str
    """``active``, ``running``, ``disabled``, ``paused`` (its queue is), ``blocked``, ``dead`` or ``ended``."""
    next_tick: datetime | None
    """The next run; None when it will not run again, or not in its current state."""
    runs: int
    """The number of runs in the period."""
    ticks: list[datetime]
    """The times of the runs; empty when there are more than 96, which ``bands`` summarize."""
    bands: list[Band]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline(Record):
    """What will run from now until a given time."""

    since: datetime
    """Now, by the clock of the database."""
    until: datetime
    bucket_seconds: int
    buckets: list[Bucket]
    runs: int
    """Total runs of schedules, not counting those of paused queues."""
    tasks: int
    """Total one-time tasks."""
    schedules: list[UpcomingSchedule]
    """Schedules in the order of their next run; those that will not run come last."""
    number_of_schedules: int
    schedules_complete: bool
    """False when there are more than 10,000 schedules and only the newest were read."""
    tasks_complete: bool
    """False when there are more tasks than are counted: 20,000 in total and 2,000 for each queue and priority."""
    gap: Band | None
    """The longest period in which nothing starts, if it lasts at least two buckets."""


class Waiting(NamedTuple):
    """One-time tasks that are due later, as counted in the database."""

    by_queue: Mapping[tuple[str, int], int]
    """The number of tasks by queue and index of the bucket."""
    complete: bool


class Rate(NamedTuple):
    """The number of starts that a queue allows in a period."""

    starts: float
    per: timedelta


class Row(NamedTuple):
    """A schedule with its ticks, counted by bucket."""

    one: PlannedSchedule
    left_out: tuple[str, ...]
    first: datetime | None
    done: int
    counts: Counts
    problem: str | None


class Span(NamedTuple):
    """The period of a timeline: from now on, in buckets."""

    now: datetime
    begin: datetime
    width: timedelta
    number: int

    @property
    def until(self) -> datetime:
        """The end of the last bucket."""
        return self.begin + self.number * self.width


def span_of(within: Duration, now: datetime) -> Span:
    """Return a period ahead in buckets of a round length, the first of which contains ``now``. Raises InvalidTask."""
    length = timedelta(seconds=interval_of("within", within).seconds)
    if not timedelta(minutes=1) <= length <= LONGEST:
        raise refused("within", "be between 1 minute and 31 days", within)
    width = next((one for one in _WIDTHS if length / one <= MOST_BUCKETS - 2), _WIDTHS[-1])
    begin = floor(now.astimezone(UTC), width)
    return Span(now, begin, width, -((begin - now - length) // width))


class Plan:
    """All schedules with their ticks in a period ahead, of which timelines show a part."""

    def __init__(
        self, span: Span, schedules: Sequence[PlannedSchedule], calendars: Mapping[str, Collection[str]]
    ) -> None:
        self.span = span
        self.complete = len(schedules) <= MAX_SCHEDULES
        self.rows = sorted((_row(one, span, calendars) for one in schedules[:MAX_SCHEDULES]), key=_order)

    def timeline(
        self,
        waiting: Waiting,
        rates: Mapping[str, Rate],
        *,
        fits: Callable[[PlannedSchedule], bool] | None = None,
        offset: int = 0,
        limit: int = 100,
    ) -> Timeline:
        """Return the timeline with the matching schedules from ``offset`` on. Raises InvalidTask for a limit."""
        _rows("limit", limit)
        rows = self.rows if fits is None else [row for row in self.rows if fits(row.one)]
        width = self.span.width
        summed = self._summed if fits is None else self._sum(rows)
        by_queue = Counter(summed)
        ticks = Counter[int]()
        for (_, place), number in summed.items():
            ticks[place] += number
        tasks = Counter[int]()
        for (queue, place), number in waiting.by_queue.items():
            tasks[place] += number
            by_queue[queue, place] += number
        buckets = self._buckets(ticks, tasks, by_queue, rates)
        return Timeline(
            since=self.span.now,
            until=self.span.until,
            bucket_seconds=int(width.total_seconds()),
            buckets=buckets,
            runs=sum(ticks.values()),
            tasks=sum(tasks.values()),
            schedules=[self._told(row) for row in rows[offset : offset + limit]],
            number_of_schedules=len(rows),
            schedules_complete=self.complete,
            tasks_complete=waiting.complete,
            gap=_longest_gap(buckets, width),
        )

    @cached_property
    def _summed(self) -> Mapping[tuple[str, int], int]:
        return self._sum(self.rows)

    def _sum(self, rows: Sequence[Row]) -> Mapping[tuple[str, int], int]:
        """Return the number of ticks by queue and index of the bucket, without paused queues."""
        begin, width = self.span.begin, self.span.width
        by_time: dict[str, Counts] = defaultdict(Counter)
        for row in rows:
            if not row.one.paused:
                counts = by_time[row.one.queue]
                for at, number in row.counts.items():
                    counts[at] += number
        return {
            (queue, (at - begin) // width): number for queue, counts in by_time.items() for at, number in counts.items()
        }

    def _buckets(
        self,
        ticks: Mapping[int, int],
        tasks: Mapping[int, int],
        by_queue: Mapping[tuple[str, int], int],
        rates: Mapping[str, Rate],
    ) -> list[Bucket]:
        begin, width, number = self.span.begin, self.span.width, self.span.number
        sums = [ticks.get(place, 0) + tasks.get(place, 0) for place in range(number)]
        busy = sum(one > 0 for one in sums)
        bound = max(PILE * sum(sums) / busy, SMALLEST_PILE) if busy else SMALLEST_PILE
        over: dict[int, list[str]] = {}
        for (queue, place), due in sorted(by_queue.items()):
            if queue in rates and due > rates[queue].starts * (width / rates[queue].per):
                over.setdefault(place, []).append(queue)
        return [
            Bucket(
                at=begin + place * width,
                ticks=ticks.get(place, 0),
                tasks=tasks.get(place, 0),
                pile_up=sums[place] > bound or (sums[place] == bound == SMALLEST_PILE and busy > 1),
                over=over.get(place, []),
            )
            for place in range(number)
        ]

    def _told(self, row: Row) -> UpcomingSchedule:
        one, runs = row.one, row.counts.total()
        schedule = planned_as(one, row.left_out)
        ticks: list[datetime] = []
        if row.first is not None and 0 < runs <= MAX_MARKS:
            found = next_from(schedule, tick=row.first, anchor=self.span.now, done=row.done, n=runs)
            ticks = [at for at in found if at < self.span.until]
        return UpcomingSchedule(
            id=one.id,
            task_type=one.task_type,
            task_name=one.task_name,
            queue=one.queue,
            schedule=row.problem or explain(schedule),
            state=one.state,
            next_tick=row.first,
            runs=runs,
            ticks=ticks,
            bands=[] if ticks else _bands(row.counts, self.span.width),
        )


def _row(one: PlannedSchedule, span: Span, calendars: Mapping[str, Collection[str]]) -> Row:
    names = calendars_of(one.cron_expression) if one.cron_expression and "@" in one.cron_expression else frozenset()
    left_out = tuple(sorted({day for name in names for day in calendars.get(name, ())}))
    schedule = planned_as(one, left_out)
    try:
        first, done = coming_tick(one, schedule, span.now)
        counts = Counts()
        if first is not None:
            counts = count_ticks(schedule, first, span.until, width=span.width, done=done, start=span.now)
    except InvalidTask as error:
        return Row(one, left_out, None, 0, Counts(), str(error))
    return Row(one, left_out, first, done, counts, None)


def _order(row: Row) -> tuple[bool, datetime, int]:
    return row.first is None, row.first or row.one.planned_from, row.one.id


def _bands(counts: Counts, width: timedelta) -> list[Band]:
    bands: list[Band] = []
    for at in sorted(counts):
        if bands and bands[-1].until == at:
            bands[-1] = Band(bands[-1].since, at + width)
        else:
            bands.append(Band(at, at + width))
    return bands


def _longest_gap(buckets: Iterable[Bucket], width: timedelta) -> Band | None:
    empty = Counts({one.at: 1 for one in buckets if not one.runs})
    longest = max(_bands(empty, width), key=lambda band: band.until - band.since, default=None)
    return longest if longest is not None and longest.until - longest.since >= 2 * width else None


def rate_of(limits: Mapping[str, Any], per: Interval | None) -> Rate | None:
    """Return the rate limit of a queue with these limits; None when it has none."""
    starts = limits.get("rate")
    seconds = 1.0 if per is None else per.seconds
    return Rate(float(starts), timedelta(seconds=seconds)) if starts is not None and seconds > 0 else None


def _z(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
