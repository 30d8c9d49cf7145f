"""Ticks that are counted are those that the scheduler walks, around changes of the clocks and at the ends, too."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from pgsched.domain.interval import Interval
from pgsched.domain.scheduling.density import Counts, count_ticks, floor
from pgsched.domain.scheduling.recurrence import Schedule, first_tick, next_after

BACK = datetime(2026, 10, 24, 13, 7, 11, 123456, tzinfo=UTC)
FORWARD = datetime(2026, 3, 28, 13, 7, 11, tzinfo=UTC)
PLAIN = Schedule(None, "UTC", None, None, None, None)


def walked(schedule: Schedule, first: datetime, until: datetime, width: timedelta, done: int) -> Counts:
    counts: Counts = Counter()
    tick: datetime | None = first
    while tick is not None and tick < until:
        counts[floor(tick, width)] += 1
        done += 1
        tick = next_after(schedule, tick, done)
    return counts


@pytest.mark.parametrize("now", [BACK, FORWARD])
@pytest.mark.parametrize(("hours", "minutes"), [(1, 1), (24, 15), (170, 120)])
@pytest.mark.parametrize(
    ("cron", "zone"),
    [
        ("*/5 * * * *", "Europe/Berlin"),
        ("30 2 * * *", "Europe/Berlin"),
        ("15,45 2-3 * * *", "Europe/Berlin"),
        ("*/7 */3 * * *", "America/New_York"),
        ("0 9-17 * * mon-fri", "Europe/Berlin"),
        ("10 1-3 * * * repeated=both skipped=run", "Europe/Berlin"),
        ("*/40 * 9-11 * * *", "Asia/Kathmandu"),
    ],
)
def test_cron(now: datetime, hours: int, minutes: int, cron: str, zone: str) -> None:
    schedule = PLAIN._replace(cron_expression=cron, timezone=zone)
    width, until = timedelta(minutes=minutes), now + timedelta(hours=hours)
    first = first_tick(schedule, now)
    assert first is not None
    assert count_ticks(schedule, first, until, width=width, done=0, start=now) == walked(
        schedule, first, until, width, 0
    )


@pytest.mark.parametrize(
    "interval", [Interval(microseconds=700_000_000), Interval(microseconds=5_000_000), Interval(days=1), Interval(1)]
)
@pytest.mark.parametrize("times", [None, 5, 3000])
def test_intervals(interval: Interval, times: int | None) -> None:
    schedule = PLAIN._replace(repeat_interval=interval, repeat_count=times, timezone="Europe/Berlin")
    width, until = timedelta(minutes=120), BACK + timedelta(days=7)
    assert count_ticks(schedule, BACK, until, width=width, done=2, start=BACK) == walked(
        schedule, BACK, until, width, 2
    )


@pytest.mark.parametrize("cron", ["* * * * *", "0 * * * *", "*/20 * * * * *"])
def test_the_last_tick_may_be_at_the_end(cron: str) -> None:
    end = datetime(2026, 10, 24, 20, 0, tzinfo=UTC)
    schedule = PLAIN._replace(cron_expression=cron, end_date=end)
    first = first_tick(schedule, BACK)
    assert first is not None
    width, until = timedelta(minutes=15), BACK + timedelta(days=1)
    found = count_ticks(schedule, first, until, width=width, done=0, start=BACK)
    assert found == walked(schedule, first, until, width, 0)
    assert found[end] == 1


def test_what_is_overdue_is_counted_now() -> None:
    schedule = PLAIN._replace(cron_expression="0 * * * *")
    found = count_ticks(
        schedule, BACK - timedelta(hours=5), BACK + timedelta(hours=1), width=timedelta(minutes=15), done=0, start=BACK
    )
    assert found == {floor(BACK, timedelta(minutes=15)): 1, datetime(2026, 10, 24, 14, 0, tzinfo=UTC): 1}
