"""When a backlog is drained, and when it is told of that it grows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from pgsched.domain.waiting.backlog import Sample, forecast, has_grown

NOW = datetime(2030, 6, 1, 12, tzinfo=UTC)


def samples(*due: int, oldest: float = 300.0) -> list[Sample]:
    """One a minute, the last of them now."""
    since = NOW - timedelta(seconds=oldest)
    ages = range(len(due) - 1, -1, -1)
    return [
        Sample(at=NOW - timedelta(minutes=age), due=number, exact=True, oldest_due_at=since)
        for age, number in zip(ages, due, strict=True)
    ]


def test_a_backlog_that_shrinks_evenly_is_drained_at_its_rate() -> None:
    found = forecast(samples(*range(1500, 600, -100)), NOW)
    assert (found.kind, found.text, found.due) == ("drains", "it is drained in about 7 min", 700)
    assert found.per_minute == pytest.approx(-100)


def test_a_backlog_that_shrinks_unevenly_has_a_range() -> None:
    found = forecast(samples(1000, 990, 980, 970, 960, 900, 840, 780, 720), NOW)
    assert found.kind == "drains"
    assert found.seconds_low is not None
    assert found.seconds_high is not None
    assert found.seconds_low == pytest.approx(720, rel=0.2)
    assert found.seconds_high > 2 * found.seconds_low


def test_a_backlog_that_did_not_shrink_all_the_time_has_no_latest_end() -> None:
    found = forecast(samples(800, 850, 900, 950, 900, 700, 500, 300, 100), NOW)
    assert (found.kind, found.seconds_high) == ("drains", None)
    assert "at the earliest" in found.text


def test_a_backlog_that_grows_says_by_how_much() -> None:
    found = forecast(samples(100, 160, 220, 280), NOW)
    assert (found.kind, found.text) == ("grows", "it grows by about 60 a minute")


@pytest.mark.parametrize(
    ("due", "kind"),
    [
        ((), "unknown"),
        ((5,), "unknown"),
        ((5, 4), "unknown"),
        ((3, 2, 0), "empty"),
        ((1000, 1000, 1001, 1000), "steady"),
    ],
)
def test_what_is_too_little_to_go_by_is_not_foretold(due: tuple[int, ...], kind: str) -> None:
    assert forecast(samples(*due), NOW).kind == kind


def test_old_samples_do_not_count() -> None:
    old = [
        Sample(at=one.at - timedelta(hours=1), due=one.due, exact=True, oldest_due_at=None)
        for one in samples(100, 160, 220)
    ]
    assert forecast(old, NOW).kind == "unknown"


def test_growth_is_told_of_when_it_lasts_and_is_worth_it() -> None:
    grown = range(1000, 2200, 100)
    assert has_grown(samples(*grown), NOW) == pytest.approx(100)
    assert has_grown(samples(*grown, oldest=10), NOW) is None  # nothing is late
    assert has_grown(samples(*grown[:5]), NOW) is None  # not for ten minutes
    assert has_grown(samples(*range(10, 22)), NOW) is None  # not by 100
    assert has_grown(samples(*reversed(grown)), NOW) is None
    assert has_grown(samples(*[100] * 6, 5000, *[200] * 6), NOW) is None  # a peak that is gone
