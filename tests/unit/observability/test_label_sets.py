"""How many series there are: bounded, and let go when nothing is counted any more."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.registry import Collector

from pgsched.db.worker.housekeeping import TaskCount, Troubled
from pgsched.domain.attempt import Finish, Outcome
from pgsched.observability.label_sets import LINGER_SECONDS, MOST_SERIES, OTHER, Series
from pgsched.worker.children import Child, MergedMetrics
from pgsched.worker.metrics import Histogram, WorkerMetrics
from pgsched.worker.table_gauges import CachedGauges, largest
from tests.support.clock import Clock
from tests.support.engine import claimed
from tests.support.worker_child import WorkerChild


def execute(metrics: WorkerMetrics, queue: str, task_type: str = "mail", times: int = 1) -> None:
    for _ in range(times):
        metrics.start_delay(queue, 0.1)
        metrics.execution(
            claimed(queue=queue, task_type=task_type),
            Outcome("completed", started=1.0, finished=1.5),
            Finish(1, 1, "completed", execution="completed"),
        )
        metrics.prune(queue, completed=1, cancelled=0, dead=0)


def lines(collector: Collector) -> list[str]:
    registry = CollectorRegistry()
    registry.register(collector)
    return generate_latest(registry).decode().splitlines()


def total(collector: Collector, name: str, **labels: str) -> float:
    registry = CollectorRegistry()
    registry.register(collector)
    return sum(
        sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def test_three_hundred_queues_make_no_more_lines_than_are_said_and_lose_no_count() -> None:
    metrics = WorkerMetrics(slots=1)
    for number in range(300):
        execute(metrics, f"queue {number}", times=2)
    assert len(lines(metrics)) < 6_000
    assert total(metrics, "pgsched_executions_total") == 600
    assert total(metrics, "pgsched_executions_total", queue=OTHER) == 2 * (300 - MOST_SERIES)
    assert total(metrics, "pgsched_start_delay_seconds_count") == 600
    assert total(metrics, "pgsched_pruned_total") == 600


def test_what_does_not_change_for_long_is_let_go_and_leaves_its_place() -> None:
    clock = Clock(0.0)
    kept: Series[Histogram] = Series(lambda: Histogram((1.0,)), clock=clock)
    for number in range(MOST_SERIES):
        kept.at((f"old {number:03}",)).observe(1)
    assert len(kept.shown()) == MOST_SERIES
    kept.at(("late",)).observe(1)
    assert (OTHER,) in dict(kept.shown())
    clock.now = LINGER_SECONDS - 1
    kept.at(("old 007",)).observe(1)
    assert len(kept.shown()) == MOST_SERIES + 1
    clock.now = LINGER_SECONDS + 1
    assert [names for names, _ in kept.shown()] == [("old 007",)]
    kept.at(("late",)).observe(1)
    assert [names for names, _ in kept.shown()] == [("late",), ("old 007",)]


def counts(**queues: tuple[int, int]) -> list[TaskCount]:
    return [TaskCount(name, "pending", rows, due, float(due) if due else None) for name, (rows, due) in queues.items()]


def test_gauges_of_queues_are_bounded_and_the_rest_is_one() -> None:
    gauges = CachedGauges(session=None)  # type: ignore[arg-type]
    many = counts(**{f"q{number:03}": (number, number) for number in range(MOST_SERIES + 50)})
    bounded = gauges.bounded(many)
    assert len(bounded) == MOST_SERIES + 1
    assert sum(one.rows for one in bounded) == sum(one.rows for one in many)
    (rest,) = [one for one in bounded if one.queue == OTHER]
    assert (rest.due, rest.oldest_due) == (sum(range(50)), 49.0)
    # Those that are shown stay, as long as they have rows.
    again = gauges.bounded(counts(**{one.queue: (1, 0) for one in bounded if one.queue != OTHER}, new=(10_000, 0)))
    assert {one.queue for one in again} == {one.queue for one in bounded}


def test_a_queue_with_the_name_of_the_others_is_one_of_them() -> None:
    metrics = WorkerMetrics(slots=1)
    for number in range(MOST_SERIES + 5):
        execute(metrics, f"queue {number}")
    execute(metrics, OTHER, OTHER)
    assert total(metrics, "pgsched_executions_total", queue=OTHER, outcome="completed") == 6
    gauges = CachedGauges(session=None)  # type: ignore[arg-type]
    queues = {f"q{number}": (5, 0) for number in range(MOST_SERIES + 1)}
    bounded = gauges.bounded(counts(**queues, other=(1, 0)))
    assert [one.rows for one in bounded if one.queue == OTHER] == [6]
    unhandled = [Troubled("unhandled", f"q{number}", "mail", 5) for number in range(MOST_SERIES + 1)]
    assert [
        one.rows
        for one in largest("unhandled", [*unhandled, Troubled("unhandled", OTHER, OTHER, 50)])
        if one.queue == OTHER
    ] == [55]


def merged(*places: WorkerChild, clock: Callable[[], float]) -> MergedMetrics:
    children: list[Child] = [place.child for place in places]
    return MergedMetrics(lambda: children, clock=clock)


def test_several_processes_together_are_bounded_too() -> None:
    places = [WorkerChild(), WorkerChild()]
    for number in range(MOST_SERIES):
        execute(places[0].counts, f"a{number}")
        execute(places[1].counts, f"b{number}")
    one = merged(*places, clock=Clock(0.0))
    assert len(lines(one)) < 6_000
    assert total(one, "pgsched_executions_total") == 2 * MOST_SERIES
    assert total(one, "pgsched_executions_total", queue=OTHER) == MOST_SERIES


def test_a_sum_never_falls_when_a_process_lets_go_and_goes_when_nobody_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(0.0)
    places = [WorkerChild(), WorkerChild()]
    for place in places:
        for kept in (place.counts.attempts, place.counts.start_delays, place.counts.deleted):
            monkeypatch.setattr(kept, "_clock", clock)
    one = merged(*places, clock=clock)
    execute(places[0].counts, "mail", times=1000)
    execute(places[1].counts, "mail", times=500)
    assert total(one, "pgsched_executions_total", queue="mail") == 1500
    clock.now = LINGER_SECONDS - 10
    execute(places[1].counts, "mail")
    assert total(one, "pgsched_executions_total", queue="mail") == 1501
    clock.now = LINGER_SECONDS + 1  # the first process has let go of its series
    assert total(places[0].counts, "pgsched_executions_total", queue="mail") == 0
    assert total(one, "pgsched_executions_total", queue="mail") == 1501
    execute(places[0].counts, "mail")
    assert total(one, "pgsched_executions_total", queue="mail") == 1502
    clock.now += LINGER_SECONDS
    assert total(one, "pgsched_executions_total", queue="mail") == 0
    execute(places[0].counts, "mail")
    assert total(one, "pgsched_executions_total", queue="mail") >= 1
