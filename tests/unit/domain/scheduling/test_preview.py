"""What a schedule will do, told before it is in the table: ticks, notes about the clocks, words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgsched.domain.attempt import Outcome
from pgsched.domain.errors import InvalidCron, InvalidTask, InvalidTimezone
from pgsched.domain.interval import Interval
from pgsched.domain.lifecycle import Admitted, conclude, judge
from pgsched.domain.scheduling.preview import (
    MAX_TICKS,
    Previewed,
    explain,
    next_from,
    preview,
    schedule_of,
    ticks_of,
)
from pgsched.domain.scheduling.recurrence import Schedule, due_at, first_tick
from tests.support import crons
from tests.support.engine import claimed

BERLIN = "Europe/Berlin"


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


NOON = utc("2026-06-01T12:00")


def shown(ticks: list[datetime]) -> list[str]:
    assert all(tick.tzinfo is UTC for tick in ticks)
    return [tick.strftime("%m-%d %H:%M") for tick in ticks]


def ticks(cron: str | None = None, **options: Any) -> list[str]:
    return shown(preview(cron, **{"after": NOON} | options))


def preview_ticks(
    cron: str | None, *, after: datetime = NOON, n: int = 5, timezone: str = BERLIN, **options: Any
) -> list[Previewed]:
    """The ticks as faces show them."""
    return ticks_of(schedule_of(cron, timezone=timezone, **options), after=after, n=n)


def notes(cron: str | None = None, **options: Any) -> list[tuple[str, str | None]]:
    """Wall-clock time and note of each tick in Berlin."""
    found = preview_ticks(cron, **options)
    return [(tick.local.strftime("%m-%d %H:%M"), tick.note) for tick in found]


# Which ticks.


def test_cron_ticks_are_five_unless_another_number_is_asked() -> None:
    assert ticks("0 8 * * *") == [f"06-0{day} 08:00" for day in range(2, 7)]
    assert ticks("0 8 * * *", n=2) == ["06-02 08:00", "06-03 08:00"]


def test_cron_ticks_are_strictly_after_the_instant() -> None:
    assert ticks("0 12 * * *", n=1) == ["06-02 12:00"]
    assert ticks("0 12 * * *", n=1, after=NOON - timedelta(microseconds=1)) == ["06-01 12:00"]


def test_six_fields_have_seconds_first() -> None:
    found = preview("*/20 * * * * *", after=NOON, n=3)
    assert found == [NOON + timedelta(seconds=seconds) for seconds in (20, 40, 60)]


def test_cron_is_read_in_the_zone_and_told_in_utc() -> None:
    assert ticks("0 8 * * *", timezone=BERLIN, n=1) == ["06-02 06:00"]


def test_an_interval_begins_after_without_a_start() -> None:
    assert ticks(every="90m", n=3) == ["06-01 12:00", "06-01 13:30", "06-01 15:00"]


def test_an_interval_is_counted_from_its_start() -> None:
    assert ticks(every="2h", start=utc("2026-06-01T01:00"), n=2) == ["06-01 13:00", "06-01 15:00"]
    assert ticks(every="2h", start=utc("2026-07-01T01:00"), n=2) == ["07-01 01:00", "07-01 03:00"]


def test_the_ticks_of_an_interval_with_a_start_are_strictly_after_the_instant() -> None:
    assert ticks(every="2h", start=NOON, n=1) == ["06-01 14:00"]


@pytest.mark.parametrize("options", [{"cron": "0 8 * * *"}, {"every": "7h", "start": NOON}])
def test_the_ticks_after_the_last_one_go_on_where_it_ended(options: dict[str, Any]) -> None:
    whole = preview(**options, after=NOON, n=6)
    assert preview(**options, after=whole[2], n=3) == whole[3:]


def test_an_instant_in_another_zone_is_the_same_instant() -> None:
    tokyo = NOON.astimezone(timezone(timedelta(hours=9)))
    assert ticks("0 * * * *", after=tokyo) == ticks("0 * * * *")
    assert ticks(every="1h", after=tokyo) == ticks(every="1h")
    assert ticks(every="1h", start=tokyo) == ticks(every="1h", start=NOON)


@pytest.mark.parametrize("every", [3600, timedelta(hours=1), "1h", Interval(microseconds=3_600_000_000)])
def test_an_interval_may_be_written_in_every_way_that_schedule_takes(every: Any) -> None:
    assert ticks(every=every, n=2) == ["06-01 12:00", "06-01 13:00"]


def test_cron_has_no_tick_before_its_start_and_one_at_it() -> None:
    assert ticks("0 8 * * *", start=utc("2026-07-01T08:00"), n=1) == ["07-01 08:00"]
    assert ticks("0 8 * * *", start=utc("2026-07-01T08:01"), n=1) == ["07-02 08:00"]


def test_a_tick_at_the_end_is_the_last() -> None:
    assert ticks("0 8 * * *", end=utc("2026-06-03T08:00")) == ["06-02 08:00", "06-03 08:00"]
    assert ticks(every="1d", end=utc("2026-06-02T11:59")) == ["06-01 12:00"]


def test_a_schedule_that_is_over_has_no_ticks() -> None:
    assert ticks("0 8 * * *", end=NOON) == []
    assert ticks(every="1d", start=NOON - timedelta(days=9), end=NOON - timedelta(days=1)) == []


def test_times_end_an_interval() -> None:
    assert ticks(every="1h", times=2) == ["06-01 12:00", "06-01 13:00"]


def test_a_month_that_has_no_such_day_has_its_last() -> None:
    start = utc("2030-01-31T09:00")
    found = preview(every="1mo", start=start, after=start - timedelta(days=1), n=5)
    assert shown(found) == ["01-31 09:00", "02-28 09:00", "03-31 09:00", "04-30 09:00", "05-31 09:00"]


def test_days_keep_the_wall_clock_and_hours_do_not() -> None:
    evening = utc("2026-03-28T11:00")  # noon in Berlin, the day before the clocks go forward
    assert ticks(every="1d", timezone=BERLIN, after=evening, n=2) == ["03-28 11:00", "03-29 10:00"]
    assert ticks(every="24h", timezone=BERLIN, after=evening, n=2) == ["03-28 11:00", "03-29 11:00"]


def test_without_an_instant_they_are_the_ticks_after_now() -> None:
    before = datetime.now(UTC)
    (tick,) = preview("* * * * * *", n=1)
    assert before < tick <= datetime.now(UTC) + timedelta(seconds=1)


def test_a_rare_tick_is_found() -> None:
    assert [tick.year for tick in preview("0 0 29 2 *", after=NOON, n=3)] == [2028, 2032, 2036]


@pytest.mark.parametrize("options", [{"cron": "* * * * *"}, {"every": "1h"}, {"every": "1mo"}])
@pytest.mark.parametrize("zone", ["UTC", "Pacific/Auckland", "America/New_York"])
@pytest.mark.parametrize("before_the_end", [0, 3, 30])
def test_ticks_end_with_the_calendar(options: dict[str, Any], zone: str, before_the_end: int) -> None:
    last = datetime.max.replace(tzinfo=UTC)
    found = preview(**options, timezone=zone, after=last - timedelta(hours=before_the_end), n=MAX_TICKS)
    assert all(tick <= last for tick in found)


# What is refused.


@pytest.mark.parametrize("n", [0, -1, MAX_TICKS + 1])
def test_a_number_of_ticks_out_of_bounds_is_refused(n: int) -> None:
    with pytest.raises(InvalidTask, match=rf"n must be between 1 and 10000, got {n}"):
        preview("0 8 * * *", n=n)


def test_the_highest_number_of_ticks_is_told() -> None:
    assert len(preview("* * * * *", after=NOON, n=MAX_TICKS)) == MAX_TICKS


@pytest.mark.parametrize("name", ["after", "start", "end"])
def test_a_time_without_a_zone_is_refused(name: str) -> None:
    naive: Any = {name: datetime(2026, 6, 1)}
    with pytest.raises(InvalidTask, match=f"{name} must have a time zone"):
        preview("0 8 * * *", **naive)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({}, InvalidTask, "either cron or every"),
        ({"cron": "0 8 * * *", "every": "1h"}, InvalidTask, "cron and every exclude each other"),
        ({"cron": "61 * * * *"}, InvalidCron, "minute"),
        ({"cron": "0 0 31 2 *"}, InvalidCron, "can never fire"),
        ({"cron": ""}, InvalidCron, "5 fields"),
        ({"cron": "0 8 * * *", "timezone": "Mars/Olympus"}, InvalidTimezone, "Mars/Olympus"),
        ({"every": "1h", "timezone": "+02:00"}, InvalidTimezone, "IANA"),
        ({"every": "soon"}, InvalidTask, "soon"),
        ({"every": 0}, InvalidTask, "every must be at least 1 millisecond"),
        ({"every": -1}, InvalidTask, "every must not be negative"),
        ({"every": "1h", "times": 0}, InvalidTask, "times must be at least 1"),
        ({"cron": "0 8 * * *", "times": 3}, InvalidTask, "times needs every"),
        ({"cron": "0 8 * * *", "start": NOON, "end": NOON - timedelta(1)}, InvalidTask, "end must not be before start"),
    ],
)
def test_what_schedule_refuses_is_refused(options: Any, error: type[InvalidTask], words: str) -> None:
    with pytest.raises(error, match=words):
        preview(**options)
    with pytest.raises(error, match=words):
        schedule_of(**options)


# Where the clocks change.


def test_an_ordinary_day_has_no_note() -> None:
    (tick,) = preview_ticks("30 2 * * *", timezone=BERLIN, after=NOON, n=1)
    assert (tick.at, tick.note) == (utc("2026-06-02T00:30"), None)
    assert tick.local.isoformat() == "2026-06-02T02:30:00+02:00"


def test_a_fixed_time_in_the_gap_fires_when_it_ends_and_says_so() -> None:
    assert notes("30 2 * * *", after=utc("2026-03-28T12:00"), n=2) == [
        ("03-29 03:00", "the clocks have just gone forward from 02:00 to 03:00"),
        ("03-30 02:30", None),
    ]


def test_a_rhythm_does_not_fire_for_the_gap() -> None:
    assert notes("*/20 2 * * *", after=utc("2026-03-28T12:00"), n=2) == [("03-30 02:00", None), ("03-30 02:20", None)]


def test_a_fixed_time_in_the_fold_fires_once_in_the_first_pass() -> None:
    assert notes("30 2 * * *", after=utc("2026-10-24T12:00"), n=2) == [
        ("10-25 02:30", "this hour comes twice, this is the first time"),
        ("10-26 02:30", None),
    ]


def test_a_rhythm_fires_in_both_passes_of_the_fold() -> None:
    assert notes("*/30 * * * *", after=utc("2026-10-24T23:30"), n=6) == [
        ("10-25 02:00", "this hour comes twice, this is the first time"),
        ("10-25 02:30", "this hour comes twice, this is the first time"),
        ("10-25 02:00", "the second time this hour comes"),
        ("10-25 02:30", "the second time this hour comes"),
        ("10-25 03:00", None),
        ("10-25 03:30", None),
    ]


def test_a_day_of_an_interval_that_meets_the_gap_is_noted_and_the_next_is_itself_again() -> None:
    start = utc("2026-03-28T01:30")  # 02:30 in Berlin
    assert notes(every="1d", start=start, after=start, n=2) == [
        ("03-29 03:00", "the clocks have just gone forward from 02:00 to 03:00"),
        ("03-30 02:30", None),
    ]


def test_a_change_of_half_an_hour_is_noted() -> None:
    ticks = preview_ticks("15 2 * * *", timezone="Australia/Lord_Howe", after=utc("2026-10-02T12:00"), n=2)
    assert [tick.note for tick in ticks] == [None, "the clocks have just gone forward from 02:00 to 02:30"]


def test_both_passes_are_two_instants_in_their_order() -> None:
    found = preview_ticks("0 * * * *", timezone=BERLIN, after=utc("2026-10-24T23:30"), n=2)
    assert shown([tick.at for tick in found]) == ["10-25 00:00", "10-25 01:00"]
    assert [tick.local.utcoffset() for tick in found] == [timedelta(hours=2), timedelta(hours=1)]


# From a tick that is known.


def test_next_from_begins_with_the_tick_itself() -> None:
    found = next_from(schedule_of("0 8 * * *"), tick=utc("2026-06-02T08:00"), anchor=NOON, done=0, n=2)
    assert shown(found) == ["06-02 08:00", "06-03 08:00"]


def test_next_from_without_a_tick_begins_at_the_anchor() -> None:
    assert shown(next_from(schedule_of("0 12 * * *"), tick=None, anchor=NOON, done=0, n=1)) == ["06-01 12:00"]


@pytest.mark.parametrize("tick", [None, NOON])
@pytest.mark.parametrize(("done", "left"), [(0, 3), (1, 2), (2, 1), (3, 0), (4, 0)])
def test_next_from_counts_what_is_done_towards_the_times(tick: datetime | None, done: int, left: int) -> None:
    found = next_from(schedule_of(every="1h", times=3), tick=tick, anchor=NOON, done=done, n=5)
    assert found == [NOON + timedelta(hours=hours) for hours in range(left)]


# In words.


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"cron": "0 8 * * *", "timezone": BERLIN}, "every day at 08:00, Europe/Berlin time; fixed times: "),
        ({"cron": "*/5 * * * *"}, "every 5 minutes, UTC time; a wildcard or step: "),
        ({"cron": "0 8 * * mon-fri"}, "at 08:00 on Monday to Friday, UTC time; fixed times: "),
        ({"every": "1h"}, "every hour, in elapsed time"),
        ({"every": "90m"}, "every 1 hour 30 minutes, in elapsed time"),
        ({"every": "24h"}, "every 24 hours, in elapsed time"),
        ({"every": 1}, "every second, in elapsed time"),
        ({"every": "250ms"}, "every 0.25 seconds, in elapsed time"),
        ({"every": "1.5"}, "every 1.5 seconds, in elapsed time"),
        ({"every": "61s", "times": 1}, "every 1 minute 1 second, 1 time, in elapsed time"),
        ({"every": "1w", "times": 3}, "every 7 days, 3 times; months and days keep the wall clock of UTC"),
        (
            {"every": "1mo", "timezone": BERLIN},
            "every month; months and days keep the wall clock of Europe/Berlin",
        ),
    ],
)
def test_a_schedule_is_explained_in_words(options: Any, words: str) -> None:
    assert explain(schedule_of(**options)).startswith(words)


def test_one_time_is_explained_as_once() -> None:
    assert explain(schedule_of("0 8 * * *")._replace(cron_expression=None)) == "once"


def test_what_cannot_be_planned_is_not_explained() -> None:
    schedule = schedule_of("0 8 * * *")
    with pytest.raises(InvalidCron, match="can never fire"):
        explain(schedule._replace(cron_expression="0 0 31 2 *"))
    with pytest.raises(InvalidTimezone, match="Mars/Olympus"):
        explain(schedule._replace(timezone="Mars/Olympus"))


# What a row does.


def test_an_interval_of_months_begins_at_the_instant_and_keeps_its_day() -> None:
    assert ticks(every="1mo", after=utc("2027-01-31T09:00"), n=3) == ["01-31 09:00", "02-28 09:00", "03-31 09:00"]


def fired(schedule: Schedule, created: datetime, jitter: Interval | None, n: int) -> list[datetime]:
    """The first ticks that a row runs which is inserted at an instant, when workers claim and finish it at once."""
    if schedule.repeat_interval is not None and schedule.start_date is None:
        schedule = schedule._replace(start_date=created)  # by the trigger of the INSERT
    columns = schedule._replace(planned_from=created, jitter=jitter)._asdict()
    row = claimed(id=columns.pop("task_id"), **columns)
    tick = first_tick(row.schedule, created)  # by the trigger of the INSERT
    ran: list[datetime] = []
    while tick is not None and len(ran) < n:
        now = due_at(row.schedule, tick)
        verdict = judge(row._replace(scheduled_for=tick, next_run_at=now, execution_count=len(ran)), now)
        assert isinstance(verdict, Admitted), verdict
        assert verdict.task.scheduled_for == tick
        ran.append(tick)
        outcome = Outcome("completed", 0.0, 0.0)
        tick = conclude(verdict.task, outcome, at=lambda _, now=now: now, random=lambda: 0.5).next_tick  # type: ignore[misc]
    return ran


@settings(max_examples=400, deadline=None)
@given(st.randoms(use_true_random=False))
def test_a_preview_shows_what_a_row_fires(random: Random) -> None:
    created = crons.instant(random)
    start = random.choice([None, created + timedelta(days=random.uniform(-900, 900))])
    end = random.choice([None, None, max(created, start or created) + timedelta(days=random.uniform(0, 900))])
    step, times = crons.interval(random), random.choice([None, 1, 2, 3, 9])
    cron = crons.expression(random)
    kind: dict[str, Any] = random.choice([{"cron": cron}, {"every": step, "times": times}])
    try:
        schedule = schedule_of(**kind, timezone=random.choice(crons.ZONES), start=start, end=end)
    except InvalidCron:
        return
    from_the_instant = schedule.repeat_interval is not None and start is None
    after = created if from_the_instant else created - timedelta(microseconds=1)
    shown = [tick.at for tick in ticks_of(schedule, after=after, n=5)]
    # Later by less than from tick to tick: else ticks come while the one before waits, and are missed.
    endless = ticks_of(schedule._replace(repeat_count=None, end_date=None), after=after, n=6)
    gap = min((later.at - tick.at for tick, later in pairwise(endless)), default=timedelta(hours=1))
    jitter = random.choice([None, Interval(microseconds=gap // timedelta(microseconds=1))])
    assert fired(schedule, created, jitter, 5) == shown
