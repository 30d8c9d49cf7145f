"""A worker of several shards: pauses between starts, the probes, and the label of the metrics."""

from __future__ import annotations

from prometheus_client.core import Metric

from pgsched.worker.served_shards import RestartPauses, ShardProblems, label


def test_a_process_that_ends_at_once_is_started_after_growing_pauses() -> None:
    now = 0.0
    pauses = RestartPauses(clock=lambda: now)
    waited = []
    for _ in range(6):
        pauses.started(0)
        began = now
        while not pauses.may_start(0):
            now += 0.5
        waited.append(now - began)
    assert waited == [1, 2, 4, 8, 15, 15]
    pauses.started(0)
    now += 60
    began = now
    while not pauses.may_start(0):
        now += 0.5
    assert now - began == 1


def test_a_problem_of_one_shard_is_a_trouble_and_one_of_all_makes_the_worker_unready() -> None:
    problems = ShardProblems()
    assert problems.of_all({"": "stopping"}) == "stopping"
    assert problems.of_all({"a": None, "b": "process 0 does not answer"}) is None
    assert problems.of_all({"a": "x", "b": "y"}) == "shard a: x; shard b: y"
    (trouble,) = problems.troubles({"a": None, "b": "y"})
    assert (trouble["kind"], trouble["shard"], trouble["detail"]) == ("shard_down", "b", "shard b: y")
    assert problems.troubles({"a": None, "b": "z"})[0]["since"] == trouble["since"]
    assert problems.troubles({"a": None, "b": None}) == []


def test_samples_get_the_label_of_their_shard() -> None:
    family = Metric("pgsched_slots", "Slots.", "gauge")
    family.add_sample("pgsched_slots", {"state": "free"}, 3)
    (labelled,) = label([family], "a")
    assert labelled.samples[0].labels == {"state": "free", "shard": "a"}
    assert family.samples[0].labels == {"state": "free"}
