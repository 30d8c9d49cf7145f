"""The options that follow the fields of a cron expression."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgsched.domain.errors import InvalidCron
from pgsched.domain.scheduling.cron import next_tick, parse_cron, previous_tick
from pgsched.domain.scheduling.cron_words import describe
from pgsched.domain.scheduling.preview import explain, schedule_of
from pgsched.domain.scheduling.time_zones import load_zone
from tests.support import crons

BERLIN = "Europe/Berlin"
MINUTE = timedelta(minutes=1)
SPRING, AUTUMN = datetime(2026, 3, 28, 12, tzinfo=UTC), datetime(2026, 10, 24, 12, tzinfo=UTC)


def ticks(expression: str, after: datetime, *, hours: int = 24, zone: str = BERLIN) -> list[str]:
    """The ticks of some hours, in UTC."""
    cron, known = parse_cron(expression), load_zone(zone)
    found, tick = [], next_tick(cron, known, after)
    while tick is not None and tick <= after + timedelta(hours=hours):
        found.append(tick.strftime("%d %H:%M"))
        tick = next_tick(cron, known, tick)
    return found


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("30 2 * * *", ["29 01:00"]),
        ("30 2 * * * skipped=run", ["29 01:00"]),
        ("30 2 * * * skipped=skip", []),
        ("*/20 2 * * *", []),
        ("*/20 2 * * * skipped=run", ["29 01:00"]),
        ("30 1-4 * * * skipped=skip", ["29 00:30", "29 01:30", "29 02:30"]),
        ("0,30 2,3 * * * skipped=run", ["29 01:00", "29 01:30"]),
    ],
)
def test_a_skipped_hour(expression: str, expected: list[str]) -> None:
    assert ticks(expression, SPRING) == expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("30 2 * * *", ["25 00:30"]),
        ("30 2 * * * repeated=first", ["25 00:30"]),
        ("30 2 * * * repeated=second", ["25 01:30"]),
        ("30 2 * * * repeated=both", ["25 00:30", "25 01:30"]),
        ("*/30 2 * * *", ["25 00:00", "25 00:30", "25 01:00", "25 01:30"]),
        ("*/30 2 * * * repeated=first", ["25 00:00", "25 00:30"]),
        ("*/30 2 * * * repeated=second", ["25 01:00", "25 01:30"]),
        ("30 1-3 * * * repeated=second", ["24 23:30", "25 01:30", "25 02:30"]),
        ("30 1-3 * * * repeated=both", ["24 23:30", "25 00:30", "25 01:30", "25 02:30"]),
    ],
)
def test_a_repeated_hour(expression: str, expected: list[str]) -> None:
    assert ticks(expression, AUTUMN) == expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("0 9 13 * fri days=both", ["13 09:00"]),
        ("0 9 13 * fri days=either", ["06 09:00", "13 09:00", "20 09:00", "27 09:00"]),
        (
            "0 9 */14 * fri days=either",
            ["01 09:00", "06 09:00", "13 09:00", "15 09:00", "20 09:00", "27 09:00", "29 09:00"],
        ),
        ("0 9 1-7 * mon days=both", ["02 09:00"]),
    ],
)
def test_day_and_weekday(expression: str, expected: list[str]) -> None:
    assert ticks(expression, datetime(2026, 11, 1, tzinfo=UTC), hours=29 * 24, zone="UTC") == expected


def test_every_second_week_on_several_weekdays() -> None:
    expected = ["07 09:00", "10 09:00", "21 09:00", "24 09:00"]
    expression = "0 9 * * mon,thu weeks=2@2030-01-09"  # any day of the first week
    assert ticks(expression, datetime(2030, 1, 1, tzinfo=UTC), hours=28 * 24, zone="UTC") == expected
    assert ticks(expression, datetime(2029, 12, 16, tzinfo=UTC), hours=15 * 24, zone="UTC") == ["24 09:00", "27 09:00"]


def days(expression: str, first: date, last: date) -> list[date]:
    cron, zone = parse_cron(expression), load_zone("UTC")
    tick = next_tick(cron, zone, datetime(first.year, first.month, first.day, tzinfo=UTC))
    found = []
    while tick is not None and tick.date() <= last:
        found.append(tick.date())
        tick = next_tick(cron, zone, tick)
    return found


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("0 8 24-26 12 * except=12-25", ["12-24", "12-26"]),
        ("0 8 24-26 12 * except=2029-12-25", ["12-24", "12-25", "12-26"]),
        ("0 8 25 12 * except=2030-12-25", []),
        ("0 8 25 12 * except=12-24,12-25,12-26 instead=workday", ["12-27"]),
        ("0 8 28 12 * except=12-28 instead=workday", ["12-30"]),  # a Saturday
        ("0 8 24,26 12 * except=12-24,12-25 instead=workday", ["12-26"]),
        ("0 8 31 10 * except=10-31,11-01 instead=workday", ["11-04"]),
    ],
)
def test_days_that_are_left_out(expression: str, expected: list[str]) -> None:
    found = days(expression, date(2030, 10, 1), date(2030, 12, 31))
    assert [day.isoformat()[5:] for day in found] == expected


@settings(max_examples=60, deadline=None)
@given(st.randoms(use_true_random=False))
def test_days_that_are_left_out_are_those_of_each_day_by_itself(random: Random) -> None:
    plain = " ".join(["0 8", *(random.choice(["*", crons.word(random, kind)]) for kind in ("day", "month", "weekday"))])
    left_out = {crons.day(random) for _ in range(random.randint(1, 120))}
    first, last = date(2029, 1, 1), date(2033, 12, 31)
    try:
        every = set(days(plain, first - timedelta(days=60), last))
        found = days(f"{plain} except={','.join(left_out)}", first, last)
        moved = days(f"{plain} except={','.join(left_out)} instead=workday", first, last)
    except InvalidCron as refused:
        assert "can never" in str(refused) or "at most 1000" in str(refused) or "backwards" in str(refused)  # noqa: PT017
        return

    def is_out(day: date) -> bool:
        return day.isoformat() in left_out or day.isoformat()[5:] in left_out

    kept = {day for day in every if not is_out(day)}
    assert found == sorted(day for day in kept if day >= first)
    for day in every - kept:
        later = (day + timedelta(days=n) for n in range(1, 32))
        kept |= {next((one for one in later if one.weekday() < 5 and not is_out(one)), day)}
    assert moved == sorted(day for day in kept if first <= day <= last and not is_out(day))


def test_weeks_go_on_through_a_year_of_53_weeks() -> None:
    cron, zone = parse_cron("0 9 * * wed weeks=2@2026-12-02"), load_zone("UTC")
    tick = next_tick(cron, zone, datetime(2026, 12, 1, tzinfo=UTC))
    days = []
    while tick is not None and tick.date() < date(2027, 3, 1):
        days.append(tick.date())
        tick = next_tick(cron, zone, tick)
    assert days == [date(2026, 12, 2) + timedelta(days=14 * n) for n in range(len(days))]
    assert len(days) == 7


def test_an_alias_takes_options_and_letters_do_not_matter() -> None:
    assert ticks("@Hourly REPEATED=First", AUTUMN.replace(hour=23), hours=4) == ["25 00:00", "25 02:00", "25 03:00"]


@pytest.mark.parametrize(
    ("expression", "rule"),
    [
        (
            "0 8 * * * day=both",
            'an option must be one of days= skipped= repeated= weeks= except= instead=, got "day=both"',
        ),
        ("0 8 * * * =", 'an option must be one of days= skipped= repeated= weeks= except= instead=, got "="'),
        ("0 8 * * * days=all", 'option days must be both or either, got "all"'),
        ("0 8 * * * days=", "option days must be both or either, got nothing"),
        ("0 8 * * * skipped=first", 'option skipped must be run or skip, got "first"'),
        ("0 8 * * * repeated=skip", 'option repeated must be first or second or both, got "skip"'),
        ("0 8 * * * days=both days=both", "option days must come once"),
        ("0 8 * * mon weeks=2", "option weeks must be 2 to 52 and a day of a week that counts, as 2@2030-01-07, got 2"),
        ("0 8 * * mon weeks=1@2030-01-07", 'got "1@2030-01-07"'),
        ("0 8 * * mon weeks=53@2030-01-07", 'got "53@2030-01-07"'),
        ("0 8 * * mon weeks=2@2030-02-29", 'got "2@2030-02-29"'),
        ("0 8 * * mon weeks=2@0000-01-01", 'got "2@0000-01-01"'),
        ("0 8 days=both * mon", 'day of month must be a number between 1 and 31, got "days=both"'),
        ("0 8 * * * except=", "option except must be days or calendars, as 12-25,2030-04-19,@holidays, got nothing"),
        (
            "0 8 * * * except=12-25,",
            "option except must be days or calendars, as 12-25,2030-04-19,@holidays, got nothing",
        ),
        ("0 8 * * * except=02-30", 'got "02-30"'),
        ("0 8 * * * except=2029-02-29", 'got "2029-02-29"'),
        ("0 8 * * * except=0000-01-01", 'got "0000-01-01"'),
        ("0 8 * * * except=1-1", 'got "1-1"'),
        ("0 8 * * * except=@", 'got "@"'),
        ("0 8 * * * except=@1st", 'got "@1st"'),
        ("0 8 * * * instead=workday", "option instead must come with except"),
        ("0 8 * * * except=12-25 instead=monday", 'option instead must be skip or workday, got "monday"'),
        ("0 8 25 12 * except=12-25", "can never fire: its options leave no day"),
        ("0 0 30 2 mon days=both", "can never fire: no such month has a day 30"),
        ("0 0 1 * mon#2 days=both", "can never fire: no such month has a day that is both 1 and mon#2"),
        ("days=both", "must have 5 fields (minute hour day month weekday) or 6 with seconds first, got 0"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused(expression: str, rule: str) -> None:
    with pytest.raises(InvalidCron) as refused:
        parse_cron(expression)
    assert rule in str(refused.value)


def brute(expression: str, zone: str, minutes: list[datetime]) -> list[datetime]:
    """The ticks of an expression among these minutes, one by one, by the words of the rules."""
    fields, options = parse_cron(expression), dict(word.split("=") for word in expression.split() if "=" in word)
    known = load_zone(zone)
    run = options.get("skipped", "run" if fields.fixed else "skip") == "run"
    passes = {"first": {0}, "second": {1}, "both": {0, 1}}[options.get("repeated", "first" if fields.fixed else "both")]

    def matches(wall: datetime) -> bool:
        return wall.minute in fields.minute.values and wall.hour in fields.hour.values

    found = []
    for minute in minutes:
        wall = minute.astimezone(known)
        before = (minute - MINUTE).astimezone(known).replace(tzinfo=None) + MINUTE
        is_repeated = wall.replace(fold=0).utcoffset() != wall.replace(fold=1).utcoffset()
        gap = wall.replace(tzinfo=None) - before
        skipped = [before + n * MINUTE for n in range(gap // MINUTE)] if timedelta() < gap <= timedelta(hours=3) else []
        if (matches(wall) and (not is_repeated or wall.fold in passes)) or (run and any(map(matches, skipped))):
            found.append(minute)
    return found


CHANGES = [
    (BERLIN, datetime(2026, 3, 29, 1, tzinfo=UTC)),
    (BERLIN, datetime(2026, 10, 25, 1, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 4, 4, 15, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 10, 3, 15, 30, tzinfo=UTC)),
    ("Antarctica/Casey", datetime(2010, 3, 4, 15, tzinfo=UTC)),
    ("Antarctica/Casey", datetime(2009, 10, 17, 18, tzinfo=UTC)),
    ("America/Sao_Paulo", datetime(2018, 11, 4, 3, tzinfo=UTC)),
    ("Pacific/Apia", datetime(2011, 12, 30, 10, tzinfo=UTC)),
]


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(CHANGES), st.randoms(use_true_random=False))
def test_every_rule_of_the_clocks_ticks_as_counted_minute_by_minute(
    change: tuple[str, datetime], random: Random
) -> None:
    zone, at = change
    minute, hour = (crons.word(random, kind) for kind in ("minute", "hour"))
    skipped = random.choice(["", "skipped=run", "skipped=skip"])
    repeated = random.choice(["", "repeated=first", "repeated=second", "repeated=both"])
    expression = " ".join([minute, hour, "* * *", skipped, repeated])
    minutes = [at + n * MINUTE for n in range(-8 * 60, 8 * 60)]
    cron, known = parse_cron(expression), load_zone(zone)
    expected = brute(expression, zone, minutes)
    # From before the change, in its midst and from behind.
    for start in (minutes[0], *random.sample(minutes, 4)):
        found, tick = [], next_tick(cron, known, start - MINUTE)
        while tick is not None and tick <= minutes[-1]:
            found.append(tick)
            tick = next_tick(cron, known, tick)
        assert found == [tick for tick in expected if tick >= start]
        last = previous_tick(cron, known, start)
        if expected and expected[0] <= start:
            assert last == max(tick for tick in expected if tick <= start)


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("0 9 13 * fri days=both", "at 09:00 on day 13 of the month if on Friday"),
        (
            "0 9 * * mon,thu weeks=2@2030-01-07",
            "at 09:00 on Monday and Thursday, every 2 weeks from that of 2030-01-07",
        ),
        ("0 9 * * * except=12-25", "every day at 09:00, but not on 12-25"),
        (
            "0 9 1 * * except=12-25,01-01 instead=workday",
            "at 09:00 on day 1 of the month, but not on 01-01 and 12-25: on the next workday",
        ),
        ("0 9 LW * *", "at 09:00 on the workday nearest to the last day of the month"),
        ("0 9 L-2,15w * *", "at 09:00 on 2 days before the last day and the workday nearest to day 15 of the month"),
    ],
)
def test_options_in_words(expression: str, words: str) -> None:
    assert describe(parse_cron(expression)) == words


def test_the_choice_of_the_hours_is_told() -> None:
    words = explain(schedule_of("30 2 * * * repeated=second", timezone=BERLIN))
    assert words.endswith("what falls in a skipped hour runs right after it, in a repeated hour once, the second time")
