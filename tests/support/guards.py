"""What the guards of the statements promise, as checks that pass with the guard and fail without it.

The integration tests run each on the statements as they are; the negative controls run the very same check on a copy
from which the guard was cut out, and expect it to fail.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import psycopg

from pgsched.db.worker import completions, durable, leases
from pgsched.domain.attempt import Claimed, Outcome
from pgsched.domain.durable import Record, RunId, Step, Suspension
from pgsched.execution.context import Context
from pgsched.execution.registry import Registry
from pgsched.worker.leased_tasks import LeasedTasks
from tests.support.engine import Engine, engine, expire_leases, history, rows
from tests.support.tables import WORKER, database, insert_task, nobody_waits_for_a_row, task_row
from tests.support.waiting import wait_until_async

Database = psycopg.Connection[dict[str, Any]]


async def a_late_completion_changes_nothing(dsn: str) -> None:
    """A worker whose row was claimed by another writes ``completed``: the fence keeps it out and counts it."""
    await _a_late_finish_changes_nothing(dsn, "completed")


async def a_late_failure_changes_nothing(dsn: str) -> None:
    """A worker whose row was claimed by another writes a retry: the fence keeps it out and counts it."""
    await _a_late_finish_changes_nothing(dsn, "failed")


TAKEN = ("locked_by = gen_random_uuid()", "fencing_token = fencing_token + 1")
"""Ways in which a row is another claim's: of another worker under the same token, as after a failover to a standby that
had not heard of the first claim; and of the same worker under a later token."""


async def _a_late_worker_changes_nothing(
    dsn: str, write: Callable[[Database, Engine, Claimed], Awaitable[None]]
) -> None:
    """A worker whose row was claimed again, in earnest or in one of the ways of TAKEN, writes: the row is as before."""
    for taken in (None, *TAKEN):
        with database(dsn) as db:
            task_id = insert_task(db)
            async with engine(dsn) as late, engine(dsn) as owner:
                (task,) = await late.claim()
                if taken is None:
                    expire_leases(db)
                    (again,) = await owner.claim()
                    assert again.fencing_token == task.fencing_token + 1
                else:
                    db.execute(f"update pgsched.tasks set {taken}")
                before = task_row(db, task_id)
                await write(db, late, task)
                assert task_row(db, task_id) == before
                assert [row["status"] for row in history(db, task_id)] == (["lost"] if taken is None else [])
            db.execute("delete from pgsched.tasks")


async def _a_late_finish_changes_nothing(dsn: str, status: str) -> None:
    async def finish(_db: Database, late: Engine, task: Claimed) -> None:
        leased = late.leased_tasks.get(task.id)
        assert leased is not None
        late.completer.conclude(leased, Outcome(status, 0.0, 0.0))
        await late.completer.run_once()
        assert late.counts.fenced == 1

    await _a_late_worker_changes_nothing(dsn, finish)


async def a_leased_row_is_not_claimed(dsn: str) -> None:
    """A row that a living worker holds is not given to another."""
    with database(dsn) as db:
        insert_task(db)
    async with engine(dsn) as first, engine(dsn) as second:
        assert len(await first.claim()) == 1
        assert await second.claim() == []


async def a_claim_does_not_wait_for_locked_rows(dsn: str) -> None:
    """A claim beside a transaction that holds a row takes the others at once."""
    with database(dsn) as db, database(dsn) as other:
        locked, free = insert_task(db), insert_task(db)
        with other.transaction():
            other.execute("select from pgsched.tasks where id = %s for update", (locked,))
            async with engine(dsn) as claimer:
                with nobody_waits_for_a_row(dsn):
                    claimed = [task.id for task in await claimer.claim()]
        assert claimed == [free]


async def a_late_release_changes_nothing(dsn: str) -> None:
    """A worker that gives a row back after another claimed it takes nothing from that one."""

    async def release(_db: Database, late: Engine, task: Claimed) -> None:
        assert await leases.release(late.worker.upkeep_session, late.worker.identity.id, [task]) == 0

    await _a_late_worker_changes_nothing(dsn, release)


async def a_late_heartbeat_renews_nothing(dsn: str) -> None:
    """A worker that comes back after its lease was taken learns that it lost it, and does not prolong the other's."""

    async def beat(_db: Database, late: Engine, task: Claimed) -> None:
        age(late.leased_tasks)
        lost: list[int] = []
        late.worker.heartbeat.on_lost = lambda leased_tasks: lost.extend(leased.task.id for leased in leased_tasks)
        late.worker.heartbeat.run_once()
        assert lost == [task.id]

    await _a_late_worker_changes_nothing(dsn, beat)


async def a_known_key_is_refused(dsn: str) -> None:
    """Two plain inserts with one idempotency key make one row."""
    with database(dsn) as db:
        insert_task(db, idempotency_key="k")
        with suppress(psycopg.errors.UniqueViolation):
            insert_task(db, idempotency_key="k")
        assert rows(db, "select count(*) as n from pgsched.tasks") == [{"n": 1}]


