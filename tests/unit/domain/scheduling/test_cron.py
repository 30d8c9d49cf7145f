from __future__ import annotations

import calendar
import re
import threading
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import pytest
from croniter import croniter
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pgsched.domain.errors import InvalidCron, InvalidTimezone
from pgsched.domain.scheduling.cron import load_zone, next_tick, parse_cron, previous_tick
from pgsched.domain.scheduling.cron_words import describe

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

ZONES = [
    "UTC",
    "Europe/Berlin",
    "Europe/Dublin",
    "America/New_York",
    "America/Sao_Paulo",
    "America/St_Johns",
    "Asia/Kolkata",
    "Asia/Tehran",
    "Africa/Casablanca",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Pacific/Chatham",
    "Etc/GMT+12",
]


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


class Spoken(NamedTuple):
    """A field as text, with the values it stands for, whatever the code under test reads."""

    text: str
    values: frozenset[int]
    every: bool = False
    stepping: bool = False


def fields(low: int, high: int, top: int | None = None) -> st.SearchStrategy[Spoken]:
    top = high if top is None else top
    numbers = st.integers(low, high)
    return st.one_of(
        st.just(Spoken("*", frozenset(range(low, top + 1)), every=True, stepping=True)),
        st.integers(2, high).map(lambda step: Spoken(f"*/{step}", frozenset(range(low, top + 1, step)), stepping=True)),
        numbers.map(lambda number: Spoken(str(number), frozenset({number}))),
        st.lists(numbers, min_size=2, max_size=5).map(
            lambda values: Spoken(",".join(map(str, values)), frozenset(values))
        ),
        st.tuples(numbers, numbers, st.integers(1, high)).map(
            lambda t: Spoken(f"{min(t[:2])}-{max(t[:2])}/{t[2]}", frozenset(range(min(t[:2]), max(t[:2]) + 1, t[2])))
        ),
    )


class Expression(NamedTuple):
    minute: Spoken
    hour: Spoken
    day: Spoken
    month: Spoken
    weekday: Spoken

    @property
    def text(self) -> str:
        return " ".join(field.text for field in self)

    @property
    def fixed(self) -> bool:
        return not (self.minute.stepping or self.hour.stepping)

    def matches(self, wall: datetime) -> bool:
        by_day = wall.day in self.day.values
        by_weekday = wall.isoweekday() % 7 in self.weekday.values
        starred = self.day.text.startswith("*") or self.weekday.text.startswith("*")
        day_matches = by_day and by_weekday if starred else by_day or by_weekday
        return (
            wall.minute in self.minute.values
            and wall.hour in self.hour.values
            and wall.month in self.month.values
            and day_matches
            and wall.second == 0
        )


expressions = st.builds(Expression, fields(0, 59), fields(0, 23), fields(1, 28, 31), fields(1, 12), fields(0, 6))
instants = st.datetimes(datetime(2000, 1, 1), datetime(2037, 1, 1), timezones=st.just(UTC))


@settings(max_examples=150)
@given(expressions, st.sampled_from(ZONES), instants)
def test_the_next_tick_is_the_first_match_after(expression: Expression, zone: str, after: datetime) -> None:
    cron, known = parse_cron(expression.text), load_zone(zone)
    tick = next_tick(cron, known, after)
    assert tick is not None
    assert tick > after
    wall = tick.astimezone(known).replace(tzinfo=None)
    before = (tick - SECOND).astimezone(known).replace(tzinfo=None) + SECOND
    assert expression.matches(wall) or (expression.fixed and wall > before), f"{wall} does not match"
    # Every minute between, for as long as a test may take: the start and the end of the span.
    last = min(tick, after + 2000 * MINUTE)
    minute = after.replace(second=0, microsecond=0) + MINUTE
    while minute < last:
        wall = minute.astimezone(known)
        skipped = wall.fold == 1 and expression.fixed
        assert skipped or not expression.matches(wall), f"{minute} matches and was left out"
        minute += MINUTE


@settings(max_examples=300)
@given(expressions, st.sampled_from(ZONES), instants)
def test_the_previous_tick_is_the_mirror_of_the_next(expression: Expression, zone: str, after: datetime) -> None:
    cron, known = parse_cron(expression.text), load_zone(zone)
    tick = next_tick(cron, known, after)
    assert tick is not None
    assert previous_tick(cron, known, tick) == tick
    before = previous_tick(cron, known, tick - SECOND)
    assert before is not None
    assert before <= after
    assert next_tick(cron, known, before) == tick


