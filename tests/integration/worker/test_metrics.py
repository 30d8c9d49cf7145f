"""What /metrics, /healthz and /readyz say."""

from __future__ import annotations

import json
import multiprocessing
import re
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from pgsched.domain.errors import ConfigError
from pgsched.observability.label_sets import LINGER_SECONDS
from pgsched.ops.doctor.catalogue import NAMES
from pgsched.worker import http_server, table_gauges
from pgsched.worker.children import Child, ControlServer
from pgsched.worker.http_server import HttpServer
from pgsched.worker.table_gauges import FRESH_SECONDS, STALE_SECONDS
from tests.support.clock import Clock
from tests.support.engine import Engine, engine, expire_leases, handlers, make_due, nothing, running_worker
from tests.support.processes import PgschedRunner
from tests.support.tables import add_worker, database, insert_task, set_dead, set_running
from tests.support.waiting import wait_until, wait_until_async

CONTRACT = {
    "pgsched_tasks": {"queue", "status"},
    "pgsched_queue_oldest_due_seconds": {"queue"},
    "pgsched_queue_due": {"queue"},
    "pgsched_executions_total": {"task_type", "queue", "outcome"},
    "pgsched_execution_duration_seconds_bucket": {"task_type", "queue", "le"},
    "pgsched_start_delay_seconds_bucket": {"queue", "le"},
    "pgsched_claim_seconds_bucket": {"le"},
    "pgsched_claim_batch_size_bucket": {"le"},
    "pgsched_running": set(),
    "pgsched_slots": set(),
    "pgsched_leases_expired_total": set(),
    "pgsched_fenced_total": set(),
    "pgsched_ticks_missed_total": {"task_type", "queue", "policy"},
    "pgsched_pruned_total": {"queue", "status"},
    "pgsched_listener_connected": set(),
    "pgsched_database_errors_total": set(),
    "pgsched_log_errors_total": set(),
    "pgsched_table_dead_tuples": set(),
    "pgsched_oldest_xmin_age_seconds": set(),
    "pgsched_notification_queue_usage": set(),
    "pgsched_workers": set(),
    "pgsched_schedules_stalled": set(),
    "pgsched_findings": {"check", "severity"},
}
Samples = dict[str, dict[tuple[str, ...], float]]


@contextmanager
def served(one: Engine) -> Iterator[str]:
    """The address at which a worker's metrics are served."""
    worker = one.worker
    server = HttpServer(
        host="127.0.0.1",
        port=0,
        registry=worker.metrics,
        healthy=worker.health.unhealthy,
        ready=worker.health.unready,
        troubles=worker.health.troubles,
    )
    server.start()
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        server.stop()


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def samples(text: str) -> Samples:
    """Every sample by its name and the values of its labels, sorted by label."""
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            values = tuple(value for _, value in sorted(sample.labels.items()))
            found.setdefault(sample.name, {})[values] = sample.value
    return found


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of the table's counts."""
    clock = Clock()
    monkeypatch.setattr(table_gauges, "monotonic", clock)
    return clock


async def count(one: Engine) -> bool:
    """Renew the cache of the table's counts if it is old; returns whether it was."""
    assert one.worker.table_gauges is not None
    return await one.worker.table_gauges.run_once()


def scrape(one: Engine) -> Samples:
    with served(one) as address:
        code, text = get(f"{address}/metrics")
    assert code == 200
    return samples(text)


async def test_every_metric_of_the_contract_is_there_with_its_labels_and_no_other(dsn: str) -> None:
    with database(dsn) as db:
        insert_task(db)
        schedule = insert_task(db, repeat_interval="1 hour")
        async with engine(dsn) as one:
            await one.work()
            make_due(db, schedule)
            await one.work()
            insert_task(db)
            one.counts.prune("default", completed=1)  # nothing is old enough here
            await count(one)
            with served(one) as address:
                _, text = get(f"{address}/metrics")
    labels = {
        sample.name: set(sample.labels) for family in text_string_to_metric_families(text) for sample in family.samples
    }
    assert {name: labels.get(name) for name in CONTRACT} == CONTRACT