async def progress_of_a_late_worker_is_not_shown(dsn: str) -> None:
    """A worker whose row was claimed by another shows no progress any more."""

    async def show(db: Database, late: Engine, task: Claimed) -> None:
        shown = completions.Progress(task.id, task.fencing_token, "0.5")
        await completions.report(late.worker.upkeep_session, late.worker.identity.id, [shown], [], 0.0)
        assert task_row(db, task.id)["progress"] is None

    await _a_late_worker_changes_nothing(dsn, show)


BEGAN = datetime(2030, 1, 1, tzinfo=UTC)


def _record(task: Claimed, name: str, kind: str, status: str) -> Record:
    run = RunId(task.id, task.fencing_token, 1, BEGAN, None)
    return Record(run, Step(name, "", kind, status, started_at=BEGAN), BEGAN if status == "completed" else None)


def _suspended(task: Claimed) -> Outcome:
    """The outcome of a run that waits for an event."""
    suspension = Suspension(("event:go",), None, (_record(task, "go", "event", "waiting"),))
    return Outcome("suspended", 0.0, 0.0, suspension=suspension, durable_tick=1)


async def a_late_record_writes_nothing(dsn: str) -> None:
    """A worker whose row was claimed by another records no step of its durable run any more."""

    async def record(db: Database, late: Engine, task: Claimed) -> None:
        step = _record(task, "pay", "step", "completed")
        written = await durable.write_records(late.worker.upkeep_session, late.worker.identity.id, [step])
        assert (written, rows(db, "select * from pgsched.durable_steps")) == (set(), [])

    await _a_late_worker_changes_nothing(dsn, record)


async def a_late_suspension_changes_nothing(dsn: str) -> None:
    """A worker whose row was claimed by another suspends its durable run: the fence keeps it out."""

    async def suspend(_db: Database, late: Engine, task: Claimed) -> None:
        leased = late.leased_tasks.get(task.id)
        assert leased is not None
        late.completer.conclude(leased, _suspended(task))
        await late.completer.run_once()

    await _a_late_worker_changes_nothing(dsn, suspend)


async def an_event_that_is_sent_during_the_suspension_wakes_the_run(dsn: str) -> None:
    """The sender is at its commit, and has seen the run running, when the run is suspended: it is due again at once."""
    with database(dsn) as db, database(dsn) as sender:
        task_id = insert_task(db)
        async with engine(dsn) as worker:
            (task,) = await worker.claim()
            leased = worker.leased_tasks.get(task_id)
            assert leased is not None
            with sender.transaction():
                sender.execute("select pgsched.emit(%s::bigint, 'go')", (task_id,))
                sender.execute("set constraints all immediate")  # what comes at a commit: the row is locked
                worker.completer.conclude(leased, _suspended(task))
                writing = asyncio.create_task(worker.completer.run_once())
                await wait_until_async(
                    lambda: rows(
                        db,
                        "select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()",
                    ),
                    message="the suspension waits for the sender",
                )
            await writing
            assert task_row(db, task_id)["status"] == "pending"


async def a_late_transaction_writes_nothing(dsn: str) -> None:
    """A transactional handler whose row was claimed and completed by another commits nothing of what it wrote."""
    go_on = asyncio.Event()

    async def pay(ctx: Context) -> None:
        await ctx.connection.execute("insert into ledger values (%s, 'paid')", (ctx.id,))
        if ctx.attempt == 1:
            await go_on.wait()

    await _a_late_transaction_writes_nothing(dsn, pay, go_on.set)


async def a_late_transaction_of_a_plain_handler_writes_nothing(dsn: str) -> None:
    """The same with a handler in a thread."""
    go_on = threading.Event()

    def pay(ctx: Context) -> None:
        ctx.connection.execute("insert into ledger values (%s, 'paid')", (ctx.id,))
        if ctx.attempt == 1:
            go_on.wait(10)

    await _a_late_transaction_writes_nothing(dsn, pay, go_on.set)


async def _a_late_transaction_writes_nothing(
    dsn: str, handler: Callable[..., Any], let_go_on: Callable[[], None]
) -> None:
    with database(dsn) as db:
        make_ledger(db)
        task_id = insert_task(db)
        async with engine(dsn, transactional(handler)) as late, engine(dsn, transactional(handler)) as owner:
            await late.claim()
            await late.started()
            expire_leases(db)
            (task,) = await owner.claim()
            assert task.attempts == 2
            let_go_on()
            await wait_until_async(lambda: not len(late.leased_tasks), message="the late worker is done")
            await owner.run(until=lambda: not len(owner.leased_tasks) and not owner.worker.executor.running)
            assert ledger(db) == ["paid"], "paid once"
            assert (late.counts.fenced, owner.counts.fenced) == (1, 0)
            assert task_row(db, task_id)["status"] == "completed"
            assert [run["status"] for run in history(db, task_id)] == ["lost", "completed"]


def transactional(handler: Callable[..., Any] | None = None, **more: Callable[..., Any]) -> Registry:
    """A registry of transactional handlers: of ``mail``, or by name."""
    registry = Registry()
    for task_type, function in ({"mail": handler} if handler else more).items():
        registry.register(task_type, function, transactional=True)
    return registry


