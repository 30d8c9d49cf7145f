"""The metrics of several processes as one: what children say, and what is kept of those that are gone."""

from __future__ import annotations

from collections.abc import Callable
from multiprocessing import Pipe

from prometheus_client import CollectorRegistry

from pgsched.worker.children import Child, MergedMetrics
from tests.support.worker_child import WorkerChild

LABELS = {"task_type": "mail", "queue": "default"}


def value(children: Callable[[], list[Child]], name: str, **labels: str) -> float | None:
    registry = CollectorRegistry()
    registry.register(MergedMetrics(children))
    return registry.get_sample_value(name, labels)


def executed(*children: Child) -> float | None:
    return value(lambda: list(children), "pgsched_executions_total", **LABELS, outcome="completed")


def test_counters_histograms_and_gauges_are_added_up() -> None:
    one, two = WorkerChild(slots=5), WorkerChild(slots=7)
    one.execute(3)
    two.execute(4)
    both = [one.child, two.child]
    assert executed(*both) == 7
    assert value(lambda: both, "pgsched_execution_duration_seconds_count", **LABELS) == 7
    assert value(lambda: both, "pgsched_execution_duration_seconds_sum", **LABELS) == 3.5
    assert value(lambda: both, "pgsched_execution_duration_seconds_bucket", **LABELS, le="0.5") == 7
    assert value(lambda: both, "pgsched_slots") == 12


def test_one_process_that_does_not_listen_is_what_the_whole_shows() -> None:
    one, two = WorkerChild(), WorkerChild()
    one.counts.listener_connected = True
    assert value(lambda: [one.child, two.child], "pgsched_listener_connected") == 0


def test_a_child_that_takes_the_place_of_a_dead_one_counts_on() -> None:
    """Checked against a Child without ``before``: the sum falls from 7 to 4 and Prometheus adds 4 once more."""
    one, two = WorkerChild(), WorkerChild()
    one.execute(3)
    two.execute(4)
    assert executed(one.child, two.child) == 7
    one.counts.running = 2
    new = WorkerChild(one.child)
    assert executed(new.child, two.child) == 7, "before it has counted anything"
    assert value(lambda: [new.child, two.child], "pgsched_running") == 0, "what ran in the dead one runs no more"
    new.execute(2)
    assert executed(new.child, two.child) == 9
    assert value(lambda: [new.child, two.child], "pgsched_execution_duration_seconds_count", **LABELS) == 9
    newest = WorkerChild(new.child)
    newest.execute(1)
    assert executed(newest.child, two.child) == 10, "nor does a second death lose anything"


def test_a_scrape_that_began_before_the_death_counts_nothing_twice() -> None:
    one = WorkerChild()
    one.execute(3)
    assert executed(one.child) == 3
    WorkerChild(one.child)
    assert executed(one.child) == 3, "the old child, as the scrape still knows it"


def test_of_a_child_that_does_not_answer_the_counters_stand_still_and_the_gauges_are_left_out() -> None:
    one, two = WorkerChild(), WorkerChild(slots=7)
    one.execute(3)
    assert executed(one.child, two.child) == 3
    ours, theirs = Pipe()
    theirs.close()
    one.child.pipe = ours  # nobody answers there
    two.execute(4)
    assert executed(one.child, two.child) == 7
    assert value(lambda: [one.child, two.child], "pgsched_slots") == 7
