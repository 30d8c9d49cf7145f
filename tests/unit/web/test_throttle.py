"""How long an address has to wait after wrong tokens. The clock is the test's own."""

from __future__ import annotations

import pytest

from pgsched.web.auth.throttle import (
    FORGOTTEN_AFTER,
    FREE,
    FREE_FROM_ALL,
    LONGEST_WAIT,
    MAX_ADDRESSES,
    Throttle,
)
from tests.support.clock import Clock

ANN, BOB = "10.0.0.1", "10.0.0.2"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def throttle(clock: Clock) -> Throttle:
    return Throttle(clock=clock)


def wrong(throttle: Throttle, remote: str | None, times: int) -> None:
    for _ in range(times):
        throttle.note_wrong(remote)


def test_some_wrong_tokens_are_free(throttle: Throttle) -> None:
    wrong(throttle, ANN, FREE)
    assert throttle.seconds_to_wait(ANN) == 0
    wrong(throttle, ANN, 1)
    assert throttle.seconds_to_wait(ANN) == 1


def test_wait_grows_up_to_the_longest(throttle: Throttle, clock: Clock) -> None:
    wrong(throttle, ANN, FREE)
    waits = []
    for _ in range(12):
        wrong(throttle, ANN, 1)
        waits.append(throttle.seconds_to_wait(ANN))
        clock.now += waits[-1]
        assert throttle.seconds_to_wait(ANN) == 0
    assert waits[:5] == [1, 2, 4, 8, 16]
    assert waits[-1] == LONGEST_WAIT
    wrong(throttle, ANN, 5000)
    assert throttle.seconds_to_wait(ANN) == LONGEST_WAIT


def test_wait_is_told_rounded_up(throttle: Throttle, clock: Clock) -> None:
    wrong(throttle, ANN, FREE + 2)
    clock.now += 0.5
    assert throttle.seconds_to_wait(ANN) == 2


def test_other_address_does_not_wait(throttle: Throttle) -> None:
    wrong(throttle, ANN, 50)
    assert (throttle.seconds_to_wait(ANN) > 0, throttle.seconds_to_wait(BOB)) == (True, 0)


def test_login_forgets(throttle: Throttle) -> None:
    wrong(throttle, ANN, FREE + 3)
    throttle.forget(ANN)
    assert (throttle.seconds_to_wait(ANN), len(throttle)) == (0, 0)
    wrong(throttle, ANN, FREE)
    assert throttle.seconds_to_wait(ANN) == 0


def test_time_forgets(throttle: Throttle, clock: Clock) -> None:
    wrong(throttle, ANN, FREE + 3)
    clock.now += FORGOTTEN_AFTER - 1
    wrong(throttle, BOB, 1)
    assert len(throttle) == 2
    clock.now += 2
    wrong(throttle, BOB, 1)
    assert len(throttle) == 1
    wrong(throttle, ANN, 1)
    assert throttle.seconds_to_wait(ANN) == 0


def test_after_many_from_everywhere_the_first_wrong_one_costs_time(throttle: Throttle, clock: Clock) -> None:
    for number in range(FREE_FROM_ALL):
        wrong(throttle, f"10.1.0.{number}", 1)
    assert throttle.seconds_to_wait("10.1.0.0") == 0
    wrong(throttle, ANN, 1)
    assert throttle.seconds_to_wait(ANN) == 1
    assert throttle.seconds_to_wait(BOB) == 0, "who gave no wrong token never waits"
    clock.now += FORGOTTEN_AFTER
    wrong(throttle, BOB, 1)
    assert throttle.seconds_to_wait(BOB) == 0


def test_memory_is_bounded_and_the_latest_are_kept(throttle: Throttle) -> None:
    wrong(throttle, ANN, FREE + 1)
    for number in range(MAX_ADDRESSES + 10):
        wrong(throttle, f"name-{number}", 1)
    assert len(throttle) == MAX_ADDRESSES
    assert throttle.seconds_to_wait(f"name-{MAX_ADDRESSES}") > 0
    assert throttle.seconds_to_wait(ANN) == 0


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:2", True),  # one machine has all of a /64
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:10.0.0.1", "10.0.0.1", True),
        ("::ffff:10.0.0.1", "::ffff:10.0.0.2", False),
        (None, None, True),
        (None, "10.0.0.1", False),
    ],
)
def test_what_counts_as_one_address(throttle: Throttle, one: str | None, other: str | None, same: bool) -> None:
    wrong(throttle, one, FREE + 1)
    assert (throttle.seconds_to_wait(other) > 0) is same
