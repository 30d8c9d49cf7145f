from __future__ import annotations

import re
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgsched.domain.errors import InvalidTask
from pgsched.domain.interval import Interval


@pytest.mark.parametrize(
    ("text", "interval"),
    [
        ("90s", Interval(0, 0, 90_000_000)),
        ("90", Interval(0, 0, 90_000_000)),
        ("0.5", Interval(0, 0, 500_000)),
        ("250ms", Interval(0, 0, 250_000)),
        ("15m", Interval(0, 0, 900_000_000)),
        ("2h", Interval(0, 0, 7_200_000_000)),
        ("1d", Interval(0, 1, 0)),
        ("1w", Interval(0, 7, 0)),
        ("1mo", Interval(1, 0, 0)),
        ("1h30m", Interval(0, 0, 5_400_000_000)),
        (" 1MO 2d 0.5s ", Interval(1, 2, 500_000)),
        ("1.5d", Interval(0, 1, 43_200_000_000)),
        ("0.000001", Interval(0, 0, 1)),
        ("0s", Interval()),
    ],
)
def test_text_is_read(text: str, interval: Interval) -> None:
    assert Interval.parse(text) == interval


@pytest.mark.parametrize(
    "text", ["", " ", "soon", "-5m", "1y", "m", "1h30", "1 2", "1e3", "1.5mo", ".5", "٣s", "1" * 200, "nan"]
)
def test_text_that_is_no_interval_is_refused_with_the_value_and_the_rule(text: str) -> None:
    with pytest.raises(InvalidTask) as refused:
        Interval.parse(text)
    assert text[:100] in str(refused.value)
    assert "must be" in str(refused.value)


@pytest.mark.parametrize("text", ["99999999999mo", "99999999999d", "99999999999999h"])
def test_text_beyond_the_range_of_postgresql_is_refused(text: str) -> None:
    with pytest.raises(InvalidTask, match="beyond the range"):
        Interval.parse(text)


def test_seconds_are_those_of_extract_epoch() -> None:
    assert Interval(1, 0, 0).seconds == 30 * 86_400
    assert Interval(14, 1, 500_000).seconds == 365.25 * 86_400 + 61 * 86_400 + 0.5
    assert Interval(-14, 0, 0).seconds == -Interval(14, 0, 0).seconds


@pytest.mark.parametrize(
    ("interval", "text"),
    [
        (Interval(1, 2, 500_000), "1 mons 2 days 0.5 secs"),
        (Interval(), "0 secs"),
        (Interval(0, 0, -1_500_000), "-1.5 secs"),
        (Interval(-1, 2, 0), "-1 mons 2 days"),
        (Interval(0, 0, 60_000_000), "60 secs"),
        (Interval(0, 0, 1), "0.000001 secs"),
    ],
)
def test_text_for_postgresql(interval: Interval, text: str) -> None:
    assert interval.to_text() == text


@given(st.integers(0, 2**31 - 1), st.integers(0, 2**31 - 1), st.integers(0, 2**63 - 1))
def test_text_for_postgresql_is_read_back(months: int, days: int, microseconds: int) -> None:
    interval = Interval(months, days, microseconds)
    assert Interval.parse(interval.to_text()) == interval


@given(st.timedeltas())
def test_a_timedelta_keeps_its_length(value: timedelta) -> None:
    interval = Interval.from_timedelta(value)
    assert timedelta(days=interval.days, microseconds=interval.microseconds) == value


@given(st.integers(-(2**31), 2**31 - 1), st.integers(-(2**31), 2**31 - 1), st.integers(-(2**63), 2**63 - 1))
def test_text_for_postgresql_holds_every_field_exactly(months: int, days: int, microseconds: int) -> None:
    read = {"mons": 0, "days": 0, "secs": 0}
    for sign, whole, fraction, unit in re.findall(
        r"(-?)(\d+)(?:\.(\d+))? (\w+)", Interval(months, days, microseconds).to_text()
    ):
        amount = int(whole) if unit != "secs" else int(whole + fraction.ljust(6, "0"))
        read[unit] = -amount if sign else amount
    assert (read["mons"], read["days"], read["secs"]) == (months, days, microseconds)
