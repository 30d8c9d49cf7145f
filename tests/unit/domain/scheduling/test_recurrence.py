from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pgsched.domain.interval import Interval
from pgsched.domain.scheduling.recurrence import (
    COUNT_LIMIT,
    LAST,
    MISSED_AFTER,
    Admission,
    Booking,
    Schedule,
    admit,
    book,
    due_at,
    first_tick,
    is_catchup,
    next_after,
)
from pgsched.domain.scheduling.time_zones import load_zone

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)

EMPTY = Schedule(None, "UTC", None, None, None, None, "once", None)
HOURLY = EMPTY._replace(cron_expression="0 * * * *")
EVERY_MINUTE = EMPTY._replace(repeat_interval=Interval(0, 0, 60_000_000))
MONTHLY = EMPTY._replace(repeat_interval=Interval(1, 0, 0))
DAILY_BERLIN = EMPTY._replace(repeat_interval=Interval(0, 1, 0), timezone="Europe/Berlin")


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


NOON = utc("2026-06-01T12:00")


def admitted(schedule: Schedule, tick: datetime, now: datetime, ticks_done: int) -> Admission:
    return admit(schedule, tick, due_at(schedule, tick), now, ticks_done)


def series(schedule: Schedule, tick: datetime, count: int) -> list[str]:
    found = []
    following: datetime | None = tick
    for _ in range(count):
        assert following is not None
        found.append(following.strftime("%m-%d %H:%M"))
        following = next_after(schedule, following, 1)
    return found


schedules = st.builds(
    Schedule,
    st.just(None),
    st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia"]),
    st.none() | st.datetimes(datetime(2009, 1, 1), datetime(2012, 1, 1), timezones=st.just(UTC)),
    st.none(),
    st.builds(Interval, st.integers(0, 3), st.integers(0, 40), st.integers(0, 10**11)).filter(any),
    st.none(),
    st.sampled_from(["once", "skip", "all"]),
    st.none() | st.builds(Interval, st.just(0), st.just(0), st.integers(1, 10**11)),
    st.none(),
    st.just(1),
    st.none(),
) | st.builds(
    Schedule,
    st.sampled_from(["*/5 * * * *", "30 2 * * *", "0 8 * * mon", "0 0 1 * *", "15 */2 * * *"]),
    st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia"]),
    st.none(),
    st.none(),
    st.none(),
    st.none(),
    st.sampled_from(["once", "skip", "all"]),
    st.none() | st.builds(Interval, st.just(0), st.just(0), st.integers(1, 10**11)),
    st.none(),
    st.just(1),
    st.none(),
)
instants = st.datetimes(datetime(2010, 1, 1), datetime(2012, 6, 1), timezones=st.just(UTC))
spans = st.timedeltas(timedelta(0), timedelta(days=3)) | st.timedeltas(timedelta(0), MINUTE)


# --- the first and the next tick ---


def test_the_first_cron_tick_may_be_the_anchor_itself() -> None:
    assert first_tick(HOURLY, NOON) == NOON
    assert first_tick(HOURLY, NOON + timedelta(microseconds=1)) == NOON + HOUR


def test_the_first_cron_tick_is_not_before_the_start() -> None:
    assert first_tick(HOURLY._replace(start_date=NOON + 90 * MINUTE), NOON) == NOON + 2 * HOUR
    assert first_tick(HOURLY._replace(start_date=NOON - 90 * MINUTE), NOON) == NOON


def test_the_first_repeating_tick_is_the_anchor_without_a_start() -> None:
    odd = NOON + timedelta(seconds=7, microseconds=5)
    assert first_tick(EVERY_MINUTE, odd) == odd


def test_a_repeating_grid_starts_at_its_start() -> None:
    schedule = EVERY_MINUTE._replace(start_date=NOON + 7 * SECOND)
    assert first_tick(schedule, NOON) == NOON + 7 * SECOND
    assert first_tick(schedule, NOON + 8 * SECOND) == NOON + 67 * SECOND
    assert first_tick(schedule, NOON + 67 * SECOND) == NOON + 67 * SECOND


def test_no_tick_is_past_the_end_and_one_may_be_at_it() -> None:
    schedule = HOURLY._replace(end_date=NOON + HOUR)
    assert next_after(schedule, NOON, 1) == NOON + HOUR
    assert next_after(schedule, NOON + HOUR, 2) is None
    assert first_tick(schedule, NOON + 2 * HOUR) is None


