"""An idle worker: it says until when it sleeps, and is woken by whoever brings work before that."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from benchmarks.databases import keep_constants
from pgsched.db.worker.leases import fall_asleep, wake_up
from pgsched.worker.sleep import SECOND_LOOKS, Sleep
from tests.support.clock import Clock
from tests.support.engine import engine, handlers, rows, running_worker
from tests.support.tables import database, insert_task, task_row
from tests.support.waiting import wait_until_async

Database = psycopg.Connection[dict[str, Any]]
SOON = "now() + interval '1 hour'"


@pytest.fixture
def ear(dsn: str) -> Iterator[Database]:
    """A connection that listens for calls."""
    with database(dsn) as connection:
        connection.execute("listen pgsched")
        yield connection


def calls(ear: Database) -> list[str]:
    """The calls that came since the last time."""
    ear.execute("select 1")
    return [notify.payload for notify in ear.notifies(timeout=0)]


def add_sleeper(db: Database, *, until: str, queue: str = "default") -> None:
    db.execute(
        "insert into pgsched.workers (id, hostname, pid, queues, task_types, concurrency, lease, sleeping_until) "
        f"values (gen_random_uuid(), 'host', 1, array['{queue}'], '{{}}', 1, '30 seconds', {until})"
    )


# What a worker publishes.


async def test_a_worker_sleeps_until_the_next_row_is_due(dsn: str, db: Database) -> None:
    db.execute("insert into pgsched.tasks (task_type, next_run_at) values ('mail', now() + interval '20 seconds')")
    async with engine(dsn) as one:
        one.worker.heartbeat.run_once()
        seconds = await fall_asleep(one.worker.claim_session, one.worker.identity, 60.0)
        assert seconds is not None
        assert 10 < seconds <= 20
        assert rows(
            db, "select sleeping_until = (select next_run_at from pgsched.tasks) as same from pgsched.workers"
        ) == [{"same": True}]


async def test_a_worker_publishes_no_longer_sleep_than_it_is_told(dsn: str, db: Database) -> None:
    async with engine(dsn) as one:
        one.worker.heartbeat.run_once()
        assert await fall_asleep(one.worker.claim_session, one.worker.identity, 60.0) == pytest.approx(60.0)


async def test_rows_of_other_queues_do_not_shorten_the_sleep(dsn: str, db: Database) -> None:
    insert_task(db, queue="other", next_run_at=datetime.now(UTC) + timedelta(seconds=5))
    async with engine(dsn) as one:
        one.worker.heartbeat.run_once()
        assert await fall_asleep(one.worker.claim_session, one.worker.identity, 60.0) == pytest.approx(60.0)


async def test_a_worker_that_is_not_registered_does_not_rely_on_calls(dsn: str) -> None:
    async with engine(dsn) as one:
        assert await fall_asleep(one.worker.claim_session, one.worker.identity, 60.0) is None


async def test_a_busy_worker_is_not_asleep(dsn: str, db: Database) -> None:
    async with engine(dsn) as one:
        one.worker.heartbeat.run_once()
        await fall_asleep(one.worker.claim_session, one.worker.identity, 60.0)
        await wake_up(one.worker.claim_session, one.worker.identity)
        assert rows(db, "select sleeping_until from pgsched.workers") == [{"sleeping_until": None}]


async def looks(sleep: Sleep) -> list[float]:
    """The pauses after falling asleep, up to the poll."""
    pauses = [await sleep.pause(lambda: ["default"])]
    while pauses[-1] < 5:
        pauses.append(await sleep.pause(lambda: ["default"]))
    return pauses


async def test_a_sleep_is_renewed_before_it_is_over_and_without_second_looks(
    dsn: str, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr("pgsched.worker.sleep.monotonic", clock)
    async with engine(dsn, poll_interval=5) as one:
        one.worker.heartbeat.run_once()
        sleep = one.worker.sleep
        assert await looks(sleep) == [*SECOND_LOOKS, 5]
        (first,) = rows(db, "select sleeping_until from pgsched.workers")
        clock.now += 54
        assert await sleep.pause(lambda: ["default"]) == 5
        assert rows(db, "select sleeping_until from pgsched.workers") == [first]
        clock.now += 2
        assert await sleep.pause(lambda: ["default"]) == 5
        (second,) = rows(db, "select sleeping_until from pgsched.workers")
        assert second["sleeping_until"] > first["sleeping_until"]
        sleep.disturb()
        assert await looks(sleep) == [*SECOND_LOOKS, 5], "a call may have come before what it was for"
        clock.now += 61
        assert await looks(sleep) == [*SECOND_LOOKS, 5], "after a gap, as of a machine that was asleep"


async def test_a_sleep_that_a_row_ends_is_not_renewed_before(
    dsn: str, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr("pgsched.worker.sleep.monotonic", clock)
    db.execute("insert into pgsched.tasks (task_type, next_run_at) values ('mail', now() + interval '30 seconds')")
    async with engine(dsn, poll_interval=5) as one:
        one.worker.heartbeat.run_once()
        sleep = one.worker.sleep
        await looks(sleep)
        (first,) = rows(db, "select sleeping_until from pgsched.workers")
        clock.now += 28
        assert await sleep.pause(lambda: ["default"]) < 2.1
        assert rows(db, "select sleeping_until from pgsched.workers") == [first]


# Who is called.


def test_an_insert_calls_a_sleeper(db: Database, ear: Database) -> None:
    add_sleeper(db, until=SOON)
    insert_task(db)
    assert calls(ear) == ["default"]


def test_an_insert_calls_nobody_when_every_worker_is_awake(db: Database, ear: Database) -> None:
    add_sleeper(db, until="null")
    insert_task(db)
    assert calls(ear) == []


def test_an_insert_that_is_due_after_the_sleep_calls_nobody(db: Database, ear: Database) -> None:
    add_sleeper(db, until="now() + interval '10 seconds'")
    insert_task(db, scheduled_for=datetime(2100, 1, 1, tzinfo=UTC))
    assert calls(ear) == []


def test_an_insert_that_is_due_before_the_end_of_the_sleep_calls(db: Database, ear: Database) -> None:
    add_sleeper(db, until="'2101-01-01'")
    insert_task(db, scheduled_for=datetime(2100, 1, 1, tzinfo=UTC))
    assert calls(ear) == ["default"]


def test_an_insert_into_another_queue_calls_nobody(db: Database, ear: Database) -> None:
    add_sleeper(db, until=SOON)
    insert_task(db, queue="other")
    assert calls(ear) == []


def test_a_paused_insert_calls_nobody(db: Database, ear: Database) -> None:
    add_sleeper(db, until=SOON)
    insert_task(db, enabled=False)
    assert calls(ear) == []


def test_a_sleeper_is_called_once_for_a_transaction_of_many_inserts(db: Database, ear: Database) -> None:
    add_sleeper(db, until=SOON)
    db.execute("insert into pgsched.tasks (task_type) select 'mail' from generate_series(1, 100)")
    assert calls(ear) == ["default"]


@pytest.mark.parametrize(
    "change",
    [
        "select pgsched.enable(id) from pgsched.tasks",
        "update pgsched.tasks set enabled = true",
        "update pgsched.tasks set enabled = true, next_run_at = now()",
    ],
)
def test_whoever_makes_a_row_claimable_calls(db: Database, ear: Database, change: str) -> None:
    add_sleeper(db, until=SOON)
    insert_task(db, enabled=False)
    db.execute(change)
    assert calls(ear) == ["default"]


def test_a_row_that_is_brought_forward_calls(db: Database, ear: Database) -> None:
    add_sleeper(db, until=SOON)
    task_id = insert_task(db, scheduled_for=datetime(2100, 1, 1, tzinfo=UTC))
    db.execute("select pgsched.run_now(%s)", (task_id,))
    assert calls(ear) == ["default"]


def test_a_queue_that_goes_on_calls(db: Database, ear: Database) -> None:
    add_sleeper(db, until=SOON)
    db.execute("insert into pgsched.queues (name, paused) values ('default', true)")
    insert_task(db)
    calls(ear)
    db.execute("update pgsched.queues set paused = false")
    assert calls(ear) == ["default"]


async def test_a_released_row_calls(dsn: str, db: Database, ear: Database) -> None:
    insert_task(db)
    async with engine(dsn) as one:
        await one.claim()
        add_sleeper(db, until=SOON)
        await one.worker.ending().give_back(one.leased_tasks.take_waiting())
        assert calls(ear) == ["default"]


# A worker that sleeps.


async def until_asleep(db: Database) -> None:
    await wait_until_async(
        lambda: rows(db, "select from pgsched.workers where sleeping_until > now()"), message="it sleeps"
    )


async def until_completed(db: Database, task_id: int) -> None:
    await wait_until_async(
        lambda: task_row(db, task_id)["status"] == "completed", message=f"task {task_id} is completed"
    )


async def test_a_sleeping_worker_runs_what_is_inserted_without_waiting_for_its_poll(dsn: str, db: Database) -> None:
    async with running_worker(dsn, poll_interval=3600) as worker:
        await wait_until_async(lambda: worker.counts.listener_connected, message="it listens")
        await until_asleep(db)
        await until_completed(db, insert_task(db))


async def test_a_sleeping_worker_wakes_by_itself_when_a_row_becomes_due(dsn: str, db: Database) -> None:
    with db.transaction():
        task_id = insert_task(db)
        db.execute("update pgsched.tasks set next_run_at = now() + interval '0.4 seconds'")
    async with running_worker(dsn, poll_interval=3600) as worker:
        worker.listener.notified = lambda _: None  # type: ignore[method-assign]
        await until_completed(db, task_id)


async def test_a_row_whose_transaction_was_open_while_the_worker_fell_asleep_is_found(dsn: str, db: Database) -> None:
    async with running_worker(dsn, poll_interval=0.2):
        with database(dsn) as slow, slow.transaction():
            task_id = insert_task(slow)  # before the worker slept: it calls nobody
            await until_asleep(db)
        await until_completed(db, task_id)


async def test_a_listener_that_was_cut_off_comes_back_and_catches_up(dsn: str, db: Database) -> None:
    async with running_worker(dsn, poll_interval=3600) as worker:
        await wait_until_async(lambda: worker.counts.listener_connected, message="it listens")
        await until_asleep(db)
        db.execute("alter table pgsched.tasks disable trigger prepare")  # the call that is lost
        db.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where application_name = 'pgsched listener' and datname = current_database()"
        )
        keep_constants(db, keep=True)
        db.execute(
            "insert into pgsched.tasks (task_type, schedule_type, next_run_at) values ('mail', 'one_time', now())"
        )
        (row,) = rows(db, "select id from pgsched.tasks")
        await until_completed(db, row["id"])
        await wait_until_async(lambda: worker.counts.listener_connected, message="it listens again")
        assert worker.counts.database_errors >= 1


async def test_without_a_listener_the_poll_finds_work(dsn: str, db: Database, monkeypatch: Any) -> None:
    async def deaf(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr("pgsched.worker.listener.listen", deaf)
    async with running_worker(dsn, handlers(mail=lambda: None), poll_interval=0.05) as worker:
        await until_asleep(db)
        await until_completed(db, insert_task(db))
        assert not worker.counts.listener_connected
