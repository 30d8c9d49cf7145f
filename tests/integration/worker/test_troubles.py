"""What is wrong in a worker is told by its readiness, its row, its metrics and the doctor, within seconds."""

from __future__ import annotations

import asyncio
import json
import re
import threading
import urllib.error
import urllib.request
from typing import Any

import psycopg
import pytest

from pgsched.observability import logs
from pgsched.ops.doctor import doctor
from pgsched.ops.doctor.findings import Finding
from pgsched.worker import health_scan, heartbeat, troubles
from pgsched.worker.http_server import HttpServer
from pgsched.worker.worker import Worker
from tests.support.commands import pgsched
from tests.support.engine import handlers, nothing, rows, running_worker
from tests.support.tables import add_worker, database, insert_task, task_row
from tests.support.waiting import wait_until_async

DB = psycopg.Connection[dict[str, Any]]
Told = list[dict[str, Any]]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trouble is noticed sooner than it would be."""
    monkeypatch.setattr(heartbeat, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr("pgsched.worker.loops.STEADY_SECONDS", 0.3)
    monkeypatch.setattr(troubles, "UNWRITTEN_SECONDS", 0.5)
    monkeypatch.setattr(troubles, "OVERDUE_SECONDS", 0.1)
    monkeypatch.setattr(troubles, "IDLE_SECONDS", 0.2)
    monkeypatch.setattr(troubles, "SET_ASIDE_SECONDS", 0.1)


def told(db: DB) -> Told:
    """The troubles in the worker's row."""
    found = rows(db, "select troubles from pgsched.workers")
    return found[0]["troubles"] if found else []


async def until_told(db: DB, kind: str, about: str = "") -> dict[str, Any]:
    """Wait until the worker's row tells of a trouble; returns it."""
    return await wait_until_async(
        lambda: next((one for one in told(db) if (one["kind"], one["object"]) == (kind, about)), None),
        message=f"{kind} is told",
        timeout=20,
    )


async def until_well(db: DB, worker: Worker) -> None:
    await wait_until_async(lambda: worker.health.unready() is None, message="it is ready", timeout=20)
    await wait_until_async(lambda: told(db) == [], message="nothing more is told", timeout=20)


async def found_by_the_doctor(dsn: str, check: str) -> Finding:
    (finding,) = [one for one in (await doctor.look_async(dsn, [check])).findings if one.check == check]
    return finding


def answer(worker: Worker, path: str, accept: str = "text/plain") -> tuple[int, str]:
    """What a worker's port says."""
    health = worker.health
    server = HttpServer(
        host="127.0.0.1",
        port=0,
        registry=worker.metrics,
        healthy=health.unhealthy,
        ready=health.unready,
        troubles=health.troubles,
    )
    server.start()
    try:
        request = urllib.request.Request(f"http://127.0.0.1:{server.port}{path}", headers={"Accept": accept})
        with urllib.request.urlopen(request, timeout=10) as said:
            return said.status, said.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    finally:
        server.stop()


# Outcomes that are not written.