def test_the_repeat_count_ends_a_schedule() -> None:
    schedule = EVERY_MINUTE._replace(repeat_count=3)
    assert next_after(schedule, NOON, 2) == NOON + MINUTE
    assert next_after(schedule, NOON, 3) is None


def test_months_from_a_start_are_clamped_one_by_one() -> None:
    schedule = MONTHLY._replace(start_date=utc("2026-01-31T09:00"))
    assert series(schedule, utc("2026-01-31T09:00"), 5) == [
        "01-31 09:00",
        "02-28 09:00",
        "03-31 09:00",
        "04-30 09:00",
        "05-31 09:00",
    ]


def test_months_without_a_start_stay_clamped() -> None:
    assert series(MONTHLY, utc("2026-01-31T09:00"), 3) == ["01-31 09:00", "02-28 09:00", "03-28 09:00"]


def test_days_keep_the_wall_clock() -> None:
    start = utc("2026-03-28T08:00")  # 09:00 in winter
    assert series(DAILY_BERLIN, start, 3) == ["03-28 08:00", "03-29 07:00", "03-30 07:00"]


def test_a_day_from_a_start_that_falls_in_a_gap_runs_after_it_and_returns() -> None:
    start = utc("2026-03-28T01:30")  # 02:30
    schedule = DAILY_BERLIN._replace(start_date=start)
    assert series(schedule, start, 3) == ["03-28 01:30", "03-29 01:00", "03-30 00:30"]


def test_a_day_that_falls_in_a_repeated_hour_runs_in_the_first_pass() -> None:
    start = utc("2026-10-24T00:30")  # 02:30
    assert series(DAILY_BERLIN, start, 3) == ["10-24 00:30", "10-25 00:30", "10-26 01:30"]


def test_microseconds_are_elapsed_time() -> None:
    schedule = DAILY_BERLIN._replace(repeat_interval=Interval(0, 0, 86_400_000_000))
    assert series(schedule, utc("2026-03-28T08:00"), 2) == ["03-28 08:00", "03-29 08:00"]


def test_two_grid_points_at_one_instant_are_one_tick() -> None:
    start = utc("2011-12-29T10:00")  # midnight; the 30th is skipped, so its midnight is that of the 31st
    schedule = EMPTY._replace(repeat_interval=Interval(0, 1, 0), timezone="Pacific/Apia", start_date=start)
    assert series(schedule, start, 3) == ["12-29 10:00", "12-30 10:00", "12-31 10:00"]


def test_an_interval_of_centuries_ends_the_schedule() -> None:
    schedule = EMPTY._replace(repeat_interval=Interval(2**31 - 1, 2**31 - 1, 2**63 - 1))
    assert first_tick(schedule, NOON) == NOON
    assert next_after(schedule, NOON, 1) is None


@settings(max_examples=300)
@given(schedules, instants)
def test_the_next_tick_is_later_and_nothing_lies_between(schedule: Schedule, anchor: datetime) -> None:
    tick = first_tick(schedule, anchor)
    assert tick is not None
    assert tick >= anchor
    following = next_after(schedule, tick, 1)
    assert following is not None
    assert following > tick
    if schedule.cron_expression or schedule.start_date:
        assert first_tick(schedule, tick + timedelta(microseconds=1)) == following
        assert first_tick(schedule, following) == following
        assert first_tick(schedule, tick) == tick


late = st.datetimes(datetime(9990, 1, 1), datetime(9999, 12, 30, 23, 59, 59), timezones=st.just(UTC))


@settings(max_examples=300)
@given(schedules, late, spans, st.booleans())
def test_no_schedule_ticks_beyond_the_last_instant_or_fails_near_it(
    schedule: Schedule, anchor: datetime, run: timedelta, starts_late: bool
) -> None:
    if starts_late:
        schedule = schedule._replace(start_date=anchor)
    tick = first_tick(schedule, anchor)
    assert tick is None or anchor <= tick < LAST
    if tick is not None:
        following = next_after(schedule, tick, 1)
        assert following is None or tick < following < LAST
        finished = tick + min(run, LAST - tick)
        for found in (
            admitted(schedule, tick, finished, 0).next_tick,
            book(schedule, tick, tick, finished, 1).next_tick,
        ):
            assert found is None or found < LAST
        assert due_at(schedule._replace(jitter=Interval(0, 1, 0)), tick) < LAST