def make_ledger(db: Database) -> None:
    """The table that transactional handlers write to."""
    db.execute("create table ledger (task_id bigint, note text)")


def ledger(db: Database) -> list[str]:
    """What they wrote."""
    return [row["note"] for row in rows(db, "select note from ledger order by note")]


async def a_limit_of_concurrency_holds_over_all_workers(dsn: str) -> None:
    """Three workers claim from a queue with room for three: three rows, whoever gets them."""
    with database(dsn) as db:
        db.execute("select pgsched.limit_queue('default', concurrency => 3)")
        for _ in range(12):
            insert_task(db)
    async with engine(dsn) as one, engine(dsn) as two, engine(dsn) as three:
        found = [len(await worker.claim(2)) for worker in (one, two, three)]
    assert found == [2, 1, 0], found


async def a_limit_of_a_key_holds_over_all_workers(dsn: str) -> None:
    """Three workers claim rows of one key that has room for three."""
    with database(dsn) as db:
        db.execute("select pgsched.limit_queue('default', concurrency_per_key => 3)")
        for _ in range(12):
            insert_task(db, concurrency_key="k")
    async with engine(dsn) as one, engine(dsn) as two, engine(dsn) as three:
        found = [len(await worker.claim(2)) for worker in (one, two, three)]
    assert found == [2, 1, 0], found


async def a_rate_holds_over_all_workers(dsn: str) -> None:
    """Three workers claim from a queue of which three rows may start in an hour."""
    with database(dsn) as db:
        db.execute("select pgsched.limit_queue('default', rate => 3, per => '1 hour')")
        for _ in range(12):
            insert_task(db)
    async with engine(dsn) as one, engine(dsn) as two, engine(dsn) as three:
        found = [len(await worker.claim(2)) for worker in (one, two, three)]
    assert found == [2, 1, 0], found


async def claims_of_a_limited_queue_come_one_after_the_other(dsn: str) -> None:
    """A claim that is not committed yet is not known to another: that one must not count without it."""
    with database(dsn) as db, database(dsn) as slow:
        db.execute("select pgsched.limit_queue('default', concurrency => 3)")
        for _ in range(12):
            insert_task(db)
        claim = (
            "select count(task) as n"
            " from pgsched.claim_limited('{default}', '{2}', 2, 1e6::bigint, %s, 30, '{mail}', '{}', false)"
        )
        with slow.transaction():
            assert rows(slow, claim, WORKER) == [{"n": 2}]
            assert rows(db, claim, WORKER) == [{"n": 0}]
        assert rows(db, claim, WORKER) == [{"n": 1}]


async def the_common_claim_passes_a_limited_queue_by(dsn: str) -> None:
    """A worker that has not heard of a limit claims from the queue as from any other, and gets nothing."""
    with database(dsn) as db:
        insert_task(db)
        async with engine(dsn) as one:
            assert len(await one.claim()) == 1
            db.execute("select pgsched.limit_queue('default', concurrency => 1)")
            insert_task(db)
            assert await one.claim() == []


def age(leased_tasks: LeasedTasks, seconds: float = 15.0) -> None:
    """Let every lease in hand look half spent, so that the next heartbeat renews it."""
    for leased in leased_tasks.snapshot():
        leased.leased_until -= seconds


def only_the_owner_renews_a_lock(dsn: str) -> None:
    """Who does not have a lock cannot keep it."""
    with database(dsn) as db:
        db.execute("select pgsched.lock('x', gen_random_uuid())")
        assert _answer(db, "select pgsched.renew_lock('x', gen_random_uuid())") is False


def only_the_owner_gives_a_lock_back(dsn: str) -> None:
    """Who does not have a lock cannot give it back."""
    with database(dsn) as db:
        db.execute("select pgsched.lock('x', gen_random_uuid())")
        assert _answer(db, "select pgsched.unlock('x', gen_random_uuid())") is False
        assert _answer(db, "select count(*) from pgsched.locks") == 1


def a_lock_that_is_over_is_not_renewed(dsn: str) -> None:
    """A holder that was asleep for too long has to learn it: somebody may have had the lock meanwhile."""
    with database(dsn) as db:
        owner = _answer(db, "select gen_random_uuid()")
        db.execute("select pgsched.lock('x', %s)", (owner,))
        db.execute("update pgsched.locks set locked_until = clock_timestamp()")
        assert _answer(db, f"select pgsched.renew_lock('x', '{owner}')") is False


def a_lock_is_not_taken_from_its_holder(dsn: str) -> None:
    """While one has a lock, another does not get it."""
    with database(dsn) as db:
        token = _answer(db, "select pgsched.lock('x', gen_random_uuid())")
        assert _answer(db, "select pgsched.lock('x', gen_random_uuid())") is None
        assert _answer(db, "select fencing_token from pgsched.locks") == token


def _answer(db: psycopg.Connection[dict[str, Any]], statement: str) -> Any:
    (row,) = rows(db, statement)
    return next(iter(row.values()))