@pytest.mark.slow
async def test_outcomes_that_cannot_be_written_are_told_everywhere(dsn: str) -> None:
    go_on = asyncio.Event()
    with database(dsn) as db, database(dsn) as locker:
        # More than are set aside one by one before the lock is taken to be the table's.
        async with running_worker(dsn, handlers(mail=go_on.wait), concurrency=100) as worker:
            await wait_until_async(lambda: worker.health.unready() is None, message="it is ready")
            assert answer(worker, "/readyz") == (200, "ok\n")
            db.execute("insert into pgsched.tasks (task_type) select 'mail' from generate_series(1, 100)")
            await wait_until_async(lambda: worker.executor.running == 100, message="all run")
            with locker.transaction():
                locker.execute("lock table pgsched.executions in access exclusive mode")
                go_on.set()
                trouble = await until_told(db, "unwritten_outcomes")
                assert trouble["stops"]
                code, text = answer(worker, "/readyz")
                assert code == 503
                assert re.match("unwritten_outcomes: [0-9,]+ outcomes not written for over", text)
                code, text = answer(worker, "/readyz", "application/json")
                assert (code, json.loads(text)["ready"]) == (503, False)
                assert "unwritten_outcomes" in {one["kind"] for one in json.loads(text)["troubles"]}
                assert answer(worker, "/healthz") == (200, "ok\n"), "another process could not write them either"
                _, metrics = answer(worker, "/metrics")
                assert 'pgsched_worker_trouble{kind="unwritten_outcomes"} 1.0' in metrics
                assert re.search(r"^pgsched_unwritten_outcomes [1-9][0-9]*\.0$", metrics, re.MULTILINE)
                finding = await found_by_the_doctor(dsn, "unwritten_outcomes")
                assert finding.severity == "error"
                assert finding.object == f"{worker.identity.hostname} {worker.identity.pid}"
                listed = pgsched("worker", "list", dsn=dsn).stdout
                assert re.search("unwritten_outcomes: [0-9,]+ outcomes", listed)
                (row,) = pgsched("worker", "list", "--json", dsn=dsn).json()
                assert "unwritten_outcomes" in {one["kind"] for one in row["troubles"]}
            await until_well(db, worker)
            assert answer(worker, "/readyz") == (200, "ok\n")
            _, metrics = answer(worker, "/metrics")
            assert 'pgsched_worker_trouble{kind="unwritten_outcomes"} 0.0' in metrics


# Loops that fail, or stand still.