def test_the_last_day_of_the_year_9999_has_no_tick() -> None:
    schedule = EMPTY._replace(cron_expression="0 0 * * *", start_date=utc("9999-12-30T23:59:59"))
    assert first_tick(schedule, NOON) is None
    assert next_after(HOURLY, utc("9999-12-30T23:00:00"), 1) is None


# --- admit ---


def test_a_tick_on_time_runs() -> None:
    for policy in ("once", "skip", "all"):
        schedule = HOURLY._replace(on_missed=policy)
        assert admitted(schedule, NOON, NOON + MISSED_AFTER, 0) == Admission(NOON, None, 0)
        assert admitted(schedule, NOON, NOON, 0) == Admission(NOON, None, 0)


def test_once_runs_the_latest_of_the_ticks_that_passed() -> None:
    now = NOON + 150 * MINUTE
    assert admitted(HOURLY, NOON, now, 0) == Admission(NOON + 2 * HOUR, None, 2)


def test_once_runs_a_late_tick_alone() -> None:
    assert admitted(HOURLY, NOON, NOON + 30 * MINUTE, 0) == Admission(NOON, None, 0)


def test_once_runs_nothing_older_than_the_window() -> None:
    schedule = HOURLY._replace(catchup_window=Interval(0, 0, 600_000_000))
    assert admitted(schedule, NOON, NOON + 150 * MINUTE, 0) == Admission(None, NOON + 3 * HOUR, 3)
    assert admitted(schedule, NOON, NOON + 125 * MINUTE, 0) == Admission(NOON + 2 * HOUR, None, 2)


def test_skip_runs_no_missed_tick() -> None:
    schedule = HOURLY._replace(on_missed="skip")
    assert admitted(schedule, NOON, NOON + MINUTE, 0) == Admission(None, NOON + HOUR, 1)
    assert admitted(schedule, NOON, NOON + 150 * MINUTE, 0) == Admission(None, NOON + 3 * HOUR, 3)


def test_skip_runs_the_latest_tick_when_that_is_on_time() -> None:
    schedule = HOURLY._replace(on_missed="skip")
    assert admitted(schedule, NOON, NOON + HOUR + SECOND, 0) == Admission(NOON + HOUR, None, 1)


def test_skip_does_not_starve_a_schedule_of_seconds() -> None:
    schedule = EMPTY._replace(cron_expression="* * * * * *", on_missed="skip")
    assert admitted(schedule, NOON, NOON + 1.2 * SECOND, 0) == Admission(NOON + SECOND, None, 1)


def test_all_runs_every_tick_in_turn() -> None:
    schedule = HOURLY._replace(on_missed="all")
    assert admitted(schedule, NOON, NOON + 90 * DAY, 0) == Admission(NOON, None, 0)


def test_all_starts_at_the_first_tick_inside_the_window() -> None:
    schedule = HOURLY._replace(on_missed="all", catchup_window=Interval(0, 0, 7_200_000_000))
    assert admitted(schedule, NOON, NOON + 310 * MINUTE, 0) == Admission(NOON + 4 * HOUR, None, 4)
    narrow = HOURLY._replace(on_missed="all", catchup_window=Interval(0, 0, 60_000_000))
    assert admitted(narrow, NOON, NOON + 310 * MINUTE, 0) == Admission(None, NOON + 6 * HOUR, 6)


def test_nothing_runs_past_the_repeat_count() -> None:
    assert admitted(EVERY_MINUTE._replace(repeat_count=3), NOON, NOON, 3) == Admission(None, None, 0)


def test_missed_ticks_do_not_use_up_the_repeat_count() -> None:
    schedule = EVERY_MINUTE._replace(repeat_count=3, on_missed="skip")
    assert admitted(schedule, NOON, NOON + 599 * SECOND, 2) == Admission(None, NOON + 10 * MINUTE, 10)


def test_the_latest_tick_is_not_past_the_end() -> None:
    schedule = HOURLY._replace(end_date=NOON + 90 * MINUTE)
    assert admitted(schedule, NOON, NOON + 9 * HOUR, 0) == Admission(NOON + HOUR, None, 1)
    assert admitted(schedule._replace(on_missed="skip"), NOON, NOON + 9 * HOUR, 0) == Admission(None, None, 2)


def test_years_of_missed_seconds_are_counted_without_a_walk() -> None:
    every_second = EMPTY._replace(repeat_interval=Interval(0, 0, 1_000_000))
    years = 20 * 365 * DAY
    assert admitted(every_second, NOON, NOON + years, 0).missed == years // SECOND
    cron = EMPTY._replace(cron_expression="* * * * * *")
    assert admitted(cron, NOON, NOON + years, 0) == Admission(NOON + years, None, COUNT_LIMIT - 1)


