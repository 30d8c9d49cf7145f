"""Rows that are locked, not leased: what ends soon is finished in the transaction that has locked it."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from statistics import median
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from pgsched import Context
from pgsched.db.session import Session
from pgsched.db.worker.completions import Command
from pgsched.db.worker.locking import CommitUnanswered, LockingSession, LostAttempt, find_locked_ends, insert_lost
from pgsched.worker import claims, locked_batches
from pgsched.worker.worker import Worker
from tests.support.engine import Rows, claimed, handlers, history, rows, running_worker
from tests.support.tables import WORKER, database, insert_task, task_row
from tests.support.waiting import wait_until, wait_until_async

Database = psycopg.Connection[dict[str, Any]]


FILLERS = 60
"""Tasks that come first, so that claims are full and the worker begins to lock rows."""


@asynccontextmanager
async def busy(dsn: str, *, lease: float = 30.0, **functions: Any) -> AsyncIterator[Worker]:
    """A worker that has much to do."""

    async def filler() -> None:
        pass

    async with running_worker(
        dsn, handlers(filler=filler, **functions), concurrency=10, max_batch=10, lease=lease
    ) as worker:
        await wait_until_async(lambda: worker.counts.listener_connected, message="it listens")
        yield worker


def insert_behind(db: Database, count: int = 1, **columns: Any) -> list[int]:
    """Insert tasks behind so many others that they are locked."""
    with db.transaction():
        db.execute(
            "insert into pgsched.tasks (task_type, priority) select 'filler', 6 from generate_series(1, %s)", (FILLERS,)
        )
        return [insert_task(db, **columns) for _ in range(count)]


async def insert_locked(db: Database, caught: Callable[[], bool], **columns: Any) -> int:
    """Insert such tasks until one of them is locked, not leased; the handler catches it. Now and then one is leased."""
    for _ in range(20):
        (task_id,) = insert_behind(db, **columns)
        await wait_until_async(
            lambda: caught() or task_row(db, task_id)["status"] not in ("pending", "running"),  # noqa: B023
            message="it has begun",
        )
        if caught():
            return task_id
    raise AssertionError("no task was locked")


async def ended(db: Database, task_id: int, status: str = "completed") -> dict[str, Any]:
    await wait_until_async(lambda: task_row(db, task_id)["status"] == status, message=f"task {task_id} is {status}")
    return task_row(db, task_id)


async def test_what_ends_soon_is_finished_in_the_transaction_of_its_claim(dsn: str) -> None:
    seen: list[tuple[Any, ...]] = []

    async def look(ctx: Context) -> None:
        row = task_row(other, ctx.id)
        seen.append((row["status"], row["locked_by"], row["attempts"]))

    with database(dsn) as db, database(dsn) as other:
        async with busy(dsn, mail=look):
            task_id = await insert_locked(db, lambda: ("pending", None, 0) in seen)
            row = await ended(db, task_id)
        (run,) = history(db, task_id)
    assert (row["attempts"], row["locked_by"], row["execution_count"]) == (1, None, 1)
    assert (run["status"], run["attempt"]) == ("completed", 1)
    assert run["fencing_token"] == row["fencing_token"] > 0


async def test_the_context_of_a_locked_row_says_what_the_row_says(dsn: str) -> None:
    seen: list[tuple[Any, ...]] = []

    async def look(ctx: Context) -> None:
        seen.append((task_row(other, ctx.id)["status"], ctx.user_id, ctx.metadata, ctx.trigger))

    with database(dsn) as db, database(dsn) as other:
        async with busy(dsn, mail=look):
            said = ("pending", "ann", {"a": 1}, "schedule")
            await insert_locked(db, lambda: said in seen, user_id="ann", metadata=Jsonb({"a": 1}))


async def test_nobody_else_gets_a_locked_row_and_a_cancel_waits_for_it(dsn: str) -> None:
    taken: list[Rows] = []
    cancelled: list[int] = []

    async def hold(ctx: Context) -> None:
        if task_row(db, ctx.id)["status"] != "pending":
            return
        taken.append(rows(db, "select id from pgsched.tasks where id = %s for no key update skip locked", ctx.id))
        try:
            await asyncio.to_thread(db.execute, "select pgsched.cancel(%s)", (ctx.id,))
            await asyncio.Event().wait()
        finally:
            cancelled.append(ctx.id)

    with database(dsn) as db, database(dsn) as other:
        async with busy(dsn, mail=hold):
            task_id = await insert_locked(other, lambda: bool(taken))
            await ended(other, task_id, "cancelled")
            await wait_until_async(lambda: cancelled == [task_id], message="its handler was cancelled")
        (run,) = history(other, task_id)
    assert taken == [[]]
    assert (run["status"], run["attempt"]) == ("cancelled", 1), "it was leased before the cancel came through"


async def test_what_does_not_end_within_the_grace_is_leased(dsn: str) -> None:
    gate = asyncio.Event()
    seen: list[int] = []

    async def wait(ctx: Context) -> None:
        if task_row(db, ctx.id)["status"] == "pending":
            seen.append(ctx.fencing_token)
            await gate.wait()

    with database(dsn) as db:
        async with busy(dsn, mail=wait) as worker:
            task_id = await insert_locked(db, lambda: bool(seen))
            row = await ended(db, task_id, "running")
            assert (row["attempts"], row["locked_by"]) == (1, worker.identity.id)
            assert row["started_at"] is not None
            assert seen == [row["fencing_token"]]
            gate.set()
            await ended(db, task_id)
        (run,) = history(db, task_id)
    assert (run["status"], run["fencing_token"]) == ("completed", row["fencing_token"])


async def test_what_fails_is_tried_again_like_anything_else(dsn: str) -> None:
    async def fail(ctx: Context) -> None:
        if ctx.attempt < 3:
            raise ValueError("not yet")

    with database(dsn) as db:
        async with busy(dsn, mail=fail):
            (task_id,) = insert_behind(db, backoff="fixed", backoff_delay="1 millisecond")
            row = await ended(db, task_id)
        runs = history(db, task_id)
    assert row["attempts"] == 3
    assert [(run["status"], run["attempt"]) for run in runs] == [("failed", 1), ("failed", 2), ("completed", 3)]
    assert len({run["fencing_token"] for run in runs}) == 3


async def test_a_lost_transaction_is_lost_and_the_next_attempt_is_counted(dsn: str) -> None:
    seen: list[tuple[str, int, int]] = []
    cancelled: list[int] = []

    async def lose_the_lock(ctx: Context) -> str:
        row = task_row(db, ctx.id)
        if not seen and row["status"] != "pending":
            return "leased"
        seen.append((row["status"], ctx.attempt, ctx.fencing_token))
        if len(seen) == 1:  # without a pause in which the grace could end
            db.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where application_name = 'pgsched lock' and datname = current_database()"
            )
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.append(ctx.id)
        return "done"

    with database(dsn) as db:
        async with busy(dsn, mail=lose_the_lock) as worker:
            task_id = await insert_locked(db, lambda: bool(seen))
            row = await ended(db, task_id)
            await wait_until_async(lambda: len(history(db, task_id)) == 2, message="the lost attempt is noted")
            assert worker.counts.fenced > 0
        lost, run = history(db, task_id)
        left = rows(db, "select count(*) as n from pgsched.tasks where status <> 'completed'")
    assert seen == [("pending", 1, lost["fencing_token"]), ("running", 1, run["fencing_token"])]
    assert cancelled == [task_id]
    assert [(one["status"], one["attempt"]) for one in (lost, run)] == [("lost", 0), ("completed", 1)]
    assert "not counted" in lost["error"]
    assert row["attempts"] == 1
    assert left == [{"n": 0}]


async def test_handlers_are_cancelled_as_soon_as_their_transaction_is_lost(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GRACE_SECONDS", "SHORT_GRACE_SECONDS"):
        monkeypatch.setattr(locked_batches, name, 3600.0)  # so nothing else ends the batch
    cancelled: list[int] = []

    async def wait(ctx: Context) -> None:
        if task_row(db, ctx.id)["status"] != "pending" or cancelled:
            return
        started.append(ctx.id)
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.append(ctx.id)

    started: list[int] = []
    with database(dsn) as db:
        async with busy(dsn, mail=wait) as worker:
            task_id = await insert_locked(db, lambda: bool(started))
            locker = "select xmax from pgsched.tasks where id = %s"  # others have batches of their own
            db.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                f" where datname = current_database() and backend_xid = ({locker})",
                (task_id,),
            )
            await wait_until_async(lambda: cancelled == [task_id], message="its handler was cancelled")
            row = await ended(db, task_id)
            await wait_until_async(lambda: len(history(db, task_id)) == 2, message="the lost attempt is noted")
            # Fillers of the same batch have ended in vain.
            (lost,) = rows(
                db, "select count(*) as number from pgsched.executions where status = 'lost' and attempt = 0"
            )
            assert worker.counts.fenced == lost["number"]
        runs = history(db, task_id)
    assert [(run["status"], run["attempt"]) for run in runs] == [("lost", 0), ("completed", 1)]
    assert row["attempts"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("done", [True, False])
async def test_a_commit_without_an_answer_cancels_what_runs_and_is_looked_up(
    dsn: str, monkeypatch: pytest.MonkeyPatch, done: bool
) -> None:
    answered = asyncio.Event()
    began: list[int] = []
    cancelled: list[int] = []

    async def wait(ctx: Context) -> None:
        if task_row(db, ctx.id)["status"] != "pending" or began:
            return
        began.append(ctx.id)
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.append(ctx.id)

    async def commit(session: LockingSession, commands: Sequence[Command]) -> list[Any]:
        if not began or cancelled:
            return await really_commit(session, commands)
        if done:
            await really_commit(session, commands)
        await session.close()
        raise CommitUnanswered("it went away")

    async def find(*given: Any) -> tuple[set[int], set[int]]:
        await answered.wait()
        return await find_locked_ends(*given)

    really_commit = LockingSession.commit
    monkeypatch.setattr(LockingSession, "commit", commit)
    monkeypatch.setattr(locked_batches, "find_locked_ends", find)
    with database(dsn) as db:
        async with busy(dsn, lease=1.0, mail=wait) as worker:
            task_id = await insert_locked(db, lambda: bool(began))
            await wait_until_async(lambda: cancelled == [task_id], message="its handler was cancelled")
            answered.set()
            row = await ended(db, task_id)
            await wait_until_async(lambda: len(history(db, task_id)) == 2, message="the lost attempt is noted")
            await wait_until_async(lambda: worker.counts.fenced >= 1, message="it is counted as fenced")
        runs = history(db, task_id)
        left = rows(db, "select count(*) as n from pgsched.tasks where status <> 'completed'")
        twice = rows(
            db, "select task_id from pgsched.executions where attempt > 0 group by 1, attempt having count(*) > 1"
        )
    counted = 1 if done else 0
    assert [(run["status"], run["attempt"]) for run in runs] == [("lost", counted), ("completed", counted + 1)]
    assert row["attempts"] == counted + 1
    assert left == [{"n": 0}]
    assert twice == []


async def test_a_late_lease_is_renewed_while_a_handler_blocks_the_loop(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    began: list[int] = []
    renewed: list[bool] = []
    gate = asyncio.Event()

    async def wait(ctx: Context) -> None:
        if not began and task_row(db, ctx.id)["status"] == "pending":
            began.append(ctx.id)
            await gate.wait()

    async def commit(session: LockingSession, commands: Sequence[Command]) -> list[Any]:
        answers = await really_commit(session, commands)
        if began and not renewed:
            first = task_row(db, began[0])["locked_until"]
            if first is None:  # it is another batch that was committed
                return answers
            # As a handler that blocks the loop before the answer is read.
            wait_until(lambda: task_row(db, began[0])["locked_until"] > first, message="its lease is renewed")
            renewed.append(True)
            gate.set()
        return answers

    really_commit = LockingSession.commit
    monkeypatch.setattr(LockingSession, "commit", commit)
    with database(dsn) as db:
        async with busy(dsn, lease=1.0, mail=wait):
            await ended(db, await insert_locked(db, lambda: bool(began)))
            await wait_until_async(lambda: bool(renewed), message="it was leased")


async def test_a_lost_attempt_is_not_noted_when_its_commit_was_done(dsn: str) -> None:
    with database(dsn) as db:
        leased, done, lost = insert_task(db), insert_task(db), insert_task(db)
        db.execute("update pgsched.tasks set fencing_token = 7 where id = %s", (leased,))
        db.execute(
            """
            insert into pgsched.executions (
              task_id, task_type, queue, attempt, fencing_token, status, started_at, finished_at)
            values (%s, 'mail', 'default', 1, 7, 'completed', now(), now())
            """,
            (done,),
        )
        session = Session(dsn=dsn, name="test")
        attempts = [LostAttempt(claimed(id=one, fencing_token=7), 1.0, 2.0) for one in (leased, done, lost)]
        await insert_lost(session, WORKER, attempts, 3.0)
        await session.close()
        noted = rows(db, "select task_id from pgsched.executions where status = 'lost'")
    assert noted == [{"task_id": lost}]


@pytest.mark.slow
@pytest.mark.parametrize("most_bytes", [2**24, 1], ids=["whole batches", "cut for bytes"])
async def test_a_row_whose_lock_was_lost_is_leased_before_it_begins(
    dsn: str, monkeypatch: pytest.MonkeyPatch, most_bytes: int
) -> None:
    monkeypatch.setattr(claims, "MAX_BYTES", most_bytes)
    seen: dict[str, Rows] = {"rollback": [], "commit": []}

    async def look(ctx: Context, end: str) -> None:
        seen[end].append(task_row(other, ctx.id))

    with database(dsn) as db, database(dsn) as other:
        ids = insert_behind(db, 30, payload=Jsonb({"end": "rollback"})) + insert_behind(
            db, 30, payload=Jsonb({"end": "commit"})
        )
        with database(dsn) as session:
            for end in seen:
                session.execute("begin")
                session.execute(
                    "select from pgsched.tasks where payload = %s for no key update", (Jsonb({"end": end}),)
                )
                session.execute(end)  # type: ignore[arg-type]
        async with busy(dsn, mail=look):
            for task_id in ids:
                await ended(db, task_id)
    assert {(row["status"], row["attempts"]) for row in seen["rollback"]} == {("running", 1)}
    assert ("pending", 0) in {(row["status"], row["attempts"]) for row in seen["commit"]}


@pytest.mark.parametrize(("silent", "leased"), [("10 seconds", False), ("20 seconds", True)])
async def test_what_was_due_when_a_silent_worker_may_have_lived_is_leased_before_it_begins(
    dsn: str, silent: str, leased: bool
) -> None:
    """A row that it had locked may bear no mark of that any more: VACUUM wipes it out."""
    seen: list[tuple[str, bool]] = []

    async def look(ctx: Context) -> None:
        row = task_row(other, ctx.id)
        seen.append((row["status"], row["next_run_at"] < before))

    with database(dsn) as db, database(dsn) as other:
        db.execute(
            "insert into pgsched.workers"
            " (id, hostname, pid, queues, task_types, declared_keys, concurrency, lease, heartbeat_at)"
            " values (gen_random_uuid(), 'h', 1, '{}', '{}', '{}', 1, '30 seconds', now() - %s::interval)",
            (silent,),
        )
        (row,) = rows(db, "select now() - interval '4 seconds' as moment")
        before = row["moment"]
        old = insert_behind(db, 30, next_run_at=before - timedelta(seconds=20))
        fresh = insert_behind(db, 30)
        async with busy(dsn, mail=look):
            for task_id in (*old, *fresh):
                await ended(db, task_id)
    assert (("pending", True) not in seen) == leased
    assert ("pending", False) in seen, "what came later is locked"


def test_a_lock_that_was_taken_and_lost_after_the_snapshot_is_known_as_lost(dsn: str) -> None:
    """As when a worker dies at the begin of an attempt while another one's claim goes on."""
    with database(dsn) as db, database(dsn) as holder:
        (task,) = insert_behind(db, 1)
        db.execute("begin isolation level repeatable read")
        rows(db, "select 1")
        for end, lost in (("commit", False), ("rollback", True)):
            holder.execute("begin")
            holder.execute("select from pgsched.tasks where id = %s for no key update", (task,))
            ask = "select pgsched.lock_was_lost(xmax) as lost, xmax <> '0' as locked from pgsched.tasks where id = %s"
            assert rows(db, ask, task) == [{"lost": False, "locked": True}], "it goes on"
            holder.execute(end)  # type: ignore[arg-type]
            assert rows(db, ask, task) == [{"lost": lost, "locked": True}]
        db.execute("commit")


