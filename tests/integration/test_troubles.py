"""What is wrong in a worker is known within seconds: in readiness, in its row, to the doctor and in the metrics."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from pgsched.context import Context
from pgsched.maintenance.doctor import doctor
from pgsched.worker import heart, loops, troubles, usual
from pgsched.worker.service import Worker
from tests.engine import handlers, on_loop, rows, running_worker
from tests.tables import database, insert_task
from tests.waiting import wait_until_async

Database = psycopg.Connection[dict[str, Any]]
DONE = "select from pgsched.tasks where status = 'completed'"


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Troubles are troubles sooner than in earnest."""
    monkeypatch.setattr(troubles, "UNWRITTEN_SECONDS", 0.3)
    monkeypatch.setattr(troubles, "OVERDUE_SECONDS", 0.2)
    monkeypatch.setattr(troubles, "IDLE_SECONDS", 0.3)
    monkeypatch.setattr(troubles, "SET_ASIDE_SECONDS", 0.1)
    monkeypatch.setattr(loops, "STEADY_SECONDS", 0.3)
    monkeypatch.setattr(heart, "LOOK_SECONDS", 0.1)


async def told(dsn: str, db: Database, worker: Worker, kind: str, *, stops: bool) -> None:
    """Every face tells of the trouble."""

    def in_row() -> list[Any]:
        return [one for row in rows(db, "select troubles from pgsched.workers") for one in row["troubles"]]

    await wait_until_async(
        lambda: any(one["kind"] == kind and one["stops"] is stops for one in in_row()),
        timeout=20,
        message=f"the row of the worker tells of {kind}",
    )
    if stops:
        assert worker.health.unready() is not None
    assert any(one["kind"] == kind for one in worker.health.troubles())

    async def found() -> bool:
        return kind in {one.check for one in (await doctor.look(dsn, name="pgsched test")).findings}

    await wait_until_async(found, timeout=20, message=f"the doctor finds {kind}")
    shown = {
        sample.labels["kind"]: sample.value
        for family in worker.metrics.collect()
        for sample in family.samples
        if sample.name == "pgsched_worker_trouble"
    }
    assert shown[kind] == 1
    assert set(shown) == set(troubles.KINDS)


async def untold(worker: Worker, db: Database) -> None:
    """And tells when it is over."""
    await wait_until_async(
        lambda: rows(db, "select 1 from pgsched.workers where troubles <> '[]'") == [] and not worker.health.unready(),
        timeout=20,
        message="nothing is wrong any more",
    )


@on_loop
async def test_outcomes_that_wait_for_a_lock_on_the_history(dsn: str) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def mail() -> None:
        begun.set()
        await go_on.wait()

    with database(dsn) as db, database(dsn) as other:
        for _ in range(20):
            insert_task(db)
        async with running_worker(dsn, handlers(mail=mail), lease=5) as worker:
            await wait_until_async(lambda: worker.slots.running == 20, message="all run")
            with other.transaction():
                other.execute("lock table pgsched.executions in exclusive mode")
                go_on.set()
                await told(dsn, db, worker, "unwritten_outcomes", stops=True)
            worker.finisher.try_all()
            await untold(worker, db)


@on_loop
async def test_a_claim_loop_that_fails(dsn: str) -> None:
    with database(dsn) as db:
        async with running_worker(dsn, lease=5, poll_interval=0.1) as worker:
            await wait_until_async(lambda: worker.health.unready() is None, message="it works")
            db.execute("alter table pgsched.queues rename column paused to stopped")
            insert_task(db)
            await told(dsn, db, worker, "failing_loops", stops=True)
            db.execute("alter table pgsched.queues rename column stopped to paused")
            await untold(worker, db)


@on_loop
async def test_slots_that_take_nothing(dsn: str) -> None:
    with database(dsn) as db:
        async with running_worker(dsn, concurrency=2, lease=5, shutdown_timeout=0.5) as worker:
            await wait_until_async(lambda: len(worker.slots._idle) == 2, message="both slots are free")
            worker.slots._idle.clear()  # whoever feeds the slots finds none
            insert_task(db)
            await told(dsn, db, worker, "lost_slots", stops=True)


@on_loop
async def test_slots_held_by_threads_past_their_timeout(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()

    def sleep() -> None:
        go_on.wait(30)

    with database(dsn) as db:
        for _ in range(2):
            insert_task(db, timeout="100 milliseconds", max_attempts=1)
        async with running_worker(dsn, handlers(mail=sleep), concurrency=2, lease=5) as worker:
            try:
                await told(dsn, db, worker, "overdue_attempts", stops=True)
                assert [row["running"] for row in rows(db, "select running from pgsched.workers")] == [2]
                assert worker.health.unhealthy() is None
                monkeypatch.setattr(troubles, "HOPELESS_SECONDS", 0.1)
                assert "overdue_attempts" in (worker.health.unhealthy() or "")
            finally:
                go_on.set()
            await untold(worker, db)


@on_loop
async def test_an_attempt_that_runs_far_longer_than_its_type_does(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usual, "LEAST_SECONDS", 0.5)
    go_on = asyncio.Event()

    async def mail(wait: bool = False) -> None:
        if wait:
            await go_on.wait()

    with database(dsn) as db:
        for _ in range(usual.ENOUGH + 5):
            insert_task(db)
        async with running_worker(dsn, handlers(mail=mail), lease=5) as worker:
            await wait_until_async(lambda: len(rows(db, DONE)) == usual.ENOUGH + 5, message="the usual ones are done")
            insert_task(db, payload=Jsonb({"wait": True}))
            await told(dsn, db, worker, "long_attempts", stops=False)
            assert worker.health.unready() is None
            go_on.set()
            await untold(worker, db)


@on_loop
async def test_upkeep_that_fails_for_ever_keeps_no_other_duty_from_its_turn(dsn: str) -> None:
    go_on = asyncio.Event()

    async def mail(context: Any) -> None:
        context.progress(1)
        await go_on.wait()

    mail.__annotations__["context"] = "Context"

    mail.__globals__["Context"] = Context
    with database(dsn) as db:
        db.execute("alter function pgsched.make_partitions rename to make_nothing")
        async with running_worker(dsn, handlers(mail=mail), lease=5) as worker:
            await told(dsn, db, worker, "failing_upkeep", stops=False)
            assert worker.health.unready() is None
            insert_task(db)
            shown = "select from pgsched.tasks where progress is not null"
            await wait_until_async(lambda: rows(db, shown) != [], message="progress is shown all the same")
            go_on.set()


@on_loop
async def test_an_outcome_that_is_set_aside(dsn: str) -> None:
    with database(dsn) as db:
        db.execute(
            "create function public.guard() returns trigger language plpgsql as $$ begin "
            "if old.status = 'running' and new.status <> 'running' then raise exception 'not in this house'; end if; "
            "return new; end $$"
        )
        db.execute("create trigger guard after update on pgsched.tasks for each row execute function public.guard()")
        insert_task(db)
        async with running_worker(dsn, lease=5) as worker:
            await told(dsn, db, worker, "set_aside", stops=False)
            db.execute("drop trigger guard on pgsched.tasks")


@on_loop
async def test_log_lines_that_are_lost(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with database(dsn) as db:
        async with running_worker(dsn, lease=5) as worker:
            await wait_until_async(lambda: worker.health.unready() is None, message="it works")
            monkeypatch.setattr(worker.health._troubles, "_log_errors", lambda: 1_000_000)
            await told(dsn, db, worker, "log_errors", stops=False)
