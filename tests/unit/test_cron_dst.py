"""Cron where the clocks change: every expression at every change, against an oracle that tries every minute.

The oracle is written from the rule (see ``next_tick``) and shares no code with it. cronsim, which mimics
Debian's cron, must agree too, but for a list of differences.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import given, settings
from hypothesis import strategies as st

from pgsched.domain.scheduling.cron import Cron, load_zone, next_tick, parse_cron, previous_tick

MINUTE = timedelta(minutes=1)
EVERY_MINUTE = frozenset(range(60))
EVERY_HOUR = frozenset(range(24))

# A zone and a time (UTC) within hours of a change of its clocks. What happens there is in the comment.
CHANGES = [
    ("Europe/Berlin", "2026-03-29T01:00"),  # 02:00 to 03:00
    ("Europe/Berlin", "2026-10-25T01:00"),  # 03:00 to 02:00
    ("Europe/London", "2026-03-29T01:00"),  # 01:00 to 02:00
    ("Europe/London", "2026-10-25T01:00"),  # 02:00 to 01:00
    ("Europe/Dublin", "2026-03-29T01:00"),  # negative daylight saving: standard time in summer
    ("Europe/Dublin", "2026-10-25T01:00"),
    ("America/New_York", "2026-03-08T07:00"),  # 02:00 to 03:00
    ("America/New_York", "2026-11-01T06:00"),  # 02:00 to 01:00
    ("America/St_Johns", "2026-03-08T05:30"),  # a zone of half an hour
    ("America/St_Johns", "2010-11-07T02:31"),  # 00:01 to 23:01 of the day before
    ("America/Sao_Paulo", "2018-11-04T03:00"),  # 00:00 to 01:00: a day without a midnight
    ("America/Sao_Paulo", "2018-02-18T02:00"),  # 00:00 to 23:00 of the day before
    ("America/Havana", "2025-03-09T05:00"),  # 00:00 to 01:00
    ("America/Havana", "2025-11-02T05:00"),  # 01:00 to 00:00: two midnights
    ("America/Asuncion", "2023-10-01T04:00"),  # 00:00 to 01:00
    ("America/Caracas", "2016-05-01T07:00"),  # 02:30 to 03:00 for good
    ("Australia/Lord_Howe", "2026-10-03T15:30"),  # 02:00 to 02:30
    ("Australia/Lord_Howe", "2026-04-04T15:00"),  # 02:00 to 01:30
    ("Australia/Sydney", "2026-10-03T16:00"),
    ("Australia/Sydney", "2026-04-04T16:00"),
    ("Pacific/Chatham", "2026-09-26T14:00"),  # 02:45 to 03:45
    ("Pacific/Chatham", "2026-04-04T14:00"),  # 03:45 to 02:45
    ("Pacific/Apia", "2011-12-30T10:00"),  # the 30th of December is skipped
    ("Pacific/Kiritimati", "1995-01-01T10:00"),  # so is a day here
    ("Africa/Casablanca", "2026-02-15T02:00"),  # Ramadan: 03:00 to 02:00
    ("Africa/Casablanca", "2026-03-22T02:00"),
    ("Africa/Cairo", "2026-04-23T22:00"),  # 00:00 to 01:00
    ("Asia/Beirut", "2026-03-28T22:00"),
    ("Asia/Gaza", "2026-10-23T23:00"),
    ("Asia/Pyongyang", "2018-05-04T15:00"),  # 23:30 to 00:00 of the next day, for good
    ("Antarctica/Troll", "2026-03-29T01:00"),  # two hours at once
    ("Antarctica/Troll", "2026-10-25T01:00"),
    ("Antarctica/Casey", "2010-03-04T15:00"),  # three hours back
    ("Asia/Kathmandu", "1985-12-31T18:30"),  # a quarter of an hour, for good
]

# An expression, its minutes and hours, and whether it is fixed, all written by hand.
EXPRESSIONS: dict[str, tuple[frozenset[int], frozenset[int], bool]] = {
    "30 2 * * *": (frozenset({30}), frozenset({2}), True),
    "0 0 * * *": (frozenset({0}), frozenset({0}), True),
    "0 3 * * *": (frozenset({0}), frozenset({3}), True),
    "15,45 2 * * *": (frozenset({15, 45}), frozenset({2}), True),
    "0,30 0-4 * * *": (frozenset({0, 30}), frozenset(range(5)), True),
    "45 1,2,3,23 * * *": (frozenset({45}), frozenset({1, 2, 3, 23}), True),
    "0-59/20 2 * * *": (frozenset({0, 20, 40}), frozenset({2}), True),
    "10 0-23/2 * * *": (frozenset({10}), frozenset(range(0, 24, 2)), True),
    "*/20 2 * * *": (frozenset({0, 20, 40}), frozenset({2}), False),
    "*/30 * * * *": (frozenset({0, 30}), EVERY_HOUR, False),
    "0 * * * *": (frozenset({0}), EVERY_HOUR, False),
    "15 */2 * * *": (frozenset({15}), frozenset(range(0, 24, 2)), False),
    "*/15 0,1,2 * * *": (frozenset({0, 15, 30, 45}), frozenset({0, 1, 2}), False),
    "5/25 2 * * *": (frozenset({5, 30, 55}), frozenset({2}), False),
}

# The same with a choice of what runs: in a gap and in the passes of a fold.
CHOICES: dict[str, tuple[frozenset[int], frozenset[int], bool, set[int]]] = {
    "30 2 * * * skipped=skip": (frozenset({30}), frozenset({2}), False, {0}),
    "30 2 * * * repeated=second": (frozenset({30}), frozenset({2}), True, {1}),
    "0,30 0-4 * * * repeated=both": (frozenset({0, 30}), frozenset(range(5)), True, {0, 1}),
    "0 0 * * * skipped=skip repeated=second": (frozenset({0}), frozenset({0}), False, {1}),
    "*/20 2 * * * skipped=run": (frozenset({0, 20, 40}), frozenset({2}), True, {0, 1}),
    "*/30 * * * * repeated=first": (frozenset({0, 30}), EVERY_HOUR, False, {0}),
    "15 */2 * * * skipped=run repeated=second": (frozenset({15}), frozenset(range(0, 24, 2)), True, {1}),
}

CASES = [(expression, zone, change) for zone, change in CHANGES for expression in (*EXPRESSIONS, *CHOICES)]

A_STEP = "a step from a to the end, `a/n`, is a rhythm to us as `*/n` is, and a fixed time to cronsim"
CRONSIM_EXPRESSIONS = [expression for expression in EXPRESSIONS if "5/25" not in expression]
# All other differences, each explained:
SKIPPED_DAY = "cronsim runs what fell in a skipped day when it ends; to Debian's cron that is a correction"
PART_OF_AN_HOUR = "cronsim steps by whole hours, and loses ticks where the clocks move by part of one"
NEVER_RETURNS = "cronsim steps by whole hours, and turns in circles where the clocks move at 00:01"
FIXED = [
    expression
    for expression, (minutes, hours, fixed) in EXPRESSIONS.items()
    if fixed and not (0 in minutes and 0 in hours)  # at midnight, where the skipped day ends, these run anyway
]
CRONSIM_DIFFERS = {
    **{("Pacific/Apia", "2011-12-30T10:00", expression): SKIPPED_DAY for expression in FIXED},
    **{("Pacific/Kiritimati", "1995-01-01T10:00", expression): SKIPPED_DAY for expression in FIXED},
    ("America/St_Johns", "2010-11-07T02:31", "15 */2 * * *"): NEVER_RETURNS,
    ("America/St_Johns", "2010-11-07T02:31", "*/15 0,1,2 * * *"): NEVER_RETURNS,
    ("America/Caracas", "2016-05-01T07:00", "0 * * * *"): PART_OF_AN_HOUR,
    ("Australia/Lord_Howe", "2026-04-04T15:00", "*/20 2 * * *"): PART_OF_AN_HOUR,
    ("Australia/Lord_Howe", "2026-04-04T15:00", "15 */2 * * *"): PART_OF_AN_HOUR,
    ("Pacific/Chatham", "2026-04-04T14:00", "*/15 0,1,2 * * *"): PART_OF_AN_HOUR,
    ("Asia/Pyongyang", "2018-05-04T15:00", "0 * * * *"): PART_OF_AN_HOUR,
    ("Asia/Pyongyang", "2018-05-04T15:00", "15 */2 * * *"): PART_OF_AN_HOUR,
    ("Asia/Pyongyang", "2018-05-04T15:00", "*/15 0,1,2 * * *"): PART_OF_AN_HOUR,
    ("Asia/Kathmandu", "1985-12-31T18:30", "*/20 2 * * *"): PART_OF_AN_HOUR,
}


@cache
def minutes_around(zone: str, change: str) -> list[tuple[datetime, datetime]]:
    """Every minute of the 30 hours before and after a change, as instant and wall-clock time."""
    at = datetime.fromisoformat(change).replace(tzinfo=UTC)
    known = ZoneInfo(zone)
    instants = [at + n * MINUTE for n in range(-30 * 60, 30 * 60)]
    return [(instant, instant.astimezone(known).replace(tzinfo=None, fold=0)) for instant in instants]


def oracle(
    minutes: frozenset[int], hours: frozenset[int], runs_skipped: bool, passes: set[int], zone: str, change: str
) -> list[datetime]:
    """The ticks around a change, found by trying every minute; ``passes`` of what comes twice: 0 and 1."""
    table = minutes_around(zone, change)
    often = Counter(wall for _, wall in table)
    ticks: list[datetime] = []
    seen: Counter[datetime] = Counter()
    for (_, before), (instant, wall) in zip([table[0], *table], table, strict=False):
        skipped = wall - before - MINUTE
        if runs_skipped and timedelta(0) < skipped <= timedelta(hours=3):
            jumped = [before + n * MINUTE for n in range(1, skipped // MINUTE + 1)]
            if any(missing.minute in minutes and missing.hour in hours for missing in jumped):
                ticks.append(instant)
        is_wanted = often[wall] == 1 or seen[wall] in passes
        if wall.minute in minutes and wall.hour in hours and is_wanted and instant not in ticks[-1:]:
            ticks.append(instant)
        seen[wall] += 1
    return ticks


def rule_of(expression: str, zone: str, change: str) -> list[datetime]:
    """The ticks of an expression of the table around a change, by the oracle."""
    if expression in CHOICES:
        return oracle(*CHOICES[expression], zone, change)
    minutes, hours, fixed = EXPRESSIONS[expression]
    return oracle(minutes, hours, fixed, {0} if fixed else {0, 1}, zone, change)


def forwards(cron: Cron, zone: ZoneInfo, start: datetime, end: datetime) -> list[datetime]:
    ticks: list[datetime] = []
    tick = next_tick(cron, zone, start - timedelta(seconds=1))
    while tick is not None and tick <= end:
        ticks.append(tick)
        tick = next_tick(cron, zone, tick)
    return ticks


def backwards(cron: Cron, zone: ZoneInfo, start: datetime, end: datetime) -> list[datetime]:
    ticks: list[datetime] = []
    tick = previous_tick(cron, zone, end)
    while tick is not None and tick >= start:
        ticks.insert(0, tick)
        tick = previous_tick(cron, zone, tick - timedelta(microseconds=1))
    return ticks


def cronsim_ticks(expression: str, zone: str, change: str) -> list[datetime]:
    """The ticks around a change by cronsim. Does not return where CRONSIM_DIFFERS says so."""
    table = minutes_around(zone, change)
    start, end = table[0][0], table[-1][0]
    theirs: list[datetime] = []
    for tick in CronSim(expression, (start - MINUTE / 2).astimezone(ZoneInfo(zone))):
        instant = tick.astimezone(UTC)
        if instant > end:
            break
        theirs.append(instant)
    return theirs


def test_the_table_holds_changes_of_at_least_twelve_zones_and_two_hundred_cases() -> None:
    assert len(CASES) >= 200
    assert len({zone for zone, _ in CHANGES}) >= 12
    for zone, change in CHANGES:
        table = minutes_around(zone, change)
        offsets = {instant.replace(tzinfo=None) - wall for instant, wall in table}
        assert len(offsets) == 2, f"no change of the clocks in {zone} around {change}"


@pytest.mark.parametrize(("expression", "zone", "change"), CASES)
def test_ticks_around_a_change_are_those_of_the_rule(expression: str, zone: str, change: str) -> None:
    table = minutes_around(zone, change)
    start, end = table[0][0], table[-1][0]
    expected = rule_of(expression, zone, change)
    cron = parse_cron(expression)
    assert expression in CHOICES or cron.fixed == EXPRESSIONS[expression][2]
    assert forwards(cron, load_zone(zone), start, end) == expected
    assert backwards(cron, load_zone(zone), start, end) == expected


@pytest.mark.parametrize(
    ("expression", "zone", "change"),
    [
        (expression, zone, change)
        for expression, zone, change in CASES
        if expression in CRONSIM_EXPRESSIONS and (zone, change, expression) not in CRONSIM_DIFFERS
    ],
)
def test_ticks_around_a_change_are_those_of_cronsim(expression: str, zone: str, change: str) -> None:
    table = minutes_around(zone, change)
    start, end = table[0][0], table[-1][0]
    assert forwards(parse_cron(expression), load_zone(zone), start, end) == cronsim_ticks(expression, zone, change)


@settings(max_examples=150)
@given(
    change=st.sampled_from(CHANGES),
    minutes=st.frozensets(st.integers(0, 59), min_size=1, max_size=4),
    hours=st.frozensets(st.integers(0, 23), min_size=1, max_size=6),
    minute_step=st.sampled_from([0, 1, 7, 20, 30, 45]),
    hour_step=st.sampled_from([0, 1, 5, 12]),
)
def test_any_expression_around_a_change_has_the_ticks_of_the_rule(
    change: tuple[str, str],
    minutes: frozenset[int],
    hours: frozenset[int],
    minute_step: int,
    hour_step: int,
) -> None:
    minute_text, hour_text = ",".join(map(str, minutes)), ",".join(map(str, hours))
    if minute_step:
        minutes, minute_text = frozenset(range(0, 60, minute_step)), f"*/{minute_step}"
    if hour_step:
        hours, hour_text = frozenset(range(0, 24, hour_step)), f"*/{hour_step}"
    # A span around the change is enough: far from it a dense expression only costs time.
    at = datetime.fromisoformat(change[1]).replace(tzinfo=UTC)
    start, end = at - 5 * 60 * MINUTE, at + 5 * 60 * MINUTE
    fixed = not minute_step and not hour_step
    found = oracle(minutes, hours, fixed, {0} if fixed else {0, 1}, *change)
    expected = [tick for tick in found if start <= tick <= end]
    cron = parse_cron(f"{minute_text} {hour_text} * * *")
    assert forwards(cron, load_zone(change[0]), start, end) == expected
    assert backwards(cron, load_zone(change[0]), start, end) == expected


def ticks(expression: str, zone: str, start: str, end: str) -> list[str]:
    found = forwards(
        parse_cron(expression),
        load_zone(zone),
        datetime.fromisoformat(start).replace(tzinfo=UTC),
        datetime.fromisoformat(end).replace(tzinfo=UTC),
    )
    return [tick.strftime("%d %H:%M:%S" if tick.second else "%d %H:%M") for tick in found]


def test_a_fixed_time_in_the_skipped_hour_runs_right_after_it() -> None:
    assert ticks("30 2 * * *", "Europe/Berlin", "2026-03-29", "2026-03-29T12:00") == ["29 01:00"]


def test_several_fixed_times_in_the_skipped_hour_run_once() -> None:
    assert ticks("0,30 2,3 * * *", "Europe/Berlin", "2026-03-29", "2026-03-29T12:00") == [
        "29 01:00",
        "29 01:30",
    ]


def test_a_fixed_time_in_the_repeated_hour_runs_in_the_first_pass() -> None:
    assert ticks("30 2 * * *", "Europe/Berlin", "2026-10-25", "2026-10-25T12:00") == ["25 00:30"]


def test_a_step_has_no_ticks_in_the_skipped_hour() -> None:
    assert ticks("*/20 2 * * *", "Europe/Berlin", "2026-03-29", "2026-03-29T12:00") == []


def test_a_wildcard_hour_ticks_in_both_passes() -> None:
    assert ticks("0 * * * *", "Europe/Berlin", "2026-10-24T23:30", "2026-10-25T02:30") == [
        "25 00:00",
        "25 01:00",
        "25 02:00",
    ]


def test_a_fixed_time_of_seconds_in_the_skipped_hour_runs_once() -> None:
    assert ticks("10,20 30 2 * * *", "Europe/Berlin", "2026-03-29", "2026-03-29T12:00") == ["29 01:00"]


def test_a_step_of_seconds_follows_elapsed_time() -> None:
    assert ticks("*/30 30 2 * * *", "Europe/Berlin", "2026-03-29", "2026-03-29T12:00") == []
    assert ticks("*/30 30 2 * * *", "Europe/Berlin", "2026-10-25", "2026-10-25T12:00") == [
        "25 00:30",
        "25 00:30:30",
        "25 01:30",
        "25 01:30:30",
    ]


def test_midnight_that_is_skipped_runs_at_one() -> None:
    assert ticks("0 0 * * *", "America/Sao_Paulo", "2018-11-04", "2018-11-05T12:00") == [
        "04 03:00",
        "05 02:00",
    ]


def test_nothing_runs_for_a_day_that_was_skipped() -> None:
    assert ticks("0 8 * * *", "Pacific/Apia", "2011-12-29", "2011-12-31") == ["29 18:00", "30 18:00"]
    assert ticks("0 0 30 12 *", "Pacific/Apia", "2011-12-01", "2012-01-31") == []


def test_an_expression_that_only_the_skipped_hour_holds_goes_on_next_year() -> None:
    tick = next_tick(parse_cron("*/20 2 29 3 *"), load_zone("Europe/Berlin"), datetime(2026, 1, 1, tzinfo=UTC))
    assert tick == datetime(2027, 3, 29, 0, 0, tzinfo=UTC)
