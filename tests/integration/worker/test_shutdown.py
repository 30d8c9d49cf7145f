"""An orderly stop: what waits is given back, what runs may finish, what does not is handed back."""

from __future__ import annotations

import asyncio
import gc
import threading
from contextlib import suppress
from typing import Any

import pytest

from pgsched.db.worker import claims, completions
from pgsched.execution.context import Context
from pgsched.execution.registry import Registry
from pgsched.worker.shutdown import Shutdown
from pgsched.worker.worker import Worker
from tests.support.engine import engine, expire_leases, handlers, history, rows, running_worker
from tests.support.tables import database, insert_task, task_row
from tests.support.waiting import wait_until_async

STATES = "select status, count(*) as n from pgsched.tasks group by status order by status"


async def test_rows_that_wait_are_given_back_with_their_attempt_and_those_that_run_finish(
    dsn: str,
) -> None:
    began, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        began.set()
        await go_on.wait()

    with database(dsn) as db:
        for _ in range(5):
            insert_task(db)
        async with running_worker(dsn, handlers(mail=slow), concurrency=1) as worker:
            await began.wait()
            extra = await worker.claimer.run_once(4)  # more than it would take by itself
            assert extra
            worker.stop()
            await wait_until_async(
                lambda: (
                    len(worker.leased_tasks) == 1
                    and rows(db, STATES) == [{"status": "pending", "n": 4}, {"status": "running", "n": 1}]
                ),
                message="what waits is given back",
            )
            go_on.set()
        assert rows(db, "select status, attempts, count(*) as n from pgsched.tasks group by 1, 2 order by 1") == [
            {"status": "completed", "attempts": 1, "n": 1},
            {"status": "pending", "attempts": 0, "n": 4},
        ]


async def test_a_handler_that_outstays_the_shutdown_is_cancelled_and_handed_back(dsn: str) -> None:
    began, cleaned = asyncio.Event(), asyncio.Event()

    async def endless() -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.set()

    with database(dsn) as db:
        task_id = insert_task(db)
        async with running_worker(dsn, handlers(mail=endless), shutdown_timeout=0):
            await began.wait()
        row = task_row(db, task_id)
        assert cleaned.is_set()
        assert (row["status"], row["attempts"], row["locked_by"]) == ("pending", 0, None)
        assert history(db, task_id) == []


async def test_a_handler_that_finishes_when_it_is_cancelled_is_completed(dsn: str) -> None:
    began = asyncio.Event()

    async def stubborn() -> str:
        began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "just in time"
        return "never"

    with database(dsn) as db:
        task_id = insert_task(db)
        async with running_worker(dsn, handlers(mail=stubborn), shutdown_timeout=0):
            await began.wait()
        row = task_row(db, task_id)
        assert (row["status"], row["result"]) == ("completed", "just in time")


async def test_a_plain_function_that_outstays_the_shutdown_is_told_and_handed_back(dsn: str) -> None:
    began, told = threading.Event(), threading.Event()

    def endless(context: Context) -> None:
        began.set()
        while not context.cancelled:
            told.wait(0.001)
        told.set()

    with database(dsn) as db:
        task_id = insert_task(db)
        async with running_worker(dsn, handlers(mail=endless), shutdown_timeout=0):
            await wait_until_async(began.is_set, message="it runs")
        assert told.is_set()
        assert task_row(db, task_id)["status"] == "pending"


async def test_a_stopped_worker_holds_no_lease_however_busy_it_was(dsn: str) -> None:
    done = 0
    enough = asyncio.Event()

    async def quick() -> None:
        nonlocal done
        done += 1
        if done % 500 == 0:
            enough.set()

    with database(dsn) as db:
        db.execute("insert into pgsched.tasks (task_type, max_attempts) select 'mail', 1 from generate_series(1, 6000)")
        for _ in range(4):  # each stops at another moment of a claim
            enough.clear()
            async with running_worker(dsn, handlers(mail=quick)):
                await enough.wait()
            assert rows(db, "select count(*) as n from pgsched.tasks where status = 'running'") == [{"n": 0}]
        assert rows(db, "select count(*) as n from pgsched.tasks where status = 'completed'") == [{"n": done}]
        assert rows(db, "select count(*) as n from pgsched.tasks where status = 'pending' and attempts > 0") == [
            {"n": 0}
        ]


async def told_to_stop(worker: Worker) -> None:
    await wait_until_async(lambda: worker.health.unready() == "stopping", message="it is told to stop")


