"""Cron where the clocks change: every expression at every change, against an oracle that tries every minute."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgsched.domain.scheduling.cron import load_zone, next_tick, parse_cron
from tests.support.clock_changes import (
    CASES,
    CHANGES,
    CHOICES,
    CRONSIM_DIFFERS,
    CRONSIM_EXPRESSIONS,
    EXPRESSIONS,
    MINUTE,
    backwards,
    cronsim_ticks,
    forwards,
    minutes_around,
    oracle,
    rule_of,
)


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