@settings(max_examples=200)
@given(schedules, instants, spans)
def test_an_admission_keeps_the_law(schedule: Schedule, anchor: datetime, late: timedelta) -> None:
    tick = first_tick(schedule, anchor)
    assert tick is not None
    now = tick + late
    admission = admitted(schedule, tick, now, 0)
    assert admission.missed >= 0
    if admission.run is None:
        assert admission.missed >= 1
        assert admission.next_tick is not None
        assert admission.next_tick > now
    else:
        assert tick <= admission.run <= now
        assert admission.next_tick is None
        # The count is the number of steps from the claimed tick to the one that runs.
        assume(admission.missed < 100)
        walked = tick
        for _ in range(admission.missed):
            step = next_after(schedule, walked, 1)
            assert step is not None
            walked = step
        assert walked == admission.run
        if schedule.on_missed == "skip":
            assert not is_catchup(admission.run, now)
        if schedule.on_missed == "once":
            later = next_after(schedule, admission.run, 1)
            assert later is None or later > now
        if schedule.on_missed == "all" and schedule.catchup_window is None:
            assert admission.run == tick


JITTERY = EMPTY._replace(cron_expression="0 8 * * *", jitter=Interval(0, 0, 3_600_000_000), task_id=7)
EIGHT = utc("2026-06-01T08:00")


def later(tick: datetime, days: int) -> datetime:
    """When the tick so many days later is due."""
    return due_at(JITTERY, tick + days * DAY)


@pytest.mark.parametrize("on_missed", ["once", "skip", "all"])
@pytest.mark.parametrize("window", [None, Interval(0, 0, 60_000_000)])
def test_a_tick_is_not_late_by_its_jitter(on_missed: str, window: Interval | None) -> None:
    schedule = JITTERY._replace(on_missed=on_missed, catchup_window=window)
    for day in range(30):
        tick = EIGHT + day * DAY
        assert admitted(schedule, tick, due_at(schedule, tick) + SECOND, 0) == Admission(tick, None, 0)


def test_a_tick_whose_jitter_has_not_passed_is_not_missed() -> None:
    now = later(EIGHT, 3) - SECOND
    assert now > EIGHT + 3 * DAY
    assert admitted(JITTERY, EIGHT, now, 0) == Admission(EIGHT + 2 * DAY, None, 2)
    assert admitted(JITTERY._replace(on_missed="skip"), EIGHT, now, 0) == Admission(None, EIGHT + 3 * DAY, 3)
    assert admitted(JITTERY._replace(on_missed="skip"), EIGHT, now + SECOND, 0) == Admission(EIGHT + 3 * DAY, None, 3)


def test_a_window_ends_so_long_after_a_tick_was_due() -> None:
    hour = JITTERY._replace(on_missed="all", catchup_window=Interval(0, 0, 3_600_000_000))
    assert admitted(hour, EIGHT, later(EIGHT, 2) + HOUR, 0) == Admission(EIGHT + 2 * DAY, None, 2)
    assert admitted(hour, EIGHT, later(EIGHT, 2) + HOUR + SECOND, 0) == Admission(None, EIGHT + 3 * DAY, 3)


def test_the_jitter_may_be_longer_than_from_tick_to_tick() -> None:
    schedule = EVERY_MINUTE._replace(start_date=NOON, jitter=Interval(0, 0, 600_000_000), task_id=3, on_missed="skip")
    for now in (NOON + minutes * MINUTE for minutes in range(11, 40)):
        due = [tick for tick in (NOON + at * MINUTE for at in range(60)) if due_at(schedule, tick) <= now]
        admission = admitted(schedule, NOON, now, 0)
        assert admission.run in (None, due[-1])
        assert admission.missed == (due[-1] - NOON) // MINUTE + (admission.run is None)


def test_ticks_before_the_edit_are_those_of_another_schedule() -> None:
    schedule = HOURLY._replace(planned_from=NOON + 150 * MINUTE)
    assert next_after(schedule, NOON, 1) == NOON + 3 * HOUR
    assert admitted(schedule, NOON, NOON + 5 * SECOND, 0) == Admission(NOON, None, 0)
    assert admitted(schedule, NOON, NOON + 5 * HOUR, 0) == Admission(NOON + 5 * HOUR, None, 3)
    assert book(schedule, NOON, NOON, NOON + 5 * HOUR, 1) == Booking(NOON + 6 * HOUR, 3)


