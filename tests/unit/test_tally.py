"""The counters of one worker, as Prometheus reads them."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from pgsched.model import Finish, Outcome
from pgsched.worker.tally import Histogram, Tally
from tests.engine import claimed


def sample(tally: Tally, name: str, **labels: str) -> float | None:
    registry = CollectorRegistry()
    registry.register(tally)
    return registry.get_sample_value(name, labels)


def ended(tally: Tally, status: str, *, next_status: str = "pending", buried: bool = False) -> None:
    tally.execution(
        claimed(),
        Outcome(status, started=1.0, finished=1.5),
        Finish(1, 1, next_status, execution=status, buried=buried),
    )


def test_an_attempt_is_counted_by_type_queue_and_outcome() -> None:
    tally = Tally(slots=1)
    ended(tally, "completed", next_status="completed")
    ended(tally, "completed", next_status="completed")
    labels = {"task_type": "mail", "queue": "default", "outcome": "completed"}
    assert sample(tally, "pgsched_executions_total", **labels) == 2


def test_the_last_attempt_of_a_task_counts_as_dead() -> None:
    tally = Tally(slots=1)
    ended(tally, "failed", next_status="dead")
    labels = {"task_type": "mail", "queue": "default", "outcome": "dead"}
    assert sample(tally, "pgsched_executions_total", **labels) == 1


def test_a_buried_tick_counts_as_dead() -> None:
    tally = Tally(slots=1)
    ended(tally, "timed_out", buried=True)
    labels = {"task_type": "mail", "queue": "default", "outcome": "dead"}
    assert sample(tally, "pgsched_executions_total", **labels) == 1


def test_a_duration_is_observed_in_seconds() -> None:
    tally = Tally(slots=1)
    ended(tally, "completed")
    labels = {"task_type": "mail", "queue": "default"}
    assert sample(tally, "pgsched_execution_duration_seconds_sum", **labels) == 0.5


def test_a_clock_that_is_a_little_behind_makes_no_negative_delay() -> None:
    tally = Tally(slots=1)
    tally.start_delay("default", -0.01)
    assert sample(tally, "pgsched_start_delay_seconds_sum", queue="default") == 0


def test_claims_count_the_leases_that_had_run_out() -> None:
    tally = Tally(slots=1)
    tally.claim([claimed(lease_expired=True), claimed()], 0.002)
    assert sample(tally, "pgsched_leases_expired_total") == 1


def test_missed_ticks_are_counted_by_policy() -> None:
    tally = Tally(slots=1)
    tally.missed("skip", 3)
    assert sample(tally, "pgsched_ticks_missed_total", policy="skip") == 3


def test_a_value_on_a_bound_is_inside_its_bucket() -> None:
    histogram = Histogram((1.0, 2.0))
    histogram.observe(1.0)
    assert histogram.buckets() == [("1", 1.0), ("2", 1.0), ("+Inf", 1.0)]


def test_a_value_beyond_every_bound_is_counted() -> None:
    histogram = Histogram((1.0, 2.0))
    histogram.observe(7.0)
    assert histogram.buckets() == [("1", 0.0), ("2", 0.0), ("+Inf", 1.0)]