@settings(max_examples=100)
@given(expressions, instants)
def test_in_utc_the_ticks_are_those_of_croniter(expression: Expression, after: datetime) -> None:
    # To croniter a range like 5-5 is the whole hour; to us, as to cron, it is 5.
    assume(not any(re.match(r"(\d+)-\1/", field.text) for field in expression))
    # The bug of Vixie's cron is the rule of Debian's: a field that begins with * is no restriction of its own.
    theirs = croniter(expression.text, after, implement_cron_bug=True).get_next(datetime)
    assert next_tick(parse_cron(expression.text), load_zone("UTC"), after) == theirs


@settings(max_examples=60)
@given(
    st.sampled_from(["l", "15,l", "mon#1", "5#5", "7#2,l5", "fril", "1#1,3", "L", "31", "30,31", "29"]),
    st.sampled_from(["*", "2", "2,4,6", "*/3"]),
    instants,
)
def test_special_days_tick_on_the_days_they_name(rule: str, months: str, start: datetime) -> None:
    def of_month(day: datetime) -> bool:
        last = calendar.monthrange(day.year, day.month)[1]
        nth, final, weekday = (day.day + 6) // 7, day.day + 7 > last, day.isoweekday() % 7
        return {
            "l": day.day == last,
            "L": day.day == last,
            "15,l": day.day in (15, last),
            "mon#1": (weekday, nth) == (1, 1),
            "5#5": (weekday, nth) == (5, 5),
            "7#2,l5": (weekday, nth) == (0, 2) or (weekday == 5 and final),
            "fril": weekday == 5 and final,
            "1#1,3": (weekday, nth) == (1, 1) or weekday == 3,
            "31": day.day == 31,
            "30,31": day.day in (30, 31),
            "29": day.day == 29,
        }[rule]

    if rule in ("31", "30,31") and months == "2":
        return
    in_months = {"*": range(1, 13), "2": [2], "2,4,6": [2, 4, 6], "*/3": [1, 4, 7, 10]}[months]
    if rule == "31" and months == "2,4,6":
        return
    is_weekday = any(sign in rule for sign in ("#", "l5", "fril"))
    cron = parse_cron(f"0 12 * {months} {rule}" if is_weekday else f"0 12 {rule} {months} *")
    tick = next_tick(cron, load_zone("UTC"), start)
    assert tick is not None
    assert previous_tick(cron, load_zone("UTC"), tick) == tick
    noon = start.replace(hour=12, minute=0, second=0, microsecond=0)
    days = [noon + timedelta(days=n) for n in range((tick - noon).days + 1)]
    assert [day for day in days if day > start and day.month in in_months and of_month(day)] == [tick]


@pytest.mark.parametrize(
    ("expression", "after", "tick"),
    [
        ("@hourly", "2026-01-01T00:00", "2026-01-01T01:00"),
        ("@daily", "2026-01-01T00:00", "2026-01-02T00:00"),
        ("@midnight", "2026-01-01T00:00", "2026-01-02T00:00"),
        ("@weekly", "2026-01-01T00:00", "2026-01-04T00:00"),
        ("@monthly", "2026-01-01T00:00", "2026-02-01T00:00"),
        ("@yearly", "2026-01-01T00:00", "2027-01-01T00:00"),
        ("@Annually", "2026-01-01T00:00", "2027-01-01T00:00"),
        ("0 8 * * MON-FRI", "2026-01-02T08:00", "2026-01-05T08:00"),
        ("0 8 * * fri-sun", "2026-01-03T08:00", "2026-01-04T08:00"),
        ("0 8 * * 7", "2026-01-01T08:00", "2026-01-04T08:00"),
        ("0 8 1 jan,JUL ?", "2026-01-01T08:00", "2026-07-01T08:00"),
        ("5-5 * * * *", "2026-01-01T00:05", "2026-01-01T01:05"),
        ("  0\t8  * * *\n", "2026-01-01T00:00", "2026-01-01T08:00"),
        ("59/15 * * * *", "2026-01-01T00:00", "2026-01-01T00:59"),
        # Day and weekday both restricted: either.
        ("0 0 13 * fri", "2026-01-03T00:00", "2026-01-09T00:00"),
        ("0 0 13 * fri", "2026-01-09T00:00", "2026-01-13T00:00"),
        ("0 0 13 * fri#1", "2026-01-03T00:00", "2026-01-13T00:00"),
        # Both, when either begins with a star.
        ("0 9 */1 * mon", "2026-01-01T00:00", "2026-01-05T09:00"),
        ("0 9 */2 * mon", "2026-01-01T00:00", "2026-01-05T09:00"),
        ("0 9 */2 * mon", "2026-01-05T09:00", "2026-01-19T09:00"),
        ("0 9 13 * */5", "2026-01-01T00:00", "2026-02-13T09:00"),
        ("0 9 13 * 5,*/5", "2026-01-01T00:00", "2026-01-02T09:00"),
        # Workdays, and days before the last.
        ("0 9 15w * *", "2026-02-01T00:00", "2026-02-16T09:00"),
        ("0 9 14W * *", "2026-03-01T00:00", "2026-03-13T09:00"),
        ("0 9 1w * *", "2026-08-01T00:00", "2026-08-03T09:00"),
        ("0 9 31w * *", "2026-05-01T00:00", "2026-05-29T09:00"),
        ("0 9 LW * *", "2026-02-01T00:00", "2026-02-27T09:00"),
        ("0 9 L-2 * *", "2026-02-01T00:00", "2026-02-26T09:00"),
        ("0 9 L-30 * *", "2026-02-01T00:00", "2026-03-01T09:00"),
        ("0 9 L-1W * *", "2026-02-01T00:00", "2026-02-27T09:00"),
        # The day can never be, the weekday can.
        ("0 0 31 2 mon", "2026-01-01T00:00", "2026-02-02T00:00"),
        ("0 0 29 2 *", "2096-03-01T00:00", "2104-02-29T00:00"),
        # Seconds first.
        ("30 * * * * *", "2026-01-01T00:00", "2026-01-01T00:00:30"),
        ("0 30 8 * * *", "2026-01-01T00:00", "2026-01-01T08:30"),
        ("*/20 * * * * sun", "2026-01-01T00:00", "2026-01-04T00:00"),
    ],
)
def test_an_expression_ticks(expression: str, after: str, tick: str) -> None:
    assert next_tick(parse_cron(expression), load_zone("UTC"), utc(after)) == utc(tick)


