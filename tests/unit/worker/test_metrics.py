"""The counters of one worker, as Prometheus reads them."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from pgsched.domain.attempt import Claimed, Finish, Outcome
from pgsched.domain.interval import Interval
from pgsched.observability.label_sets import MOST_SERIES, OTHER
from pgsched.worker.metrics import Histogram, WorkerMetrics
from tests.support.engine import claimed

HOUR = Interval(microseconds=3_600_000_000)


def sample(counts: WorkerMetrics, name: str, **labels: str) -> float | None:
    registry = CollectorRegistry()
    registry.register(counts)
    return registry.get_sample_value(name, labels)


def ended(
    counts: WorkerMetrics,
    status: str,
    *,
    next_status: str = "pending",
    dead_lettered: bool = False,
    task: Claimed | None = None,
) -> None:
    counts.execution(
        task or claimed(),
        Outcome(status, started=1.0, finished=1.5),
        Finish(1, 1, next_status, execution=status, dead_lettered=dead_lettered),
    )


def test_an_attempt_is_counted_by_type_queue_and_outcome() -> None:
    counts = WorkerMetrics(slots=1)
    ended(counts, "completed", next_status="completed")
    ended(counts, "completed", next_status="completed")
    labels = {"task_type": "mail", "queue": "default", "outcome": "completed"}
    assert sample(counts, "pgsched_executions_total", **labels) == 2


def test_the_last_attempt_of_a_task_counts_as_dead() -> None:
    counts = WorkerMetrics(slots=1)
    ended(counts, "failed", next_status="dead")
    labels = {"task_type": "mail", "queue": "default", "outcome": "dead"}
    assert sample(counts, "pgsched_executions_total", **labels) == 1


def test_a_buried_tick_counts_as_dead() -> None:
    counts = WorkerMetrics(slots=1)
    ended(counts, "timed_out", dead_lettered=True)
    labels = {"task_type": "mail", "queue": "default", "outcome": "dead"}
    assert sample(counts, "pgsched_executions_total", **labels) == 1


def test_a_duration_is_observed_in_seconds() -> None:
    counts = WorkerMetrics(slots=1)
    ended(counts, "completed")
    labels = {"task_type": "mail", "queue": "default"}
    assert sample(counts, "pgsched_execution_duration_seconds_sum", **labels) == 0.5


def test_a_clock_that_is_a_little_behind_makes_no_negative_delay() -> None:
    counts = WorkerMetrics(slots=1)
    counts.start_delay("default", -0.01)
    assert sample(counts, "pgsched_start_delay_seconds_sum", queue="default") == 0


def test_claims_count_the_leases_that_had_run_out() -> None:
    counts = WorkerMetrics(slots=1)
    counts.claim([claimed(lease_expired=True), claimed()], 0.002)
    assert sample(counts, "pgsched_leases_expired_total") == 1


def test_missed_ticks_are_counted_by_type_queue_and_policy() -> None:
    counts = WorkerMetrics(slots=1)
    task = claimed(repeat_interval=HOUR, queue="reports")
    counts.missed(task, "skip", 3)
    counts.missed(task, "overlap", 1)
    labels = {"task_type": "mail", "queue": "reports"}
    assert sample(counts, "pgsched_ticks_missed_total", policy="skip", **labels) == 3
    assert sample(counts, "pgsched_ticks_missed_total", policy="overlap", **labels) == 1
    assert sample(counts, "pgsched_ticks_missed_total", policy="all", **labels) == 0


def test_missed_ticks_of_a_schedule_that_has_run_are_there_with_0_and_of_a_one_time_task_are_not() -> None:
    counts = WorkerMetrics(slots=1)
    for task in (claimed(queue="once"), claimed(repeat_interval=HOUR, queue="often")):
        ended(counts, "completed", task=task)
    assert sample(counts, "pgsched_ticks_missed_total", task_type="mail", queue="often", policy="skip") == 0
    assert sample(counts, "pgsched_ticks_missed_total", task_type="mail", queue="once", policy="skip") is None


def test_missed_ticks_of_many_types_are_one_series() -> None:
    counts = WorkerMetrics(slots=1)
    for number in range(MOST_SERIES + 5):
        counts.missed(claimed(task_type=f"t{number}"), "skip", 1)
    assert sample(counts, "pgsched_ticks_missed_total", task_type=OTHER, queue=OTHER, policy="skip") == 5


def test_a_value_on_a_bound_is_inside_its_bucket() -> None:
    histogram = Histogram((1.0, 2.0))
    histogram.observe(1.0)
    assert histogram.buckets() == [("1", 1.0), ("2", 1.0), ("+Inf", 1.0)]


def test_a_value_beyond_every_bound_is_counted() -> None:
    histogram = Histogram((1.0, 2.0))
    histogram.observe(7.0)
    assert histogram.buckets() == [("1", 0.0), ("2", 0.0), ("+Inf", 1.0)]