async def test_a_row_that_cannot_be_finished_costs_its_neighbours_nothing(dsn: str) -> None:
    started: list[int] = []

    async def note(ctx: Context) -> None:
        started.append(ctx.id)

    with database(dsn) as db:
        db.execute(
            """
            create function public.refuse() returns trigger language plpgsql as $$
            begin
              if new.status = 'completed' then raise check_violation using message = 'not this one'; end if;
              return new;
            end $$;
            """
        )
        db.execute(
            "create trigger refuse before update on pgsched.tasks for each row when (old.task_name = 'bad')"
            " execute function public.refuse()"
        )
        async with busy(dsn, mail=note):
            with db.transaction():
                good = insert_behind(db, 5)
                bad = insert_task(db, task_name="bad")
                good += [insert_task(db) for _ in range(5)]
            for task_id in good:
                await ended(db, task_id)
            row = await ended(db, bad, "dead")
    assert "not this one" in row["last_error"]
    assert sorted(started) == sorted([*good, bad]), "each has run once"


async def test_a_worker_that_stops_lets_go_of_what_it_has_locked(dsn: str) -> None:
    def block() -> None:
        time.sleep(0.03)

    with database(dsn) as db:
        async with busy(dsn, mail=block):
            insert_behind(db, 100)
            await wait_until_async(
                lambda: rows(db, "select count(*) as n from pgsched.executions where task_type = 'mail'")[0]["n"] > 3,
                message="some have ended",
            )
        left = rows(db, "select status, attempts, locked_by from pgsched.tasks where status <> 'completed'")
        runs = rows(db, "select count(*) as n, count(distinct task_id) as tasks from pgsched.executions")[0]
    assert {(row["status"], row["attempts"], row["locked_by"]) for row in left} <= {("pending", 0, None)}
    assert runs["n"] == runs["tasks"] == 100 + FILLERS - len(left)


