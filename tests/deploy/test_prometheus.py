"""A real Prometheus with the files of deploy/prometheus scrapes two real workers and a web face."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator

import pytest

from tests.deploy.dashboard import Dashboard, substituted
from tests.deploy.parts import program
from tests.deploy.scraped import Scraped, scraped
from tests.support import servers
from tests.support.doc_examples import table

QUIET = {"pgsched_pruned_total", "pgsched_ticks_missed_total"}
"""Metrics whose series begin when there is something to count, which there is not here."""


@pytest.fixture(scope="module")
def scene(server_dsn: str, template_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scraped]:
    program("prometheus")
    folder = tmp_path_factory.mktemp("prometheus")
    name = f"{os.environ.get('PYTEST_XDIST_WORKER', 'main')}_{folder.name}"
    with (
        servers.fresh_database(server_dsn, name, template=template_database) as dsn,
        scraped(folder=folder, dsn=dsn) as one,
    ):
        yield one


def names(scene: Scraped) -> set[str]:
    """What Prometheus has of pgsched, without what the rules record."""
    return {
        name for name in scene.prometheus.label_values("__name__", '{job="pgsched"}') if name.startswith("pgsched_")
    }


def test_every_target_is_up_and_of_one_job(scene: Scraped) -> None:
    assert scene.prometheus.query("up") == {
        (("instance", name), ("job", "pgsched")): 1 for name in ("pair", "plain", "web")
    }


def test_every_metric_of_the_table_of_metrics_is_there(scene: Scraped) -> None:
    rows = table("operations", "Metrics").rows
    suffix = {"histogram": "_count"}
    listed = {row["name"] + suffix.get(row["type"], "") for row in rows}
    stored = {
        name for name in scene.prometheus.label_values("__name__", '{job="pgsched"}') if name.startswith("pgsched_")
    }
    assert listed - stored - QUIET == set()
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in stored}
    assert families - {row["name"] for row in rows} == set(), "and none that the table does not know"


def test_attempts_of_all_processes_are_counted_exactly_the_killed_one_too(scene: Scraped) -> None:
    counted = scene.prometheus.query("sum by (outcome) (pgsched_executions_total)")
    assert {dict(labels)["outcome"]: value for labels, value in counted.items()} == scene.expected
    both = scene.prometheus.query("sum by (instance) (pgsched_executions_total) > 0")
    assert len(both) == 2, "both workers had a share"
    attempts = sum(scene.expected.values())
    assert scene.prometheus.value("sum(pgsched_execution_duration_seconds_count)") == attempts
    assert scene.prometheus.value('sum(pgsched_execution_duration_seconds_bucket{le="+Inf"})') == attempts
    assert scene.prometheus.value("sum(pgsched_start_delay_seconds_count)") == attempts
    assert scene.prometheus.value("sum(pgsched_claim_batch_size_sum)") == attempts
    assert scene.prometheus.value(
        "sum(pgsched_claim_seconds_count) - sum(pgsched_claim_batch_size_count)"
    ) == 0  # fmt: skip


def test_no_counter_went_back_when_a_process_was_killed(scene: Scraped) -> None:
    """Checked with a parent that forgets what the killed process had counted: Prometheus then never knows of all."""
    growing = [name for name in names(scene) if re.search(r"_(total|count|sum|bucket)$", name)]
    assert len(growing) > 10
    for name in growing:
        assert scene.prometheus.value(f"sum(resets({name}[5m]))") == 0, name


def test_gauges_of_workers_add_up_and_those_of_the_table_do_not(scene: Scraped) -> None:
    ask = scene.prometheus
    assert ask.query("sum by (instance) (pgsched_slots)") == {(("instance", "pair"),): 14, (("instance", "plain"),): 5}
    assert ask.value("sum(pgsched_running)") == 0
    assert ask.value("min(pgsched_listener_connected)") == 1
    assert ask.value("sum(pgsched_leases_expired_total)") == 1
    assert ask.value("sum(pgsched_fenced_total + pgsched_leases_lost_total + pgsched_database_errors_total)") == 0
    assert ask.value("sum(pgsched_ticks_missed_total)") is None, "there are no schedules"
    for instance in ("pair", "plain", "web"):
        of = f'instance="{instance}"'
        assert ask.value(f'pgsched_tasks{{{of}, queue="graves", status="dead"}}') == 4
        assert ask.value(f'pgsched_tasks{{{of}, queue="later", status="pending"}}') == 3
        assert ask.value(f'pgsched_queue_due{{{of}, queue="later"}}') == 0
        assert ask.value(f'pgsched_unhandled_due{{{of}, queue="mail", task_type="letter"}}') == 2
        assert ask.value(f'pgsched_silent_tasks{{{of}, queue="later", task_type="send"}}') == 1
        assert ask.value(f'pgsched_long_runs{{{of}, queue="later", task_type="send"}}') == 1
        assert ask.value(f'pgsched_died_last_hour{{{of}, queue="graves", task_type="send"}}') == 4
    assert ask.value('pgsched_queue_due{instance="web", queue="mail"}') == 2
    assert ask.value('pgsched_tasks{instance="web", queue="mail", status="dead"}') == scene.expected["dead"]
    assert ask.value("max(pgsched_workers)") == 4, "the killed one is alive until three leases are over"
    assert ask.value("max(pgsched_schedules_stalled)") == 0


def test_every_rule_is_evaluated_without_an_error(scene: Scraped) -> None:
    groups = scene.prometheus.ask("rules")["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert {(rule["name"], rule["health"], rule.get("lastError")) for rule in rules} == {
        (rule["name"], "ok", None) for rule in rules
    }
    assert {rule["name"] for rule in rules if rule.get("state") == "pending"} >= {"PgschedUnhandledDue"}


def test_rules_and_dashboard_name_only_metrics_that_are_there(scene: Scraped) -> None:
    stored = names(scene) | QUIET
    rules = [rule for group in scene.prometheus.ask("rules")["groups"] for rule in group["rules"]]
    asked = [rule["query"] for rule in rules] + [query.expression for query in Dashboard.read().queries]
    named = {name for text in asked for name in re.findall(r"(?<![\w:\"])pgsched_[a-z_]+", text)}
    assert len(named) > 20
    assert named - stored == set()


@pytest.mark.parametrize("queue", [".*", "(mail|later)"])
def test_every_query_of_the_dashboard_gives_data(scene: Scraped, queue: str) -> None:
    board = Dashboard.read()
    values = {"job": "pgsched", "queue": queue, "task_type": ".*", "__rate_interval": "1m"}
    assert len(board.queries) > 30
    busy_now = set()
    for query in board.queries:
        found = scene.prometheus.query(substituted(query.expression, values))
        assert found, f"{query} gives nothing"
        if any(value for value in found.values() if not math.isnan(value)):
            busy_now.add(query.panel)
    busy = {
        "Workers alive", "Tasks due", "Oldest due", "Attempts a second", "Dead letters", "Attempts by outcome",
        "Share that fails", "Attempts by task type", "Queue depth", "Start delay", "Tasks by status",
        "Nobody has a handler", "Duration of attempts", "Slowest task types", "Time in handlers",
        "Running and slots", "Workers and listeners", "Leases and ticks", "Claims", "Batch size", "Claim seconds",
    }  # fmt: skip
    assert busy - busy_now == set()


def test_the_choices_of_the_dashboard_are_filled(scene: Scraped) -> None:
    found = {}
    for name, (label, selector) in Dashboard.read().choices.items():
        filled = substituted(selector, {"job": "pgsched", "queue": ".*"})
        found[name] = scene.prometheus.label_values(label, filled)
    assert found == {
        "job": {"pgsched"},
        "queue": {"mail", "later", "graves"},
        "task_type": {"send", "flaky", "broken", "slow"},
    }
