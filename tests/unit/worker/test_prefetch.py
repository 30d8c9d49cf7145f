"""How many rows a worker claims."""

from __future__ import annotations

from pgsched.worker.prefetch import HORIZON, Prefetch


def steady(rate: float, *, concurrency: int = 20, max_batch: int = 1000) -> Prefetch:
    """A prefetch that has seen ``rate`` starts a second for a long time."""
    prefetch = Prefetch(concurrency=concurrency, max_batch=max_batch)
    for second in range(50):
        prefetch.measure(float(second))
        prefetch.count(int(rate))
    prefetch.measure(50.0)
    return prefetch


def test_a_worker_that_has_started_nothing_wants_its_free_slots() -> None:
    assert Prefetch(concurrency=20, max_batch=1000).wanted(free_slots=20, waiting=0) == 20


def test_a_fast_worker_holds_the_work_of_the_horizon_ahead() -> None:
    assert abs(steady(2000).wanted(free_slots=20, waiting=0) - (20 + 2000 * HORIZON)) <= 2


def test_a_slow_worker_claims_no_more_than_its_slots() -> None:
    assert steady(5).wanted(free_slots=3, waiting=0) == 3


def test_a_slow_worker_with_full_slots_wants_nothing() -> None:
    assert steady(5).wanted(free_slots=0, waiting=0) == 0


def test_what_waits_already_is_not_claimed_again() -> None:
    assert steady(2000).wanted(free_slots=0, waiting=100) <= 101


def test_a_claim_for_a_few_rows_beside_many_that_wait_is_put_off() -> None:
    assert steady(2000).wanted(free_slots=0, waiting=190) == 0


def test_no_claim_is_larger_than_the_batch() -> None:
    assert steady(1_000_000, max_batch=500).wanted(free_slots=20, waiting=0) == 500


def test_the_rate_falls_when_nothing_is_started() -> None:
    prefetch = steady(2000)
    for second in range(51, 80):
        prefetch.measure(float(second))
    assert prefetch.wanted(free_slots=4, waiting=0) == 4


def test_two_measurements_at_the_same_moment_are_one() -> None:
    prefetch = steady(2000)
    before = prefetch.rate
    prefetch.count(5)
    prefetch.measure(50.0)
    assert prefetch.rate == before