async def test_a_claim_that_waits_for_a_lock_is_told(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(troubles, "SILENT_SECONDS", 0.3)
    with database(dsn) as db, database(dsn) as locker:
        async with running_worker(dsn, poll_interval=0.1) as worker:
            await wait_until_async(lambda: worker.health.unready() is None, message="it is ready")
            with locker.transaction():
                locker.execute("lock table pgsched.executions in access exclusive mode")
                trouble = await until_told(db, "failing_loops", "claim")
                assert trouble["stops"]
                assert (worker.health.unready() or "").startswith("failing_loops: the database has not answered")
                assert worker.health.unhealthy() is None
            await until_well(db, worker)


@pytest.mark.parametrize(
    ("breaks", "mends", "kind", "loop"),
    [
        (
            "alter table pgsched.tasks rename column jitter to jitters",
            "alter table pgsched.tasks rename column jitters to jitter",
            "failing_loops",
            "claim",
        ),
        (
            "alter table pgsched.watchdog rename to dogwatch",
            "alter table pgsched.dogwatch rename to watchdog",
            "failing_upkeep",
            "watchdog",
        ),
        (
            "alter function pgsched.make_partitions(integer) rename to make_parts",
            "alter function pgsched.make_parts(integer) rename to make_partitions",
            "failing_upkeep",
            "partitions",
        ),
        (
            "alter table pgsched.settings rename to words",
            "alter table pgsched.words rename to settings",
            "failing_upkeep",
            "retention",
        ),
    ],
    ids=lambda one: one if one.islower() and " " not in one else "",
)
async def test_a_loop_that_fails_again_and_again_is_told(
    dsn: str, monkeypatch: pytest.MonkeyPatch, breaks: str, mends: str, kind: str, loop: str
) -> None:
    monkeypatch.setattr(health_scan, "FIRST_SECONDS", 0.0)
    monkeypatch.setattr(health_scan, "AGAIN_SECONDS", 0.2)
    monkeypatch.setattr("pgsched.worker.retention.FIRST_SECONDS", 0.0)
    monkeypatch.setattr("pgsched.worker.retention.SELDOM_SECONDS", 0.2)
    with database(dsn) as db:
        db.execute(breaks)
        try:
            async with running_worker(dsn, poll_interval=0.1) as worker:
                trouble = await until_told(db, kind, loop)
                assert trouble["detail"].startswith(f"the loop {loop} has failed ")
                essential = loop == "claim"
                assert trouble["stops"] == essential
                if essential:
                    assert worker.health.unready()
                else:
                    assert worker.health.unready() is None
                    code, text = answer(worker, "/readyz")
                    assert (code, text.startswith("ok\n")) == (200, True)
                    assert f"{kind}: the loop {loop} has failed" in text
                assert worker.health.unhealthy() is None
                # In a thread: the worker on this loop may be amid a transaction that has a lock on the table.
                await asyncio.to_thread(db.execute, mends)
                mends = "select 1"
                await until_well(db, worker)
        finally:
            db.execute(mends)


async def test_one_duty_that_fails_does_not_keep_the_upkeep_from_the_others(dsn: str) -> None:
    """Dead workers are forgotten although no partition can be made: both are done by one loop."""
    with database(dsn) as db:
        add_worker(db, queues=["mail"], task_types=["mail"], silent_for="1 hour")
        db.execute("alter function pgsched.make_partitions(integer) rename to make_parts")
        async with running_worker(dsn) as worker:
            await wait_until_async(
                lambda: len(rows(db, "select from pgsched.workers")) == 1, message="the dead one is gone"
            )
            await until_told(db, "failing_upkeep", "partitions")
            assert {name for name, _ in worker.loops.in_trouble()} == {"partitions"}


async def test_a_loop_that_fails_by_a_fault_of_its_own_is_hopeless_in_the_end(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(troubles, "HOPELESS_SECONDS", 0.5)
    with database(dsn) as db:
        async with running_worker(dsn) as worker:
            await wait_until_async(lambda: worker.health.unready() is None, message="it is ready")

            async def broken() -> int:
                raise AssertionError("a bug")

            monkeypatch.setattr(worker.completer, "run_once", broken)
            insert_task(db)
            trouble = await until_told(db, "failing_loops", "finish")
            assert "AssertionError: a bug" in trouble["detail"]
            await wait_until_async(worker.health.unhealthy, message="another process would do better")
            assert "the loop finish has failed" in (worker.health.unhealthy() or "")
            monkeypatch.undo()


async def test_a_database_that_is_away_is_no_reason_to_restart(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(troubles, "HOPELESS_SECONDS", 0.0)
    with database(dsn) as db:
        async with running_worker(dsn, poll_interval=0.1) as worker:
            await wait_until_async(lambda: worker.health.unready() is None, message="it is ready")
            db.execute("alter table pgsched.tasks rename column jitter to jitters")
            await until_told(db, "failing_loops", "claim")
            assert worker.health.unready()
            assert worker.health.unhealthy() is None
            db.execute("alter table pgsched.tasks rename column jitters to jitter")
            await until_well(db, worker)


# Slots.


async def test_slots_held_by_threads_past_their_timeout_are_told_and_count_as_occupied(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()

    def stuck() -> None:
        go_on.wait(30)

    with database(dsn) as db:
        async with running_worker(dsn, handlers(stuck=stuck, mail=nothing), concurrency=2) as worker:
            try:
                first = insert_task(db, "stuck", timeout="200 milliseconds", max_attempts=1)
                trouble = await until_told(db, "overdue_attempts", "stuck")
                assert not trouble["stops"], "the other slot works"
                assert trouble["detail"] == (
                    f"1 of 2 slots is held by attempts of stuck that should have ended: task {first}"
                )
                assert (await found_by_the_doctor(dsn, "overdue_attempts")).severity == "warning"
                insert_task(db, "stuck", timeout="200 milliseconds", max_attempts=1)
                await wait_until_async(worker.health.unready, message="no slot is left")
                await wait_until_async(
                    lambda: any(one["stops"] for one in told(db)), message="it is told that no slot is left"
                )
                assert rows(db, "select running from pgsched.workers") == [{"running": 2}]
                finding = await found_by_the_doctor(dsn, "overdue_attempts")
                assert (finding.severity, "executor" in finding.advice) == ("error", True)
                _, metrics = answer(worker, "/metrics")
                assert "pgsched_slots_overdue 2.0" in metrics
                assert worker.health.unhealthy() is None, "they may yet end"
                monkeypatch.setattr(troubles, "HOPELESS_SECONDS", 0.0)
                code, text = answer(worker, "/healthz")
                assert (code, text.startswith("overdue_attempts: 2 of 2 slots are held")) == (503, True)
            finally:
                go_on.set()
            await until_well(db, worker)


async def test_a_cancelled_attempt_whose_thread_runs_on_is_overdue(dsn: str) -> None:
    go_on = threading.Event()
    with database(dsn) as db:
        async with running_worker(dsn, handlers(stuck=lambda: go_on.wait(30)), concurrency=2) as worker:
            try:
                await wait_until_async(lambda: worker.counts.listener_connected, message="it listens")
                task_id = insert_task(db, "stuck")
                await wait_until_async(lambda: task_row(db, task_id)["status"] == "running", message="it runs")
                db.execute("select pgsched.cancel(%s)", (task_id,))
                await until_told(db, "overdue_attempts", "stuck")
            finally:
                go_on.set()
            await until_well(db, worker)


async def test_free_slots_that_begin_nothing_are_told(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with database(dsn) as db:
        async with running_worker(dsn, concurrency=2) as worker:
            await wait_until_async(lambda: worker.health.unready() is None, message="it is ready")
            with monkeypatch.context() as asleep:
                asleep.setattr(worker.executor, "feed", lambda: None)
                insert_task(db)
                trouble = await until_told(db, "lost_slots")
                assert trouble["stops"]
                assert "pgsched_slots_lost 1.0" in answer(worker, "/metrics")[1]
                assert worker.health.unhealthy() is None
                asleep.setattr(troubles, "HOPELESS_SECONDS", 0.0)
                assert (worker.health.unhealthy() or "").startswith("lost_slots: ")
            worker.executor.feed()
            await until_well(db, worker)


async def test_a_handler_that_blocks_the_event_loop_is_told(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(troubles, "BLOCKED_SECONDS", 0.3)
    seen: list[dict[str, Any]] = []

    async def blocks() -> None:
        with database(dsn) as db:
            while not seen:
                seen.extend(one for one in told(db) if one["object"] == "event loop")

    with database(dsn) as db:
        async with running_worker(dsn, handlers(blocks=blocks)) as worker:
            insert_task(db, "blocks")
            await wait_until_async(lambda: seen, message="it is told")
            assert seen[0]["stops"]
            await until_well(db, worker)


# Attempts that run for long.


async def test_an_attempt_that_runs_far_longer_than_its_type_is_told(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(troubles, "LONG_SECONDS", 0.3)
    monkeypatch.setattr(troubles, "TIMES", 0.001)
    go_on = asyncio.Event()

    async def mail(long: bool = False) -> None:
        if long:
            await go_on.wait()

    with database(dsn) as db:
        async with running_worker(dsn, handlers(mail=mail, other=mail)) as worker:
            other = insert_task(db, "other", payload='{"long": true}')
            for _ in range(troubles.ENOUGH):
                insert_task(db)
            await wait_until_async(
                lambda: len(rows(db, "select from pgsched.executions")) == troubles.ENOUGH,
                message="what is usual is known",
            )
            task_id = insert_task(db, payload='{"long": true}')
            trouble = await until_told(db, "long_attempts", "mail")
            assert not trouble["stops"]
            assert trouble["detail"].endswith(f"far longer than usual: task {task_id}")
            assert worker.health.unready() is None
            assert task_row(db, other)["status"] == "running"
            assert {one["object"] for one in told(db)} == {"mail"}, "of the other type too few are known"
            assert (await found_by_the_doctor(dsn, "long_attempts")).severity == "warning"
            go_on.set()
            await until_well(db, worker)


async def test_what_is_usual_is_asked_of_the_history_where_the_worker_does_not_know(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(troubles, "LONG_SECONDS", 0.3)
    go_on = asyncio.Event()
    with database(dsn) as db:
        db.execute(
            "insert into pgsched.executions (task_id, task_type, queue, attempt, fencing_token, status, started_at, "
            "finished_at, duration_ms) select g, 'mail', 'default', 1, g, 'completed', now(), now(), 5 "
            "from generate_series(1, %s) as g",
            (troubles.ENOUGH,),
        )
        async with running_worker(dsn, handlers(mail=go_on.wait)) as worker:
            insert_task(db)
            await until_told(db, "long_attempts", "mail")
            go_on.set()
            await until_well(db, worker)


# What is set aside, and what is lost.


async def test_what_the_database_refuses_is_told(dsn: str) -> None:
    with database(dsn) as db:
        task_id = insert_task(db)
        db.execute(
            "create function refuse() returns trigger language plpgsql as "
            "$$ begin raise exception 'not this one'; end $$"
        )
        db.execute(
            f"create trigger refuse before update on pgsched.tasks for each row when (old.id = {task_id} "
            "and old.status = 'running' and new.status <> 'running') execute function refuse()"
        )
        async with running_worker(dsn) as worker:
            trouble = await until_told(db, "set_aside")
            assert trouble["detail"].startswith("1 task set aside")
            assert worker.health.unready() is None, "it goes on without it"
            await wait_until_async(
                lambda: rows(db, "select task_id from pgsched.set_aside") == [{"task_id": task_id}],
                message="it is noted",
            )
            finding = await found_by_the_doctor(dsn, "set_aside")
            assert (finding.severity, finding.object) == ("error", "finish in default")
            assert "not this one" in finding.problem
            assert f"pgsched task show {task_id}" in finding.advice
            db.execute("drop function refuse() cascade")
            worker.completer.try_all()
            await until_well(db, worker)


async def test_log_lines_that_were_lost_are_told(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with database(dsn) as db:
        async with running_worker(dsn) as worker:
            await wait_until_async(lambda: worker.health.unready() is None, message="it is ready")
            logs.this_process.lost(3)
            trouble = await until_told(db, "log_errors")
            assert not trouble["stops"]
            assert (await found_by_the_doctor(dsn, "log_errors")).severity == "warning"
            monkeypatch.setattr(troubles, "LOG_SECONDS", 0.0)
            await until_well(db, worker)


# How it is told.


async def test_news_of_a_trouble_do_not_wait_for_the_next_heartbeat_and_nothing_is_sent_without_news(dsn: str) -> None:
    beats = 0
    with database(dsn) as db:
        async with running_worker(dsn, lease=3600) as worker:
            await wait_until_async(lambda: worker.health.unready() is None, message="it is ready")
            beat = worker.heartbeat.connection.beat

            def counted(*given: Any, **named: Any) -> dict[int, bool]:
                nonlocal beats
                beats += 1
                return beat(*given, **named)

            worker.heartbeat.connection.beat = counted  # type: ignore[method-assign]
            logs.this_process.lost(1)
            await until_told(db, "log_errors")
            looks = 0
            now = worker.heartbeat.troubles.now

            def looked() -> list[troubles.Trouble]:
                nonlocal looks
                looks += 1
                return now()

            worker.heartbeat.troubles.now = looked  # type: ignore[method-assign]
            await wait_until_async(lambda: looks > 10, message="it looked again")
            assert beats == 1


async def test_a_worker_of_an_older_version_tells_nothing_and_is_listed(dsn: str) -> None:
    with database(dsn) as db:
        db.execute(
            "insert into pgsched.workers (id, hostname, pid, queues, task_types, concurrency, lease) "
            "values (gen_random_uuid(), 'old', 1, '{default}', '{mail}', 1, '30 seconds')"
        )
        (row,) = pgsched("worker", "list", "--json", dsn=dsn).json()
        assert row["troubles"] == []
        assert "none" in pgsched("worker", "list", dsn=dsn).stdout