@pytest.mark.parametrize(
    ("expression", "rule"),
    [
        ("61 * * * *", "minute must be between 0 and 59, got 61"),
        ("* 24 * * *", "hour must be between 0 and 23, got 24"),
        ("* * 0 * *", "day of month must be between 1 and 31, got 0"),
        ("* * * 13 *", "month must be between 1 and 12, got 13"),
        ("* * * * 8", "day of week must be between 0 and 7, got 8"),
        ("60 * * * * *", "second must be between 0 and 59, got 60"),
        ("* * * *", "must have 5 fields (minute hour day month weekday) or 6 with seconds first, got 4"),
        (
            "0 0 0 1 1 * 2027",
            "must have 5 fields (minute hour day month weekday) or 6 with seconds first, got 7",
        ),
        ("", "must have 5 fields (minute hour day month weekday) or 6 with seconds first, got 0"),
        ("soon", "must have 5 fields (minute hour day month weekday) or 6 with seconds first, got 1"),
        ("x * * * *", 'minute must be a number between 0 and 59, got "x"'),
        ("* * * foo *", 'month must be a number between 1 and 12 or a name (jan), got "foo"'),
        ("1, * * * *", "minute must be a number between 0 and 59, got nothing"),
        ("-1 * * * *", "minute must be a number between 0 and 59, got nothing"),
        ("*/0 * * * *", "minute step must be between 1 and 59, got 0"),
        ("*/90 * * * *", "minute step must be between 1 and 59, got 90"),
        ("*/ * * * *", "minute step must be between 1 and 59, got nothing"),
        ("0 22-6 * * *", "hour range must not run backwards, got 22-6"),
        ("0 0 31 2 *", "can never fire: no such month has a day 31"),
        ("0 0 30 2 *", "can never fire: no such month has a day 30"),
        ("0 0 31 2,4,6,9,11 *", "can never fire: no such month has a day 31"),
        ("0 0 * * mon#6", "day of week after # must be between 1 and 5, got 6"),
        ("0 0 * * l", "day of week L must come with a weekday, as in 5L"),
        ("R * * * *", 'minute must be a number between 0 and 59, got "r"'),
        ("H H * * *", 'minute must be a number between 0 and 59, got "h"'),
        ("h(0-9) * * * *", 'minute must be a number between 0 and 59, got "h(0"'),
        ("0 0 32w * *", "day of month must be between 1 and 31, got 32"),
        ("0 0 w * *", "day of month must be a number between 1 and 31, got nothing"),
        ("0 0 l-31 * *", 'day of month after L must be -1 to -30, got "-31"'),
        ("0 0 l-0w * *", 'day of month after L must be -1 to -30, got "-0"'),
        ("0 0 l-29 2 *", "can never fire: no such month has a day l-29"),
        ("0 0 31w 4,6 *", "can never fire: no such month has a day 31w"),
        ("0 0 */31 * mon#2", "can never fire: no such month has a day that is both */31 and mon#2"),
        ("? * * * *", 'minute must be a number between 0 and 59, got "?"'),
        ("٣ * * * *", 'minute must be a number between 0 and 59, got "٣"'),
        ("@reboot", "an alias must be one of @hourly @daily @midnight @weekly @monthly @yearly @annually"),
        ("* * * * * 0", "may mean seconds first or last"),
        ("* * * * * */5", "may mean seconds first or last"),
        ("0,1" + ",1" * 500 + " * * * *", "must have at most 1000 characters, got 1011"),
    ],
)
def test_a_refused_expression_is_named_with_the_rule(expression: str, rule: str) -> None:
    with pytest.raises(InvalidCron) as refused:
        parse_cron(expression)
    assert rule in str(refused.value)
    assert f'cron expression "{expression[:60]}' in str(refused.value)
    assert len(str(refused.value)) < 400