async def test_a_claim_that_is_under_way_when_the_worker_stops_is_given_back(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    claimed = asyncio.Event()
    claim = claims.claim

    async def slow_claim(*arguments: Any, **options: Any) -> claims.Batch:
        found = await claim(*arguments, **options)
        if found.tasks:  # the rows are ours, and the answer is still on its way
            claimed.set()
            await told_to_stop(worker)
        return found

    monkeypatch.setattr(claims, "claim", slow_claim)
    with database(dsn) as db:
        async with running_worker(dsn, poll_interval=0.05) as worker:
            task_id = insert_task(db)
            await claimed.wait()
        row = task_row(db, task_id)
        assert (row["locked_by"], row["status"] in ("pending", "completed")) == (None, True)


async def test_lines_that_are_being_written_when_the_worker_stops_are_there_once(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = asyncio.Event()
    report = completions.report

    async def slow_report(*arguments: Any, **options: Any) -> None:
        await report(*arguments, **options)
        written.set()  # the lines are there, and the answer is still on its way
        await told_to_stop(worker)

    async def mail(ctx: Context) -> None:
        ctx.log("begun")
        await told_to_stop(worker)

    monkeypatch.setattr(completions, "report", slow_report)
    with database(dsn) as db:
        insert_task(db)
        async with running_worker(dsn, handlers(mail=mail)) as worker:
            await written.wait()
        assert rows(db, STATES) == [{"status": "completed", "n": 1}]
        assert rows(db, "select message from pgsched.execution_logs") == [{"message": "begun"}]


async def test_a_stopping_worker_claims_no_more(dsn: str) -> None:
    began, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        began.set()
        await go_on.wait()

    with database(dsn) as db:
        insert_task(db)
        async with running_worker(dsn, handlers(mail=slow), poll_interval=0.05) as worker:
            await began.wait()
            worker.stop()
            await wait_until_async(lambda: worker.executor._closing, message="it winds down")
            later = insert_task(db)
            assert worker.health.unready() == "stopping"
            go_on.set()
        assert task_row(db, later)["status"] == "pending"


async def test_stopping_twice_is_stopping_once(dsn: str) -> None:
    async with running_worker(dsn) as worker:
        worker.stop()
        worker.stop()


async def test_a_worker_that_stops_is_no_longer_registered(dsn: str) -> None:
    with database(dsn) as db:
        async with running_worker(dsn):
            await wait_until_async(lambda: rows(db, "select from pgsched.workers"), message="it is registered")
        assert rows(db, "select * from pgsched.workers") == []


@pytest.mark.parametrize(
    "step", ["end_loops", "give_back", "let_end", "end_heartbeat", "close_slots", "end_hooks", "unregister"]
)
@pytest.mark.parametrize("error", [RuntimeError("nobody thought of it"), asyncio.CancelledError()], ids=type)
async def test_a_step_of_the_end_that_fails_keeps_none_of_the_others_from_being_taken(
    dsn: str, monkeypatch: pytest.MonkeyPatch, step: str, error: BaseException
) -> None:
    done = asyncio.Event()

    async def quick() -> None:
        done.set()

    async def failing(*_arguments: object) -> None:
        raise error

    monkeypatch.setattr(Shutdown, step, failing)
    with database(dsn) as db:
        task_id = insert_task(db)
        with suppress(asyncio.CancelledError):
            async with running_worker(dsn, handlers(mail=quick)) as worker:
                await done.wait()
        assert task_row(db, task_id)["status"] == "completed"
        registered = rows(db, "select from pgsched.workers")
        assert bool(registered) == (step == "unregister")
        assert not worker.retention.running
        assert not any(
            session.connected for session in (worker.claim_session, worker.finish_session, worker.upkeep_session)
        )
        if step != "end_heartbeat":
            assert not worker.heartbeat.beating
        worker.heartbeat.stop(5)
        worker.executor.close()


async def test_connections_that_cannot_be_closed_keep_no_other_open(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def failing() -> None:
        raise RuntimeError("nobody thought of it")

    async with running_worker(dsn) as worker:
        await wait_until_async(
            lambda: worker.finish_session.connected or worker.claim_session.connected, message="it works"
        )
        close = worker.claim_session.close
        monkeypatch.setattr(worker.claim_session, "close", failing)
    assert not worker.upkeep_session.connected
    await close()


async def test_loops_that_somebody_cancels_go_on(dsn: str) -> None:
    calls = list[int]()

    async def mail(ctx: Context) -> None:
        calls.append(ctx.id)

    with database(dsn) as db:
        async with running_worker(dsn, handlers(mail=mail)):
            for _ in range(3):
                first = insert_task(db)
                await wait_until_async(lambda first=first: task_row(db, first)["status"] == "completed", message="done")
                # By type(): what is lazy would come to life when it is asked for its class.
                found = (one for one in gc.get_objects() if issubclass(type(one), asyncio.Task))
                tasks = [one for one in found if not one.done()]
                mine = [one for one in tasks if one.get_loop() is asyncio.get_running_loop()]
                names = {one.get_name() for one in mine if one.get_name().startswith("pgsched")}
                loops = {"pgsched claim", "pgsched finish", "pgsched listen", "pgsched upkeep", "pgsched watchdog"}
                assert names >= loops
                for one in mine:
                    if one.get_name() in names:
                        one.cancel()
        assert len(calls) == 3


async def test_a_slot_whose_preparation_somebody_cancelled_lets_go_of_its_row(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def cancelled(*_arguments: object) -> None:
        raise asyncio.CancelledError

    def mail(ctx: Context) -> None: ...

    registry = Registry()
    registry.register("mail", mail, transactional=True)
    with database(dsn) as db:
        insert_task(db)
        async with engine(dsn, registry) as one:
            with monkeypatch.context() as broken:
                broken.setattr(one.worker.executor._attempts, "prepare", cancelled)
                await one.claim()
                one.worker.executor.feed()
                await wait_until_async(lambda: len(one.leased_tasks) == 0, message="nothing is in hand")
            expire_leases(db)
            await one.work()
        assert rows(db, STATES) == [{"status": "completed", "n": 1}]
