"""Handlers whose own writes are committed together with the outcome, or not at all."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from pgsched import AsyncClient, Client, TaskSpec
from pgsched.db.connection import AsyncDbConnection
from pgsched.db.handler_connection import ABORTED, ENDED, OVER, UNFINISHED
from pgsched.domain.errors import Discard, NotTransactional
from pgsched.execution.context import Context
from tests.support import guards
from tests.support.engine import engine, expire_leases, handlers, history, rows, running_worker
from tests.support.guards import Database, ledger, make_ledger, transactional
from tests.support.tables import database, insert_task, refuse_updates, task_row
from tests.support.waiting import wait_until_async


@pytest.fixture
def db(dsn: str) -> Iterator[Database]:
    with database(dsn) as connection:
        make_ledger(connection)
        yield connection


async def write(ctx: Context, note: str = "written") -> str:
    await ctx.connection.execute("insert into ledger values (%s, %s)", (ctx.id, note))
    return note


def write_plainly(ctx: Context, note: str = "written") -> str:
    ctx.connection.execute("insert into ledger values (%s, %s)", (ctx.id, note))
    return note


both = pytest.mark.parametrize("handler", [write, write_plainly])


# Together, or not at all.


@both
async def test_writes_and_outcome_are_committed_together(dsn: str, handler: Callable[..., Any]) -> None:
    with database(dsn) as db:
        make_ledger(db)
        task_id = insert_task(db)
        async with engine(dsn, transactional(handler)) as one:
            await one.work()
            assert (len(one.leased_tasks), one.counts.fenced) == (0, 0)
        row, (run,) = task_row(db, task_id), history(db, task_id)
        (written,) = rows(db, "select xmin::text, note from ledger")
        assert written["note"] == "written"
        assert (row["status"], row["result"], run["status"], run["attempt"]) == ("completed", "written", "completed", 1)
        (together,) = rows(db, "select t.xmin::text = %s as it from pgsched.tasks t", written["xmin"])
        assert together["it"], "one transaction wrote both"


@both
async def test_a_handler_that_raises_has_written_nothing(dsn: str, db: Database, handler: Callable[..., Any]) -> None:
    async def fails(ctx: Context) -> None:
        await write(ctx)
        raise ValueError("no luck")

    def fails_plainly(ctx: Context) -> None:
        write_plainly(ctx)
        raise ValueError("no luck")

    task_id = insert_task(db)
    async with engine(dsn, transactional(fails if handler is write else fails_plainly)) as one:
        await one.work()
    row, (run,) = task_row(db, task_id), history(db, task_id)
    assert ledger(db) == []
    assert (row["status"], row["attempts"], run["status"]) == ("pending", 1, "failed")
    assert row["last_error"].startswith("ValueError: no luck")


async def test_a_discarded_task_is_dead_and_has_written_nothing(dsn: str, db: Database) -> None:
    async def gives_up(ctx: Context) -> None:
        await write(ctx)
        raise Discard("not again")

    task_id = insert_task(db)
    async with engine(dsn, transactional(gives_up)) as one:
        await one.work()
    assert ledger(db) == []
    assert task_row(db, task_id)["status"] == "dead"


async def test_a_result_that_is_no_json_is_text_and_all_is_written(dsn: str, db: Database) -> None:
    async def odd(ctx: Context) -> object:
        await write(ctx)
        return object()

    task_id = insert_task(db)
    async with engine(dsn, transactional(odd)) as one:
        await one.work()
    row = task_row(db, task_id)
    assert (row["status"], row["result"][:15]) == ("completed", "<object object ")
    assert ledger(db) == ["written"]


async def test_a_result_that_the_database_refuses_leaves_nothing_written_and_is_dead(dsn: str, db: Database) -> None:
    db.execute("alter table pgsched.executions add constraint no_odd check (result is distinct from '\"odd\"')")

    async def odd(ctx: Context) -> str:
        await write(ctx)
        return "odd"

    task_id = insert_task(db)
    async with engine(dsn, transactional(odd)) as one:
        await one.work()
    row = task_row(db, task_id)
    assert ledger(db) == []
    assert row["status"] == "dead"
    assert row["last_error"].startswith("the outcome cannot be stored: ")


async def test_a_handler_that_overstays_its_timeout_has_written_nothing(dsn: str, db: Database) -> None:
    async def endless(ctx: Context) -> None:
        await write(ctx)
        await ctx.connection.execute("select pg_sleep(60)")

    def endless_plainly(ctx: Context) -> None:
        write_plainly(ctx)
        ctx.connection.execute("select pg_sleep(60)")

    ids = [insert_task(db, kind, timeout="50 milliseconds") for kind in ("on_loop", "plain")]
    async with engine(dsn, transactional(on_loop=endless, plain=endless_plainly)) as one:
        await one.work()
        await wait_until_async(lambda: one.worker.executor.running == 0, message="the statement was cancelled")
    assert ledger(db) == []
    assert [task_row(db, task_id)["last_error"] for task_id in ids] == ["timed out after 0.05 s"] * 2
    assert [run["status"] for task_id in ids for run in history(db, task_id)] == ["timed_out", "timed_out"]


async def test_a_plain_handler_that_goes_on_after_its_timeout_can_write_no_more(dsn: str, db: Database) -> None:
    raised: list[BaseException] = []

    def late(ctx: Context) -> None:
        while not ctx.cancelled:
            threading.Event().wait(0.001)
        try:
            write_plainly(ctx)
        except psycopg.Error as error:
            raised.append(error)

    insert_task(db, timeout="20 milliseconds")
    async with engine(dsn, transactional(late)) as one:
        await one.work()
        await wait_until_async(lambda: one.worker.executor.running == 0)
    assert ledger(db) == []
    assert [str(error) for error in raised] == [OVER]


async def test_a_task_that_is_cancelled_while_it_runs_has_written_nothing(dsn: str, db: Database) -> None:
    begun = asyncio.Event()

    async def endless(ctx: Context) -> None:
        await write(ctx)
        begun.set()
        await asyncio.Event().wait()

    async with running_worker(dsn, transactional(endless)):
        task_id = insert_task(db)
        await asyncio.wait_for(begun.wait(), 10)
        db.execute("select pgsched.cancel(%s)", (task_id,))
        await wait_until_async(lambda: not open_transactions(db), message="it was rolled back")
    assert ledger(db) == []
    assert [run["status"] for run in history(db, task_id)] == ["cancelled"]


async def test_a_worker_that_stops_gives_back_a_handler_that_goes_on_and_nothing_is_written(
    dsn: str, db: Database
) -> None:
    begun = asyncio.Event()

    async def endless(ctx: Context) -> None:
        await write(ctx)
        begun.set()
        await asyncio.Event().wait()

    task_id = insert_task(db)
    async with running_worker(dsn, transactional(endless), shutdown_timeout=0):
        await asyncio.wait_for(begun.wait(), 10)
    row = task_row(db, task_id)
    assert (row["status"], row["attempts"], row["locked_by"]) == ("pending", 0, None)
    assert ledger(db) == []


async def test_a_plain_handler_that_outlives_its_worker_writes_no_more(dsn: str, db: Database) -> None:
    begun, go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()
    raised: list[str] = []

    def stubborn(ctx: Context) -> None:
        write_plainly(ctx)
        loop.call_soon_threadsafe(begun.set)
        go_on.wait(10)
        try:
            write_plainly(ctx)
        except psycopg.Error as error:
            raised.append(str(error))

    task_id = insert_task(db)
    async with running_worker(dsn, transactional(stubborn), shutdown_timeout=0):
        await asyncio.wait_for(begun.wait(), 10)
    row = task_row(db, task_id)
    assert (row["status"], row["attempts"]) == ("pending", 0)
    go_on.set()
    await wait_until_async(lambda: not sessions(db), message="its connection is gone")
    assert raised == [OVER]
    assert ledger(db) == []


# The fence.


def test_a_worker_that_lost_the_task_writes_nothing(dsn: str) -> None:
    asyncio.run(guards.a_late_transaction_writes_nothing(dsn))


def test_a_worker_that_lost_the_task_of_a_plain_handler_writes_nothing(dsn: str) -> None:
    asyncio.run(guards.a_late_transaction_of_a_plain_handler_writes_nothing(dsn))


async def test_the_heartbeat_renews_the_lease_while_the_handler_runs(dsn: str, db: Database) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(ctx: Context) -> None:
        await write(ctx)
        begun.set()
        await go_on.wait()

    task_id = insert_task(db)
    async with engine(dsn, transactional(slow)) as one:
        await one.claim()
        one.worker.executor.feed()
        await asyncio.wait_for(begun.wait(), 10)
        before = task_row(db, task_id)["locked_until"]
        guards.age(one.leased_tasks)
        await asyncio.wait_for(asyncio.to_thread(one.worker.heartbeat.run_once), 10)
        assert task_row(db, task_id)["locked_until"] > before
        go_on.set()
        await wait_until_async(lambda: not len(one.leased_tasks))
    assert ledger(db) == ["written"]
    assert task_row(db, task_id)["status"] == "completed"


@both
async def test_a_task_whose_row_is_locked_gives_back_its_own_locks_and_costs_no_attempt(
    dsn: str, db: Database, handler: Callable[..., Any]
) -> None:
    """Others may wait for what the handler has locked; without the limit they would until the row is free."""
    began, go_on = threading.Event(), threading.Event()

    async def adds(ctx: Context) -> None:
        await ctx.connection.execute("update ledger set note = 'added' where task_id = 0")
        began.set()
        await asyncio.to_thread(go_on.wait, 30)

    def adds_plainly(ctx: Context) -> None:
        ctx.connection.execute("update ledger set note = 'added' where task_id = 0")
        began.set()
        go_on.wait(30)

    db.execute("insert into ledger values (0, 'before')")
    task_id = insert_task(db, max_attempts=1)
    async with running_worker(dsn, transactional(adds if handler is write else adds_plainly)):
        assert await asyncio.to_thread(began.wait, 30)
        with database(dsn) as other, other.transaction():
            other.execute("select from pgsched.tasks where id = %s for update", (task_id,))
            go_on.set()
            await asyncio.to_thread(db.execute, "select from ledger where task_id = 0 for update")
            assert ledger(db) == ["before"]
        await wait_until_async(lambda: task_row(db, task_id)["status"] == "completed", timeout=60)
    row, runs = task_row(db, task_id), history(db, task_id)
    assert (row["attempts"], [(run["status"], run["attempt"]) for run in runs]) == (
        1,
        [("cancelled", 0), ("completed", 1)],
    )
    assert "another session held a lock" in runs[0]["error"]
    assert ledger(db) == ["added"]


# Whose transaction it is.


@pytest.mark.parametrize("what", ["commit", "rollback", "close", "set_autocommit"])
async def test_a_handler_cannot_end_its_transaction_by_a_method(dsn: str, db: Database, what: str) -> None:
    async def tries(ctx: Context) -> str:
        await write(ctx)
        with pytest.raises(psycopg.ProgrammingError, match=r"is refused on ctx\.connection"):
            await getattr(ctx.connection, what)(*([True] if what == "set_autocommit" else []))
        return "refused"

    def tries_plainly(ctx: Context) -> str:
        write_plainly(ctx)
        with pytest.raises(psycopg.ProgrammingError, match=r"is refused on ctx\.connection"):
            getattr(ctx.connection, what)(*([True] if what == "set_autocommit" else []))
        with pytest.raises(psycopg.ProgrammingError, match=r"^autocommit is refused on ctx\.connection"):
            ctx.connection.autocommit = True
        return "refused"

    ids = [insert_task(db, kind) for kind in ("on_loop", "plain")]
    async with engine(dsn, transactional(on_loop=tries, plain=tries_plainly)) as one:
        await one.work()
    assert [task_row(db, task_id)["result"] for task_id in ids] == ["refused"] * 2
    assert ledger(db) == ["written"] * 2


async def test_a_connection_is_no_block_of_its_own(dsn: str, db: Database) -> None:
    async def tries(ctx: Context) -> None:
        with pytest.raises(psycopg.ProgrammingError, match=r"async with ctx\.connection is refused"):
            async with ctx.connection:
                pass

    def tries_plainly(ctx: Context) -> None:
        with pytest.raises(psycopg.ProgrammingError, match=r"with ctx\.connection is refused"), ctx.connection:
            pass

    ids = [insert_task(db, kind) for kind in ("on_loop", "plain")]
    async with engine(dsn, transactional(on_loop=tries, plain=tries_plainly)) as one:
        await one.work()
    assert [task_row(db, task_id)["status"] for task_id in ids] == ["completed"] * 2


@pytest.mark.parametrize("statement", ["commit", "rollback", "end", "commit; select 1"])
async def test_a_statement_that_ends_the_transaction_is_a_failed_attempt(
    dsn: str, db: Database, statement: str
) -> None:
    async def ends(ctx: Context) -> None:
        await ctx.connection.execute(statement)
        await write(ctx, "after it")

    def ends_plainly(ctx: Context) -> None:
        ctx.connection.execute(statement)
        write_plainly(ctx, "after it")

    ids = [insert_task(db, kind) for kind in ("on_loop", "plain")]
    async with engine(dsn, transactional(on_loop=ends, plain=ends_plainly)) as one:
        await one.work()
    assert ledger(db) == []
    for task_id in ids:
        row = task_row(db, task_id)
        assert row["status"] == "pending"
        assert ENDED in row["last_error"].splitlines()[0]


@pytest.mark.parametrize("statement", ["commit", "commit and chain", "rollback and chain", "commit; begin"])
async def test_a_transaction_that_was_ended_and_hidden_is_a_failed_attempt(
    dsn: str, db: Database, statement: str
) -> None:
    async def ends(ctx: Context) -> None:
        with contextlib.suppress(psycopg.Error):
            await ctx.connection.execute(statement)
            await write(ctx, "after it")

    task_id = insert_task(db)
    async with engine(dsn, transactional(ends)) as one:
        await one.work()
    row = task_row(db, task_id)
    assert ledger(db) == []
    assert (row["status"], row["last_error"]) == ("pending", ENDED)


async def test_savepoints_are_the_handlers_own(dsn: str, db: Database) -> None:
    async def tries(ctx: Context) -> None:
        await write(ctx, "kept")
        with contextlib.suppress(psycopg.errors.DivisionByZero):
            async with ctx.connection.transaction():
                await write(ctx, "undone")
                await ctx.connection.execute("select 1 / 0")
        async with ctx.connection.transaction(force_rollback=True):
            await write(ctx, "undone too")
        async with ctx.connection.transaction():
            await write(ctx, "kept too")

    task_id = insert_task(db)
    async with engine(dsn, transactional(tries)) as one:
        await one.work()
    assert ledger(db) == ["kept", "kept too"]
    assert task_row(db, task_id)["status"] == "completed"


async def test_an_sql_error_that_the_handler_caught_is_a_failed_attempt(dsn: str, db: Database) -> None:
    async def catches(ctx: Context) -> None:
        await write(ctx)
        with contextlib.suppress(psycopg.errors.DivisionByZero):
            await ctx.connection.execute("select 1 / 0")

    task_id = insert_task(db)
    async with engine(dsn, transactional(catches)) as one:
        await one.work()
    assert ledger(db) == []
    assert task_row(db, task_id)["last_error"] == ABORTED


async def test_a_statement_that_still_runs_when_the_handler_returns_is_a_failed_attempt(dsn: str, db: Database) -> None:
    left: list[asyncio.Task[Any]] = []

    async def leaves(ctx: Context) -> None:
        left.append(asyncio.create_task(ctx.connection.execute("select pg_sleep(0.2)")))
        await wait_until_async(ctx.connection.lock.locked)

    task_id = insert_task(db)
    async with engine(dsn, transactional(leaves)) as one:
        await one.work()
        await asyncio.gather(*left, return_exceptions=True)
        await wait_until_async(lambda: not sessions(db), message="the connection is gone")
    assert task_row(db, task_id)["last_error"] == UNFINISHED


async def test_a_connection_that_the_handler_kept_is_dead_when_its_attempt_is_over(dsn: str, db: Database) -> None:
    kept: list[Any] = []

    async def keeps(ctx: Context) -> None:
        kept.extend([ctx.connection, ctx.connection.cursor()])

    insert_task(db)
    async with engine(dsn, transactional(keeps)) as one:
        await one.work()
        for thing in kept:
            with pytest.raises(psycopg.ProgrammingError, match=OVER):
                await thing.execute("insert into ledger values (0, 'late')")
    assert ledger(db) == []


async def test_a_handler_that_is_not_transactional_has_no_connection(dsn: str, db: Database) -> None:
    async def asks(ctx: Context) -> str:
        with pytest.raises(NotTransactional, match="handler 'mail' is not transactional"):
            ctx.connection  # noqa: B018
        return "refused"

    task_id = insert_task(db)
    async with engine(dsn, handlers(mail=asks)) as one:
        await one.work()
        assert sessions(db) == []
    assert task_row(db, task_id)["result"] == "refused"


# What else is in the transaction.


async def test_tasks_that_are_scheduled_on_the_connection_come_with_the_commit(dsn: str, db: Database) -> None:
    async with AsyncClient(dsn) as client:
        with Client(dsn) as plain_client:

            async def schedules(ctx: Context, fails: bool) -> None:
                await client.schedule("next", {"of": ctx.id}, connection=ctx.connection)
                more = [
                    TaskSpec(task_type="next", payload={"of": -ctx.id}),
                    TaskSpec(task_type="next", payload={"of": 0}),
                ]
                await client.schedule_many(more, connection=ctx.connection)
                if fails:
                    raise ValueError("no luck")

            def schedules_plainly(ctx: Context, fails: bool) -> None:
                plain_client.schedule("next", {"of": ctx.id}, connection=ctx.connection)
                if fails:
                    raise ValueError("no luck")

            ids = [
                insert_task(db, kind, payload=psycopg.types.json.Jsonb({"fails": fails}))
                for kind in ("on_loop", "plain")
                for fails in (False, True)
            ]
            async with engine(dsn, transactional(on_loop=schedules, plain=schedules_plainly)) as one:
                await one.work()
    made = rows(db, "select (payload ->> 'of')::int as of from pgsched.tasks where task_type = 'next' order by 1")
    assert [row["of"] for row in made] == [-ids[0], 0, ids[0], ids[2]]


async def test_log_lines_and_progress_are_kept_also_of_what_was_rolled_back(dsn: str, db: Database) -> None:
    async def tells(ctx: Context) -> None:
        ctx.log("tried")
        ctx.progress(ctx.attempt)
        if ctx.attempt == 1:
            raise ValueError("no luck")

    task_id = insert_task(db, backoff_delay="0 seconds")
    async with engine(dsn, transactional(tells)) as one:
        await one.work()
        assert task_row(db, task_id)["progress"] == 1
        await one.work()
    assert task_row(db, task_id)["progress"] == 2
    lines = rows(db, "select attempt, message from pgsched.execution_logs where task_id = %s order by 1", task_id)
    assert [tuple(line.values()) for line in lines] == [(1, "tried"), (2, "tried")]


async def test_a_schedule_books_its_next_tick_in_the_transaction(dsn: str, db: Database) -> None:
    task_id = insert_task(db, repeat_interval="1 hour")
    async with engine(dsn, transactional(write)) as one:
        await one.work()
        await one.work()
    row = task_row(db, task_id)
    assert ledger(db) == ["written"]
    assert (row["status"], row["execution_count"]) == ("pending", 1)
    assert row["next_run_at"] - row["last_run_at"] > timedelta(minutes=50)


async def test_times_are_those_of_the_handler_not_of_the_transaction(dsn: str, db: Database) -> None:
    async def slow(ctx: Context) -> None:
        ctx.log("begun")
        await asyncio.sleep(0.3)
        ctx.log("ended")

    task_id = insert_task(db)
    async with engine(dsn, transactional(slow)) as one:
        (before,) = rows(db, "select clock_timestamp() as now")
        await one.work()
    row, (run,) = task_row(db, task_id), history(db, task_id)
    assert run["started_at"] >= before["now"]
    begun, ended = rows(db, "select logged_at from pgsched.execution_logs order by logged_at")
    assert timedelta(seconds=0.25) < run["finished_at"] - run["started_at"] < timedelta(seconds=60)
    assert abs(begun["logged_at"] - run["started_at"]) < timedelta(seconds=30)
    assert ended["logged_at"] - begun["logged_at"] > timedelta(seconds=0.25)
    assert row["completed_at"] >= run["started_at"] + timedelta(seconds=0.25)


# Trouble in the database.


async def test_a_serialization_failure_is_an_ordinary_failed_attempt(dsn: str, db: Database) -> None:
    async def unlucky(ctx: Context) -> None:
        await write(ctx)
        if ctx.attempt == 1:
            await ctx.connection.execute("do $$ begin raise sqlstate '40001'; end $$")

    task_id = insert_task(db, backoff_delay="0 seconds")
    async with engine(dsn, transactional(unlucky)) as one:
        await one.work()
        assert ledger(db) == []
        await one.work()
    assert ledger(db) == ["written"]
    assert [run["status"] for run in history(db, task_id)] == ["failed", "completed"]


@both
async def test_a_commit_that_is_refused_is_a_failed_attempt(
    dsn: str, db: Database, handler: Callable[..., Any]
) -> None:
    db.execute("alter table ledger add constraint once unique (note) deferrable initially deferred")
    db.execute("insert into ledger values (0, 'written')")
    task_id = insert_task(db)
    async with engine(dsn, transactional(handler)) as one:
        await one.work()
    row = task_row(db, task_id)
    assert ledger(db) == ["written"]
    assert row["status"] == "pending"
    assert row["last_error"].startswith("the commit was refused: duplicate key value")


@pytest.mark.parametrize("done", [True, False], ids=["that was done", "that was not done"])
async def test_after_a_commit_without_an_answer_nothing_more_is_written(
    dsn: str, db: Database, monkeypatch: pytest.MonkeyPatch, done: bool
) -> None:
    commit = psycopg.AsyncConnection.commit

    async def lost(connection: psycopg.AsyncConnection[Any]) -> None:
        if done:
            await commit(connection)
        connection.pgconn.finish()
        raise psycopg.OperationalError("server closed the connection unexpectedly")

    task_id = insert_task(db)
    async with engine(dsn, transactional(write)) as one:
        monkeypatch.setattr(psycopg.AsyncConnection, "commit", lost)
        await one.claim()
        one.worker.executor.feed()
        await wait_until_async(lambda: not len(one.leased_tasks), message="the row is let go of")
        monkeypatch.undo()
        assert len(one.completer) == 0
        assert one.counts.database_errors == 1
        await wait_until_async(lambda: not open_transactions(db), message="the server knows")
        assert task_row(db, task_id)["status"] == ("completed" if done else "running")
        expire_leases(db)
        assert len(await one.work()) == (0 if done else 1)
    assert ledger(db) == ["written"]
    assert task_row(db, task_id)["status"] == "completed"
    assert [run["status"] for run in history(db, task_id)] == (["completed"] if done else ["lost", "completed"])


async def test_a_server_that_dies_in_the_commit_leaves_the_task_to_its_lease(dsn: str, db: Database) -> None:
    db.execute(
        """
        create function die() returns trigger language plpgsql as $$
        begin
          perform pg_terminate_backend(pg_backend_pid());
          return null;
        end $$"""
    )
    db.execute(
        "create constraint trigger die after insert on ledger deferrable initially deferred "
        "for each row execute function die()"
    )
    task_id = insert_task(db)
    async with engine(dsn, transactional(write)) as one:
        await one.claim()
        one.worker.executor.feed()
        await wait_until_async(lambda: not len(one.leased_tasks), message="the row is let go of")
        assert len(one.completer) == 0
        assert (task_row(db, task_id)["status"], ledger(db)) == ("running", [])
        db.execute("drop trigger die on ledger")
        expire_leases(db)
        await one.work()
    assert ledger(db) == ["written"]


@both
async def test_a_connection_that_dies_while_the_handler_runs_is_a_failed_attempt(
    dsn: str, db: Database, handler: Callable[..., Any]
) -> None:
    async def cut_off(ctx: Context) -> None:
        await write(ctx)
        if ctx.attempt == 1:
            end_sessions(db)

    def cut_off_plainly(ctx: Context) -> None:
        write_plainly(ctx)
        if ctx.attempt == 1:
            end_sessions(db)

    task_id = insert_task(db, backoff_delay="0 seconds")
    async with engine(dsn, transactional(cut_off if handler is write else cut_off_plainly)) as one:
        await one.work()
        assert task_row(db, task_id)["status"] == "pending"
        assert ledger(db) == []
        await one.work()
    assert ledger(db) == ["written"]


async def test_idle_connections_that_died_cost_no_attempt(dsn: str, db: Database) -> None:
    ids = [insert_task(db) for _ in range(3)]
    async with engine(dsn, transactional(write)) as one:
        await one.work()
        assert sessions(db)
        end_sessions(db)
        ids += [insert_task(db) for _ in range(3)]
        await one.work()
    assert [task_row(db, task_id)["attempts"] for task_id in ids] == [1] * 6
    assert ledger(db) == ["written"] * 6


async def test_a_database_that_lets_nobody_in_is_waited_for(
    dsn: str, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = AsyncDbConnection.connect
    tries = 0

    async def refuse_twice(*arguments: Any, **options: Any) -> Any:
        nonlocal tries
        if options.get("application_name") == "pgsched handler":
            tries += 1
            if tries <= 2:
                raise psycopg.OperationalError("too many clients already")
        return await connect(*arguments, **options)

    monkeypatch.setattr(AsyncDbConnection, "connect", refuse_twice)
    task_id = insert_task(db)
    async with engine(dsn, transactional(write)) as one:
        await one.work()
        assert one.counts.database_errors == 2
    row = task_row(db, task_id)
    assert (row["status"], row["attempts"], tries) == ("completed", 1, 3)


# The connections.


async def test_so_many_handlers_run_at_once_as_there_are_connections(dsn: str, db: Database) -> None:
    now, most = 0, 0

    async def counts(ctx: Context) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await ctx.connection.execute("select pg_sleep(0.01)")
        now -= 1

    for _ in range(8):
        insert_task(db)
    async with engine(dsn, transactional(counts), transactions=2) as one:
        await one.work()
        assert len(sessions(db)) == 2
    assert most == 2


@both
async def test_a_handler_leaves_no_settings_behind(dsn: str, db: Database, handler: Callable[..., Any]) -> None:
    seen: list[tuple[Any, ...]] = []
    look = """
        select pg_backend_pid(), current_setting('search_path'),
          (select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()),
          to_regclass('pg_temp.scratch') is null, (select count(*) from pg_prepared_statements)"""
    leave = (
        "set search_path to nowhere",
        "select pg_advisory_lock(1)",
        "create temporary table scratch (n int)",
        "listen something",
    )

    async def untidy(ctx: Context) -> None:
        seen.append(await (await ctx.connection.execute(look)).fetchone())
        for statement in leave:
            await ctx.connection.execute(statement)
        await ctx.connection.execute("select 1", prepare=True)

    def untidy_plainly(ctx: Context) -> None:
        seen.append(ctx.connection.execute(look).fetchone())
        for statement in leave:
            ctx.connection.execute(statement)
        ctx.connection.execute("select 1", prepare=True)

    async with engine(dsn, transactional(untidy if handler is write else untidy_plainly), transactions=1) as one:
        for _ in range(3):
            task_id = insert_task(db)
            await one.work()
            assert task_row(db, task_id)["status"] == "completed", task_row(db, task_id)["last_error"]
    assert len(seen) == 3
    assert len(set(seen)) == 1, "one connection, each time as new"
    assert seen[0][2:] == (0, True, 0)


async def test_what_the_handler_sets_for_its_transaction_does_not_reach_the_finish(dsn: str, db: Database) -> None:
    async def restricts(ctx: Context) -> None:
        await ctx.connection.execute("set local role pg_monitor")
        await ctx.connection.execute("set local search_path to nowhere")
        await ctx.connection.execute("set local timezone to 'Asia/Tokyo'")
        await ctx.connection.execute("set local statement_timeout to '50ms'")

    refuse_updates(db, "new.status = 'completed'", then="perform pg_catalog.pg_sleep(0.2)")
    task_id = insert_task(db)
    async with engine(dsn, transactional(restricts)) as one:
        await one.work()
    assert task_row(db, task_id)["status"] == "completed", task_row(db, task_id)["last_error"]


@both
async def test_the_connection_reads_and_writes_as_psycopg_does(
    dsn: str, db: Database, handler: Callable[..., Any]
) -> None:
    ask = "select interval '1 hour', '{\"a\": 1}'::jsonb, %s::jsonb"
    answers: list[Any] = []

    async def asks(ctx: Context) -> None:
        assert isinstance(ctx.connection, psycopg.AsyncConnection)
        answers.append(await (await ctx.connection.execute(ask, (psycopg.types.json.Jsonb({}),))).fetchone())

    def asks_plainly(ctx: Context) -> None:
        assert isinstance(ctx.connection, psycopg.Connection)
        answers.append(ctx.connection.execute(ask, (psycopg.types.json.Jsonb({}),)).fetchone())

    task_id = insert_task(db)
    async with engine(dsn, transactional(asks if handler is write else asks_plainly)) as one:
        await one.work()
    assert task_row(db, task_id)["status"] == "completed", task_row(db, task_id)["last_error"]
    assert answers == [(timedelta(hours=1), {"a": 1}, {})]


async def test_copies_pipelines_and_cursors_work(dsn: str, db: Database) -> None:
    async def works(ctx: Context) -> int:
        async with ctx.connection.cursor() as cursor, cursor.copy("copy ledger from stdin") as copy:
            for number in range(10):
                await copy.write_row((ctx.id, f"copied {number}"))
        async with ctx.connection.pipeline():
            await write(ctx, "first")
            await write(ctx, "second")
        async with ctx.connection.cursor(name="walk") as walk:
            await walk.execute("select note from ledger")
            return len([row async for row in walk])

    task_id = insert_task(db)
    async with engine(dsn, transactional(works)) as one:
        await one.work()
    assert task_row(db, task_id)["result"] == 12, task_row(db, task_id)["last_error"]
    assert len(ledger(db)) == 12


def sessions(db: Database) -> list[int]:
    """The connections of the workers' handlers."""
    return [
        row["pid"]
        for row in rows(
            db,
            "select pid from pg_stat_activity where application_name = 'pgsched handler'"
            " and datname = current_database()",
        )
    ]


def open_transactions(db: Database) -> list[dict[str, Any]]:
    """Those of them that are in a transaction."""
    return rows(
        db,
        "select pid, state, query from pg_stat_activity "
        "where application_name = 'pgsched handler' and datname = current_database() and state <> 'idle'",
    )


def end_sessions(db: Database) -> None:
    """Cut all of them off, and wait until they are gone."""
    db.execute(
        "select pg_terminate_backend(pid, 5000) from pg_stat_activity "
        "where application_name = 'pgsched handler' and datname = current_database()"
    )
