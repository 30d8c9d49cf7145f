from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgsched.domain.backoff import JITTER, KINDS, retry_delay
from pgsched.domain.errors import InvalidTask

kinds = st.sampled_from(KINDS)
attempts = st.integers(1, 10**6)
delays = st.floats(0, 1e6)
draws = st.floats(0, 1, exclude_max=True)


def half() -> float:
    """The middle of the spread."""
    return 0.5


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("exponential", [5, 10, 20, 40, 80]), ("linear", [5, 10, 15, 20, 25]), ("fixed", [5, 5, 5, 5, 5])],
)
def test_the_middle_of_the_spread_is_the_plain_delay(kind: str, expected: list[float]) -> None:
    found = [retry_delay(kind, attempt, 5, 3600, half) for attempt in range(1, 6)]
    assert found == pytest.approx(expected)


@given(kinds, attempts, delays, delays, draws)
def test_a_delay_is_never_negative_and_never_beyond_the_maximum(
    kind: str, attempt: int, delay: float, maximum: float, draw: float
) -> None:
    assert 0 <= retry_delay(kind, attempt, delay, maximum, lambda: draw) <= max(maximum, delay)


@given(kinds, attempts, delays, delays, draws)
def test_a_later_attempt_never_waits_less(kind: str, attempt: int, delay: float, maximum: float, draw: float) -> None:
    sooner = retry_delay(kind, attempt, delay, maximum, lambda: draw)
    assert retry_delay(kind, attempt + 1, delay, maximum, lambda: draw) >= sooner


@given(st.floats(1, 1e6), draws)
def test_a_delay_is_spread_by_a_fifth_to_either_side(delay: float, draw: float) -> None:
    found = retry_delay("fixed", 1, delay, 1e9, lambda: draw)
    assert delay * (1 - JITTER) <= found <= delay * (1 + JITTER)


def test_delays_at_the_maximum_are_still_spread() -> None:
    low = retry_delay("exponential", 50, 5, 3600, lambda: 0.0)
    high = retry_delay("exponential", 50, 5, 3600, lambda: 0.999)
    assert low == pytest.approx(2880)
    assert high == pytest.approx(3600, rel=0.001)


@pytest.mark.parametrize("kind", KINDS)
def test_a_millionth_attempt_does_not_overflow(kind: str) -> None:
    assert retry_delay(kind, 10**6, 5, 3600, half) <= 3600


def test_a_first_delay_beyond_the_maximum_raises_it() -> None:
    assert retry_delay("exponential", 1, 86_400, 3600, half, jitter=0) == 86_400
    assert retry_delay("exponential", 9, 86_400, 3600, half, jitter=0) == 86_400


def test_the_factor_is_that_of_exponential_delays() -> None:
    assert [retry_delay("exponential", n, 5, 3600, half, factor=5, jitter=0) for n in range(1, 5)] == [5, 25, 125, 625]
    assert [retry_delay("linear", n, 5, 3600, half, factor=5, jitter=0) for n in range(1, 4)] == [5, 10, 15]


def test_without_jitter_a_delay_is_exact() -> None:
    assert {retry_delay("fixed", 1, 7, 3600, lambda draw=n / 10: draw, jitter=0) for n in range(10)} == {7}


def test_an_unknown_kind_is_refused_by_name() -> None:
    with pytest.raises(InvalidTask, match='backoff must be one of exponential, linear, fixed, got "cubic"'):
        retry_delay("cubic", 1, 5, 3600, half)


@pytest.mark.parametrize(("attempt", "delay", "maximum"), [(0, 5, 10), (1, -5, 10), (1, 5, -10), (1, float("nan"), 1)])
def test_values_without_sense_are_refused(attempt: int, delay: float, maximum: float) -> None:
    with pytest.raises(InvalidTask):
        retry_delay("fixed", attempt, delay, maximum, half)