async def test_living_workers_and_stalled_schedules_are_counted(dsn: str) -> None:
    late = "update pgsched.tasks set next_run_at = now() - interval '90 seconds' where schedule_type <> 'one_time'"
    with database(dsn) as db:
        add_worker(db, queues=["default"], task_types=["mail"])
        add_worker(db, queues=["default"], task_types=["mail"], silent_for="1 hour")
        for queue in ("default", "paused"):
            insert_task(db, cron_expression="0 8 * * *", queue=queue)
        set_running(db, insert_task(db, cron_expression="0 8 * * *"))
        db.execute(late)
        insert_task(db, repeat_interval="1 day")  # due for a moment: it is waited for
        insert_task(db, scheduled_for=datetime(2020, 1, 1, tzinfo=UTC))
        db.execute("insert into pgsched.queues (name, paused) values ('paused', true)")
        async with engine(dsn) as one:
            await count(one)
            found = scrape(one)
    assert found["pgsched_workers"] == {(): 1}
    assert found["pgsched_schedules_stalled"] == {(): 1}


async def test_findings_of_the_watchdog_are_shown_and_every_other_check_is_0(dsn: str) -> None:
    finding = {"check": "stuck_running", "severity": "error", "object": "queue mail"}
    with database(dsn) as db:
        db.execute(
            "insert into pgsched.watchdog (looked_at, findings) values (now(), %s)", (json.dumps([finding, finding]),)
        )
        async with engine(dsn) as one:
            await count(one)
            found = scrape(one)["pgsched_findings"]
    assert found[("stuck_running", "error")] == 2
    assert {check for check, _ in found} == set(NAMES)
    assert sum(found.values()) == 2


async def test_attempts_are_counted_by_outcome(dsn: str) -> None:
    async def bad() -> None:
        raise ValueError("no luck")

    with database(dsn) as db:
        insert_task(db)
        failing = insert_task(db, "bad", max_attempts=2)
        async with engine(dsn, handlers(mail=nothing, bad=bad)) as one:
            await one.work()
            make_due(db, failing)
            await one.work()
            found = scrape(one)
    assert {labels: count for labels, count in found["pgsched_executions_total"].items() if count} == {
        ("completed", "default", "mail"): 1,
        ("failed", "default", "bad"): 1,
        ("dead", "default", "bad"): 1,
    }
    assert found["pgsched_executions_total"][("dead", "default", "mail")] == 0, "a first dead letter is growth"
    assert found["pgsched_execution_duration_seconds_count"] == {("default", "mail"): 1, ("default", "bad"): 2}
    assert found["pgsched_start_delay_seconds_count"] == {("default",): 3}


async def test_claims_and_reclaims_are_counted(dsn: str) -> None:
    with database(dsn) as db:
        set_running(db, insert_task(db))
        expire_leases(db)
        async with engine(dsn) as one:
            await one.work()
            await one.work()
            found = scrape(one)
    assert found["pgsched_leases_expired_total"] == {(): 1}
    assert found["pgsched_claim_seconds_count"] == {(): 2}
    assert found["pgsched_claim_batch_size_sum"] == {(): 1}


async def test_the_table_is_counted_by_queue_and_status(dsn: str) -> None:
    with database(dsn) as db:
        insert_task(db)
        insert_task(db, scheduled_for=datetime.now(UTC) + timedelta(days=1))
        insert_task(db, queue="other")
        set_running(db, insert_task(db))
        set_dead(db, insert_task(db))
        async with engine(dsn) as one:
            assert await count(one)
            found = scrape(one)
    assert found["pgsched_tasks"] == {
        ("default", "pending"): 2,
        ("default", "running"): 1,
        ("default", "dead"): 1,
        ("other", "pending"): 1,
    }
    assert found["pgsched_queue_due"] == {("default",): 1, ("other",): 1}
    assert found["pgsched_queue_oldest_due_seconds"].keys() == {("default",), ("other",)}