# --- book ---


def test_a_tick_that_comes_during_the_run_and_is_due_after_it_is_booked() -> None:
    started = later(EIGHT, 0)
    assert book(JITTERY, EIGHT, started, later(EIGHT, 1) - SECOND, 1) == Booking(EIGHT + DAY, 0)
    assert book(JITTERY, EIGHT, started, later(EIGHT, 1), 1) == Booking(EIGHT + 2 * DAY, 1)


def test_the_next_tick_is_booked_from_the_nominal_one() -> None:
    assert book(HOURLY, NOON, NOON + 3 * MINUTE, NOON + 5 * MINUTE, 1) == Booking(NOON + HOUR, 0)


def test_ticks_during_the_run_are_dropped_and_counted() -> None:
    assert book(HOURLY, NOON, NOON, NOON + 150 * MINUTE, 1) == Booking(NOON + 3 * HOUR, 2)
    assert book(EVERY_MINUTE, NOON, NOON, NOON + 150 * SECOND, 1) == Booking(NOON + 3 * MINUTE, 2)


def test_a_tick_at_the_very_end_of_the_run_is_dropped() -> None:
    assert book(HOURLY, NOON, NOON, NOON + HOUR, 1) == Booking(NOON + 2 * HOUR, 1)


def test_a_tick_that_had_passed_before_the_start_is_booked_as_it_is() -> None:
    assert book(HOURLY, NOON, NOON + 90 * MINUTE, NOON + 91 * MINUTE, 1) == Booking(NOON + HOUR, 0)


def test_the_last_tick_books_nothing() -> None:
    assert book(EVERY_MINUTE._replace(repeat_count=1), NOON, NOON, NOON + HOUR, 1) == Booking(None, 0)
    ending = HOURLY._replace(end_date=NOON + 90 * MINUTE)
    assert book(ending, NOON, NOON, NOON + 2 * HOUR, 1) == Booking(None, 1)


@settings(max_examples=200)
@given(schedules, instants, spans, spans)
def test_a_booking_keeps_the_law(schedule: Schedule, anchor: datetime, late: timedelta, duration: timedelta) -> None:
    tick = first_tick(schedule, anchor)
    assert tick is not None
    started, finished = tick + late, tick + late + duration
    booking = book(schedule, tick, started, finished, 1)
    following = next_after(schedule, tick, 1)
    assert booking.next_tick is not None
    assert booking.next_tick > tick
    if booking.overlapped:
        assert following is not None
        assert started < following <= finished < booking.next_tick
    else:
        assert booking.next_tick == following
        assert booking.next_tick <= started or booking.next_tick > finished


@settings(max_examples=100)
@given(schedules, instants, st.lists(spans, min_size=1, max_size=8))
def test_every_tick_of_a_life_is_later_than_the_one_before(
    schedule: Schedule, anchor: datetime, delays: list[timedelta]
) -> None:
    tick = first_tick(schedule, anchor)
    now = anchor
    ran: list[datetime] = []
    for delay in delays:
        if tick is None:
            break
        now = max(now, tick) + delay
        admission = admitted(schedule, tick, now, len(ran))
        if admission.run is None:
            tick = admission.next_tick
            continue
        ran.append(admission.run)
        finished = now + delay
        tick = book(schedule, admission.run, now, finished, len(ran)).next_tick
        now = finished
    assert ran == sorted(set(ran))


# --- jitter ---


def jittered(task_id: int, jitter: Interval | None) -> float:
    return (due_at(HOURLY._replace(jitter=jitter, task_id=task_id), NOON) - NOON).total_seconds()


def test_the_jitter_is_the_same_everywhere() -> None:
    minute = HOURLY._replace(jitter=Interval(0, 0, 60_000_000), task_id=1)
    assert due_at(minute, NOON) == due_at(minute, NOON.astimezone(load_zone("Asia/Tokyo")))
    assert jittered(1, minute.jitter) == 55.048624
    assert jittered(1, None) == 0


def test_the_jitter_is_spread_evenly() -> None:
    found = [jittered(task, Interval(0, 0, 10_000_000)) for task in range(2000)]
    assert all(0 <= seconds < 10 for seconds in found)
    buckets = [sum(n <= seconds < n + 1 for seconds in found) for n in range(10)]
    assert min(buckets) > 140
    assert max(buckets) < 260
