"""The heartbeat: it registers the worker and keeps its leases, whatever the handlers do."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta

import pytest

from pgsched.db.worker.leases import HeartbeatConnection
from pgsched.domain.attempt import GROUP
from pgsched.domain.errors import DatabaseUnavailable
from pgsched.execution.context import Context
from pgsched.worker.leased_tasks import LeasedTask
from tests.support.engine import engine, expire_leases, handlers, history, rows, running_worker, steal_leases
from tests.support.guards import age
from tests.support.tables import database, insert_task, task_row
from tests.support.waiting import wait_until, wait_until_async


async def test_a_beat_registers_the_worker(dsn: str) -> None:
    with database(dsn) as db:
        async with engine(dsn, queues=("a", "b"), concurrency=7, lease=40) as one:
            one.worker.heartbeat.run_once()
            (row,) = rows(db, "select * from pgsched.workers")
            assert (row["id"], row["queues"], row["concurrency"]) == (one.worker.identity.id, ["a", "b"], 7)
            assert (row["task_types"], row["lease"]) == (["mail", GROUP], timedelta(seconds=40))


async def test_a_worker_registers_again_after_a_crash_of_the_server_emptied_the_table(dsn: str) -> None:
    with database(dsn) as db:
        async with engine(dsn) as one:
            one.worker.heartbeat.run_once()
            started_at = rows(db, "select started_at from pgsched.workers")[0]["started_at"]
            db.execute("truncate pgsched.workers")
            one.worker.heartbeat.run_once()
            (row,) = rows(db, "select * from pgsched.workers")
            assert row["id"] == one.worker.identity.id
            assert abs(row["started_at"] - started_at) < timedelta(seconds=1)


async def test_a_worker_leaves_no_row_behind_when_it_stops(dsn: str) -> None:
    with database(dsn) as db:
        async with engine(dsn) as one:
            one.worker.heartbeat.run_once()
        assert rows(db, "select * from pgsched.workers") == []


async def test_a_beat_renews_a_lease_that_has_aged(dsn: str) -> None:
    with database(dsn) as db:
        task_id = insert_task(db)
        async with engine(dsn) as one:
            await one.claim()
            before = task_row(db, task_id)["locked_until"]
            age(one.leased_tasks)
            one.worker.heartbeat.run_once()
            assert task_row(db, task_id)["locked_until"] > before


async def test_a_beat_leaves_a_fresh_lease_alone(dsn: str) -> None:
    with database(dsn) as db:
        task_id = insert_task(db)
        async with engine(dsn) as one:
            await one.claim()
            before = task_row(db, task_id)
            one.worker.heartbeat.run_once()
            assert task_row(db, task_id) == before


async def test_a_beat_prolongs_the_lease_in_hand_as_well(dsn: str) -> None:
    with database(dsn) as db:
        task_id = insert_task(db)
        async with engine(dsn) as one:
            await one.claim()
            leased = one.leased_tasks.get(task_id)
            assert leased is not None
            age(one.leased_tasks)
            aged = leased.leased_until
            one.worker.heartbeat.run_once()
            assert leased.leased_until > aged


async def test_a_beat_does_not_wait_for_a_row_that_somebody_has_locked(dsn: str) -> None:
    """Checked against a beat that locks as any update does: it stands still, and every lease of the worker runs out."""
    with database(dsn) as db, database(dsn) as other:
        locked, free = insert_task(db), insert_task(db)
        async with engine(dsn) as one:
            await one.claim()
            lost: list[LeasedTask] = []
            one.worker.heartbeat.on_lost = lost.extend
            before = task_row(db, locked)["locked_until"], task_row(db, free)["locked_until"]
            age(one.leased_tasks)
            with other.transaction():
                other.execute("select from pgsched.tasks where id = %s for update", (locked,))
                await asyncio.wait_for(asyncio.to_thread(one.worker.heartbeat.run_once), 5)
            assert task_row(db, locked)["locked_until"] == before[0]
            assert task_row(db, free)["locked_until"] > before[1]
            one.worker.heartbeat.run_once()
            assert task_row(db, locked)["locked_until"] > before[0]
            assert lost == []


async def test_a_worker_without_an_answer_gives_up_what_is_past_its_lease(dsn: str) -> None:
    with database(dsn) as db:
        insert_task(db)
    async with engine(dsn) as one:
        (task,) = await one.claim()
        lost: list[int] = []
        one.worker.heartbeat.on_lost = lambda leased_tasks: lost.extend(leased.task.id for leased in leased_tasks)
        one.worker.heartbeat.connection.close()
        one.worker.heartbeat.connection = HeartbeatConnection(dsn="host=/nowhere", identity=one.worker.identity)
        with pytest.raises(DatabaseUnavailable):
            one.worker.heartbeat.run_once()
        assert lost == []
        for leased in one.leased_tasks.snapshot():
            leased.leased_until = 0.0
        with pytest.raises(DatabaseUnavailable):
            one.worker.heartbeat.run_once()
        assert lost == [task.id]


async def test_a_row_whose_lease_ran_out_before_it_began_is_not_run(dsn: str) -> None:
    ran: list[int] = []
    with database(dsn) as db:
        insert_task(db)
    async with engine(dsn, handlers(mail=lambda: ran.append(1))) as one:
        await one.claim()
        for leased in one.leased_tasks.snapshot():
            leased.leased_until = 0.0
        await one.started()
        await asyncio.sleep(0)
        assert (ran, len(one.leased_tasks), one.counts.leases_lost) == ([], 0, 1)


async def test_a_lost_lease_cancels_its_handler_and_nothing_is_written(dsn: str) -> None:
    began, cancelled = asyncio.Event(), asyncio.Event()

    async def endless() -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    with database(dsn) as db:
        task_id = insert_task(db)
        async with running_worker(dsn, handlers(mail=endless)) as worker:
            await began.wait()
            steal_leases(db)
            stolen = task_row(db, task_id)
            age(worker.leased_tasks)
            worker.heartbeat.run_once()
            await cancelled.wait()
            await wait_until_async(lambda: worker.executor.running == 0, message="its slot is free")
            assert (len(worker.leased_tasks), worker.counts.leases_lost) == (0, 1)
        assert task_row(db, task_id) == stolen
        assert history(db, task_id) == []


async def test_a_row_that_its_own_worker_claims_again_does_not_run_twice_at_once(dsn: str) -> None:
    running, most = 0, 0
    first_began, again = asyncio.Event(), asyncio.Event()

    async def handler(context: Context) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        try:
            if context.attempt == 1:
                first_began.set()
                await asyncio.Event().wait()
            again.set()
        finally:
            running -= 1

    with database(dsn) as db:
        task_id = insert_task(db)
        async with engine(dsn, handlers(mail=handler)) as one:
            await one.claim()
            one.worker.executor.feed()
            await first_began.wait()
            expire_leases(db)
            await one.claim()
            await asyncio.sleep(0)
            await one.run()
            assert again.is_set()
        assert most == 1
        assert task_row(db, task_id)["status"] == "completed"
        assert [run["status"] for run in history(db, task_id)] == ["lost", "completed"]


async def test_a_lost_lease_tells_a_plain_function(dsn: str) -> None:
    began, told = threading.Event(), threading.Event()

    def endless(context: Context) -> None:
        began.set()
        while not context.cancelled:
            told.wait(0.001)
        told.set()

    with database(dsn) as db:
        insert_task(db)
        async with running_worker(dsn, handlers(mail=endless)) as worker:
            await wait_until_async(began.is_set, message="the handler runs")
            steal_leases(db)
            age(worker.leased_tasks)
            worker.heartbeat.run_once()
            await wait_until_async(told.is_set, message="the handler is told")


async def test_a_handler_that_blocks_the_event_loop_for_three_leases_keeps_its_lease(dsn: str) -> None:
    with database(dsn) as db:
        task_id = insert_task(db)

        async def block() -> str:
            seen = task_row(db, task_id)["locked_until"]
            for _ in range(3):  # three times the lease was renewed past its end
                _block_until_renewed_past(db, task_id, seen)
                seen = task_row(db, task_id)["locked_until"]
            return "still ours"

        async with running_worker(dsn, handlers(mail=block), lease=1) as worker:
            await wait_until_async(
                lambda: task_row(db, task_id)["status"] == "completed", timeout=30, message="it is completed"
            )
            assert worker.counts.leases_lost == 0
        row = task_row(db, task_id)
    assert (row["result"], row["fencing_token"], row["attempts"]) == ("still ours", 1, 1)


def _block_until_renewed_past(db: object, task_id: int, seen: object) -> None:
    """Without giving the event loop a turn: until the database's clock is past ``seen`` and the lease goes on."""
    wait_until(
        lambda: rows(
            db,  # type: ignore[arg-type]
            "select from pgsched.tasks where id = %s and now() > %s and locked_until > now()",
            task_id,
            seen,
        ),
        message="a lease time has passed",
    )


async def test_a_beat_that_fails_for_any_reason_is_not_the_last(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pgsched.worker.heartbeat.RETRY_SECONDS", 0.01)
    async with running_worker(dsn, lease=1) as worker:
        await wait_until_async(lambda: worker.heartbeat.beating, message="it beats")
        beat, failures = worker.heartbeat.connection.beat, list[Exception]()

        def failing(*arguments: object, **options: object) -> dict[int, bool]:
            if len(failures) < 3:
                failures.append(RuntimeError("nobody thought of it"))
                raise failures[-1]
            return beat(*arguments, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(worker.heartbeat.connection, "beat", failing)
        await wait_until_async(lambda: len(failures) == 3, message="beats fail")
        before = worker.heartbeat.last_beat
        await wait_until_async(lambda: worker.heartbeat.last_beat > before, message="it beats again")