async def test_a_scrape_reads_the_cache_and_not_the_table(dsn: str) -> None:
    with database(dsn) as db:
        async with engine(dsn) as one:
            assert await count(one)
            insert_task(db)
            assert not await count(one)
            assert scrape(one).get("pgsched_tasks", {}) == {}


async def test_a_queue_that_is_empty_again_is_shown_with_0_for_an_hour(dsn: str, clock: Clock) -> None:
    with database(dsn) as db:
        insert_task(db)
        async with engine(dsn) as one:
            await count(one)
            await one.work()
            clock.now += FRESH_SECONDS
            assert await count(one)
            found = scrape(one)
            assert found["pgsched_tasks"] == {("default", "pending"): 0}
            assert found["pgsched_queue_due"] == found["pgsched_queue_oldest_due_seconds"] == {("default",): 0}
            clock.now += LINGER_SECONDS
            scrape(one)  # counts are only renewed for somebody who scrapes
            assert await count(one)
            assert "pgsched_tasks" not in scrape(one)


async def test_counts_that_could_not_be_renewed_for_long_are_not_shown(dsn: str, clock: Clock) -> None:
    async with engine(dsn) as one:
        assert "pgsched_workers" not in scrape(one), "nothing was read yet"
        await count(one)
        assert scrape(one)["pgsched_workers"] == {(): 0}
        clock.now += FRESH_SECONDS + STALE_SECONDS + 1
        found = scrape(one)
        assert "pgsched_workers" not in found
        assert found["pgsched_slots"], "of itself it can tell"


async def test_due_rows_that_no_worker_can_run_are_counted(dsn: str) -> None:
    with database(dsn) as db:
        insert_task(db, "unknown")
        insert_task(db)
        async with engine(dsn) as one:
            one.worker.heartbeat.run_once()
            await count(one)
            found = scrape(one)
    assert found["pgsched_unhandled_due"] == {("default", "unknown"): 1}


async def test_no_label_holds_an_id(dsn: str) -> None:
    with database(dsn) as db:
        task_id = 987_654_321
        insert_task(db, id=task_id, payload=json.dumps({}))
        async with engine(dsn) as one:
            await one.work()
            await count(one)
            with served(one) as address:
                _, text = get(f"{address}/metrics")
            assert str(task_id) not in text
            assert str(one.worker.identity.id) not in text


# The probes.


async def test_a_worker_at_work_is_healthy_and_ready(dsn: str) -> None:
    async with engine(dsn) as one:
        one.worker.heartbeat.run_once()
        await one.claim()
        with served(one) as address:
            assert get(f"{address}/healthz") == (200, "ok\n")
            assert get(f"{address}/readyz") == (200, "ok\n")


async def test_a_worker_whose_heartbeats_fail_is_healthy_but_not_ready(dsn: str) -> None:
    async with engine(dsn) as one:
        one.worker.heartbeat.run_once()
        await one.claim()
        one.worker.heartbeat.last_beat -= 1000
        with served(one) as address:
            assert get(f"{address}/healthz") == (200, "ok\n")  # another process would not find the database either
            code, text = get(f"{address}/readyz")
    assert code == 503
    assert text.startswith("no heartbeat for 1")


async def test_a_worker_whose_heartbeat_stands_still_is_not_healthy(dsn: str) -> None:
    async with engine(dsn) as one:
        one.worker.heartbeat.run_once()
        one.worker.heartbeat.last_try -= 1000
        with served(one) as address:
            code, text = get(f"{address}/healthz")
    assert code == 503
    assert text.startswith("the heartbeat has stood still for 1")


async def test_a_worker_without_a_connection_is_healthy_but_not_ready(dsn: str) -> None:
    async with engine(dsn) as one:
        one.worker.heartbeat.run_once()
        with served(one) as address:
            assert get(f"{address}/healthz")[0] == 200
            assert get(f"{address}/readyz") == (503, "not connected to the database\n")