@pytest.mark.parametrize("option", [{"max_attempts": 1}, {"schedule_type": "repeating", "repeat_interval": "1 hour"}])
async def test_what_must_not_go_uncounted_is_leased_before_it_begins(dsn: str, option: dict[str, Any]) -> None:
    seen: Rows = []

    async def look(ctx: Context) -> None:
        seen.append(task_row(other, ctx.id))

    with database(dsn) as db, database(dsn) as other:
        async with busy(dsn, mail=look):
            insert_behind(db, **option)
            await wait_until_async(lambda: bool(seen), message="it runs")
    assert (seen[0]["status"], seen[0]["attempts"]) == ("running", 1)
    assert seen[0]["locked_by"] is not None


@pytest.mark.slow
async def test_tasks_that_need_a_lease_are_prefetched_beside_a_type_that_needs_none(dsn: str) -> None:
    held: list[int] = []
    running = "select count(*) as n from pgsched.tasks where status = 'running'"
    ended = itertools.count(1)

    async def slow() -> None:
        await asyncio.sleep(0.01)
        if next(ended) % 20 == 0:  # seldom: a look stops the loop, and fewer rows are prefetched the slower tasks start
            held.extend(row["n"] for row in rows(db, running))

    async def short() -> None:
        pass

    with database(dsn) as db:
        db.execute("insert into pgsched.tasks (task_type) select 'slow' from generate_series(1, 2000)")
        async with running_worker(dsn, handlers(slow=slow, short=short), concurrency=20):
            await wait_until_async(lambda: len(held) == 100, message="all have run")
    assert median(held) > 40, "each slot waited for a claim of its own"