@settings(max_examples=300)
@given(st.text(alphabet="0123456789*/-,?#lLwWrRhH@ monjaf\n\u00a0", max_size=30) | st.text(max_size=20))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        cron = parse_cron(text)
    except InvalidCron:
        return
    assert describe(cron)
    assert next_tick(cron, load_zone("UTC"), EPOCH) is not None


@pytest.mark.parametrize(
    "name",
    [
        "",
        "Mars/Olympus",
        "europe/berlin ",
        "../../etc/passwd",
        "/etc/passwd",
        "Europe",
        "Europe/",
        "+02:00",
        "right/Europe/Berlin",
        "posix/UTC",
        "localtime",
        "tzdata.zi",
        "Europe/Berlin\x00",
        "Ä",
        "A" * 5000,
    ],
)
def test_a_refused_zone_is_named(name: str) -> None:
    with pytest.raises(InvalidTimezone) as refused:
        load_zone(name)
    assert name[:100] in str(refused.value)
    assert len(str(refused.value)) < 300


def test_a_tick_is_strictly_after_and_a_previous_one_may_be_now() -> None:
    cron, zone = parse_cron("0 8 * * *"), load_zone("UTC")
    at = utc("2026-01-01T08:00")
    assert next_tick(cron, zone, at) == at + timedelta(days=1)
    assert next_tick(cron, zone, at - timedelta(microseconds=1)) == at
    assert previous_tick(cron, zone, at) == at
    assert previous_tick(cron, zone, at - timedelta(microseconds=1)) == at - timedelta(days=1)


def test_there_is_no_tick_beyond_the_calendar() -> None:
    end = datetime.max.replace(tzinfo=UTC)
    begin = datetime.min.replace(tzinfo=UTC)
    for expression in ("0 0 1 1 *", "*/5 * * * *"):
        for zone in ("UTC", "Asia/Tokyo", "America/New_York"):
            assert next_tick(parse_cron(expression), load_zone(zone), end) is None
            assert previous_tick(parse_cron(expression), load_zone(zone), begin) in (None, begin)


def test_an_instant_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="must have a time zone"):
        next_tick(parse_cron("@daily"), load_zone("UTC"), datetime(2026, 1, 1))


def test_threads_may_share_an_expression() -> None:
    cron, zone = parse_cron("*/7 3-20 1,15 * mon"), load_zone("Europe/Berlin")
    starts = [utc("2026-01-01T00:00") + timedelta(hours=7 * n) for n in range(200)]
    expected = [previous_tick(cron, zone, start) for start in starts]
    found: list[list[datetime | None]] = [[] for _ in range(4)]

    def work(mine: list[datetime | None]) -> None:
        mine.extend(previous_tick(cron, zone, start) for start in starts)

    threads = [threading.Thread(target=work, args=(mine,)) for mine in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(mine == expected for mine in found)


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("0 8 * * *", "every day at 08:00"),
        ("*/5 * * * *", "every 5 minutes"),
        ("30 2 * * 1", "at 02:30 on Monday"),
        ("* * * * *", "every minute"),
        ("@hourly", "every hour"),
        ("15 * * * *", "every hour at minute 15"),
        ("0 */2 * * *", "every 2 hours"),
        ("*/10 * * * * *", "every 10 seconds"),
        ("30 0 8 * * *", "every day at 08:00:30"),
        ("0 9-18 * * mon-fri", "at minute 0 of hour 9 to 18 on Monday to Friday"),
        ("*/7 * * * *", "every day at minute 0, 7, 14, 21, 28, 35, 42, 49 and 56"),
        ("0 0 1,15 * mon", "at 00:00 on day 1 and 15 of the month or on Monday"),
        ("0 0 l 1,3 *", "at 00:00 on the last day of the month in January and March"),
        ("0 0 * * mon#2", "at 00:00 on the second Monday of the month"),
        ("0 0 * * l5", "at 00:00 on the last Friday of the month"),
        ("0 8 * jul *", "every day in July at 08:00"),
        ("*/15 8 * * sat,sun", "at 08:00, 08:15, 08:30 and 08:45 on Saturday and Sunday"),
    ],
)
def test_an_expression_in_words(expression: str, words: str) -> None:
    assert describe(parse_cron(expression)) == words