async def test_a_worker_that_stops_is_not_ready(dsn: str) -> None:
    async with running_worker(dsn) as worker:
        await wait_until_async(lambda: worker.health.unready() is None, message="it is ready")
        worker.stop()
        assert worker.health.unready() == "stopping"
        assert worker.health.unhealthy() is None


async def test_another_path_is_not_found(dsn: str) -> None:
    async with engine(dsn) as one:
        with served(one) as address:
            assert get(f"{address}/secrets")[0] == 404


async def test_a_port_that_is_taken_is_served_once_it_is_free(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "AGAIN_SECONDS", 0.02)
    async with engine(dsn) as one:
        worker = one.worker
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            server = HttpServer(
                host="127.0.0.1", port=port, registry=worker.metrics, healthy=lambda: None, ready=lambda: None
            )
            server.start()
        await wait_until_async(lambda: answers(f"http://127.0.0.1:{port}/healthz"), message="it serves")
        server.stop()


def answers(url: str) -> bool:
    try:
        return get(url) == (200, "ok\n")
    except OSError:
        return False


def test_an_address_that_is_none_of_this_machine_is_named() -> None:
    with pytest.raises(ConfigError, match=r"metrics cannot be served on 192\.0\.2\.1:0: "):
        HttpServer(host="192.0.2.1", port=0, registry=CollectorRegistry(), healthy=lambda: None, ready=lambda: None)


class Raising(Collector):
    """Shows one family and fails at the next."""

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("before_it", "Made before the mistake.", value=1)
        raise RuntimeError("in the collector")


async def test_a_collector_or_a_probe_that_raises_spoils_nothing_else(dsn: str) -> None:
    async with engine(dsn) as one:
        one.worker.metrics.register(Raising())
        with served(one) as address:
            status, text = get(f"{address}/metrics")
            assert status == 200
            assert {"pgsched_running", "before_it"} <= samples(text).keys()
            with pytest.MonkeyPatch.context() as broken:
                broken.setattr(one.worker.progress, "stalled", Raising)
                assert get(f"{address}/healthz")[0] == 500
            assert get(f"{address}/healthz")[0] == 200


async def test_a_process_whose_metrics_fail_still_answers_the_other_questions(dsn: str) -> None:
    def raising() -> str:
        raise RuntimeError("in a probe")

    async with engine(dsn) as one:
        ours, theirs = multiprocessing.Pipe()
        broken = CollectorRegistry()
        broken.register(Raising())
        orphaned = threading.Event()
        ControlServer(
            pipe=theirs,
            metrics=broken,
            healthy=raising,
            ready=lambda: None,
            alive=raising,
            load=one.worker.health.load,
            troubles=list,
            on_orphaned=orphaned.set,
        ).start()
        child = Child(multiprocessing.current_process(), ours)
        assert child.metrics() == []
        assert child.ask("healthy") == child.ask("alive") == "RuntimeError: it cannot be told"
        assert child.ask("ready") == ""
        assert child.ask("load") == "0 20"
        assert not orphaned.is_set()
        ours.close()
        await wait_until_async(orphaned.is_set, message="it ends")


def test_several_processes_serve_their_metrics_as_one(run_pgsched: PgschedRunner, dsn: str) -> None:
    (run_pgsched.folder / "mod.py").write_text(
        "from pgsched import App\napp = App()\n@app.task('mail')\nasync def mail(): ...\n"
    )
    worker = run_pgsched("worker", "--app", "mod:app", "--processes", "2", "--concurrency", "7", "--metrics-port", "0")
    line = worker.wait_for_output(r"^.*metrics_served.*$").group()
    port = re.findall(r'"port": (\d+)', line)[0]
    wait_until(
        lambda: samples(get(f"http://127.0.0.1:{port}/metrics")[1]).get("pgsched_slots") == {(): 14},
        message="both processes are counted",
    )
    assert worker.stop() == 0
