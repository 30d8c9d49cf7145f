"""``pgsched.testing``: what users' tests run, move, assert and call, on a real database."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from pgsched import App, Client, Context, Discard, InvalidTask, Retry
from pgsched.client.async_client import AsyncClient
from pgsched.db.migrations.runner import migrate
from pgsched.db.sql_files import load_statement, statement_names
from pgsched.domain.attempt import Claimed
from pgsched.domain.errors import LockLost, PermissionRefused
from pgsched.domain.workflow import group, step
from pgsched.testing import (
    Clock,
    NotCompleted,
    assert_not_scheduled,
    assert_not_scheduled_async,
    assert_scheduled,
    assert_scheduled_async,
    call,
    call_async,
    drain,
    freeze,
    run_due,
    run_due_async,
    scheduled,
    scheduled_async,
)
from pgsched.worker.scan import Look, Scan
from tests.support.roles import login
from tests.support.tables import database

NEW_YEAR = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture
def app(dsn: str) -> Iterator[App]:
    made = App(dsn=dsn)
    yield made
    made.close()


@pytest.fixture
def clock(dsn: str) -> Iterator[Clock]:
    with freeze(dsn, NEW_YEAR) as made:
        yield made


# Run due tasks.


def test_due_tasks_run_as_a_worker_would_run_them(app: App) -> None:
    @app.task("add")
    async def add(a: int, b: int, ctx: Context) -> int:
        ctx.log("adding", a=a)
        ctx.progress({"half": True})
        return a + b

    @app.task("thread")
    def thread() -> str:
        return threading.current_thread().name

    first = add.schedule(a=1, b=2, queue="letters")
    second = thread.schedule()
    later = add.schedule(a=1, b=2, delay=3600)
    attempts = run_due(app)
    assert [(one.id, one.outcome, one.attempt) for one in attempts] == [
        (second, "completed", 1),
        (first, "completed", 1),
    ]
    assert attempts[1].result == 3
    assert str(attempts[0].result).startswith("pgsched handler")
    client = app.client()
    task = client.get(first)
    assert (task.status, task.result, task.progress) == ("completed", 3, {"half": True})
    assert [one.status for one in client.executions(first)] == ["completed"]
    assert [line.message for line in client.logs(first)] == ["adding"]
    assert client.get(later).status == "pending"
    assert client.workers() == []


def test_failure_raises_what_the_handler_raised_when_all_is_written(app: App) -> None:
    @app.task("mail")
    def mail(fails: bool) -> None:
        if fails:
            raise ZeroDivisionError("by zero")

    bad, good = mail.schedule(fails=True), mail.schedule(fails=False)
    with pytest.raises(ZeroDivisionError, match="by zero") as raised:
        run_due(app)
    assert raised.value.__notes__ == [f"pgsched: task {bad} (mail), attempt 1: failed"]
    assert app.client().get(good).status == "completed"
    task = app.client().get(bad)
    assert (task.status, task.attempts) == ("pending", 1)
    assert task.last_error is not None
    assert "pgsched/testing" not in task.last_error


def test_failures_are_returned_when_nothing_is_to_be_raised(app: App) -> None:
    @app.task("mail", max_attempts=1)
    async def mail() -> None:
        raise Discard("senseless")

    mail.schedule()
    (attempt,) = run_due(app, raises=False)
    assert (attempt.outcome, attempt.error) == ("dead", "Discard: senseless")
    assert isinstance(attempt.exception, Discard)


def test_timeout_and_wrong_payload_raise_not_completed(app: App) -> None:
    @app.task("slow", timeout="20ms")
    async def slow() -> None:
        await asyncio.sleep(60)

    @app.task("picky")
    async def picky(number: int) -> None: ...

    slow.schedule()
    with pytest.raises(NotCompleted, match=r"attempt 1: timed_out: timed out after 0\.02 s"):
        run_due(app)
    with Client(app.dsn) as bare:
        bare.schedule("picky")
    with pytest.raises(NotCompleted, match="missing argument 'number'"):
        run_due(app)


def test_follow_ups_wait_for_the_next_call_and_drain_runs_them(app: App) -> None:
    seen: list[int] = []

    @app.task("count")
    async def count(left: int) -> None:
        seen.append(left)
        if left:
            await count.schedule_async(left=left - 1)

    count.schedule(left=3)
    assert len(run_due(app)) == 1
    assert seen == [3]
    assert app.client().get(2).attempts == 0  # what was looked at and left alone counts no attempt
    assert len(drain(app)) == 3
    assert seen == [3, 2, 1, 0]


def test_new_interval_is_planned_and_run_and_a_retry_without_delay_waits(app: App) -> None:
    tries: list[int] = []

    @app.task("report")
    async def report(ctx: Context) -> None:
        tries.append(ctx.attempt)
        raise Retry(0)

    app.client().schedule("report", every="1h")
    assert [one.outcome for one in run_due(app, raises=False)] == ["failed"]
    assert tries == [1]


def test_limit_and_queues_choose_what_runs(app: App) -> None:
    @app.task("mail")
    async def mail() -> None: ...

    for queue in ("one", "one", "two", "three"):
        mail.schedule(queue=queue)
    assert [one.queue for one in run_due(app, queues=("one",), limit=1)] == ["one"]
    assert {one.queue for one in run_due(app, queues=("t*",))} == {"two", "three"}
    assert {one.queue for one in drain(app)} == {"one"}
    with pytest.raises(ValueError, match="limit must be at least 1, got 0"):
        run_due(app, limit=0)


def test_queue_with_limits_runs_to_its_end_one_after_the_other(app: App) -> None:
    running: list[int] = []
    most: list[int] = []

    @app.task("mail")
    async def mail(ctx: Context) -> None:
        running.append(ctx.id)
        await asyncio.sleep(0)
        most.append(len(running))
        running.remove(ctx.id)

    app.client().limit_queue("tight", concurrency=1)
    for _ in range(5):
        mail.schedule(queue="tight")
    assert len(run_due(app, concurrency=4)) == 5
    assert most == [1] * 5


def test_group_runs_to_its_end_in_a_drain(app: App) -> None:
    @app.task("step")
    async def run_step(n: int) -> int:
        return n

    task_id = app.client().schedule_group(group(step("step", {"n": 1}, name="a"), step("step", {"n": 2}, name="b")))
    drain(app)
    assert app.client().get(task_id).result == {"a": 1, "b": 2}


def test_transactional_handler_and_one_for_a_process_run_too(app: App, dsn: str) -> None:
    @app.task("pay", transactional=True)
    def pay(ctx: Context) -> None:
        ctx.connection.execute("create table paid (id int)")

    @app.task("render", executor="process")
    def render(ctx: Context) -> int:
        return ctx.attempt

    pay.schedule()
    render.schedule()
    assert [one.outcome for one in run_due(app)] == ["completed", "completed"]
    with database(dsn) as connection:
        assert connection.execute("select to_regclass('paid') is not null as there").fetchone() == {"there": True}


def test_hooks_are_called_and_declared_schedules_come_on_demand(app: App, clock: Clock) -> None:
    told: list[str] = []

    @app.task("report", cron="0 8 * * *")
    async def report() -> None: ...

    @app.on("completed")
    def note(event: Any) -> None:
        told.append(event.task_type)

    assert run_due(app) == []
    assert scheduled(app) == []
    run_due(app, declare=True, until=NEW_YEAR + timedelta(hours=9), clock=clock)
    assert told == ["report"]


async def test_on_a_loop_the_async_functions_are_to_be_awaited(app: App) -> None:
    @app.task("mail")
    async def mail() -> str:
        return "sent"

    await mail.schedule_async()
    with pytest.raises(RuntimeError, match="await the function whose name ends in _async"):
        run_due(app)
    (attempt,) = await run_due_async(app)
    assert attempt.result == "sent"
    await app.close_async()


# The clock.


def test_clock_is_that_of_all_that_pgsched_does(app: App, clock: Clock) -> None:
    @app.task("mail", backoff_delay=60, backoff="fixed")
    async def mail() -> None:
        raise Retry

    client = app.client()
    task_id = mail.schedule(delay="1h")
    assert client.get(task_id).next_run_at == NEW_YEAR + timedelta(hours=1)
    assert client.get(task_id).created_at == NEW_YEAR
    assert run_due(app) == []
    assert clock.advance("1h") == NEW_YEAR + timedelta(hours=1)
    run_due(app, raises=False)
    assert app.client().get(task_id).status == "pending"
    (execution,) = client.executions(task_id)
    assert abs(execution.finished_at - clock.now()) < timedelta(seconds=5)  # type: ignore[operator]
    due = client.get(task_id).next_run_at
    assert due is not None
    assert timedelta(seconds=30) < due - clock.now() < timedelta(seconds=90)
    assert run_due(app) == []
    clock.advance(90)
    assert [one.attempt for one in run_due(app, raises=False)] == [2]


def test_schedule_ticks_at_its_own_times_through_a_change_of_the_clocks(app: App, clock: Clock) -> None:
    ticks: list[datetime] = []

    @app.task("report", max_attempts=1)
    async def report(ctx: Context) -> None:
        ticks.append(ctx.scheduled_for)
        assert not ctx.is_catchup

    clock.freeze(datetime(2030, 3, 30, tzinfo=UTC))
    app.client().schedule("report", cron="0 8 * * *", timezone="Europe/Berlin")
    attempts = run_due(app, until=datetime(2030, 4, 1, 12, tzinfo=UTC), clock=clock)
    assert len(attempts) == 3
    assert ticks == [
        datetime(2030, 3, 30, 7, tzinfo=UTC),
        datetime(2030, 3, 31, 6, tzinfo=UTC),
        datetime(2030, 4, 1, 6, tzinfo=UTC),
    ]
    assert clock.now() == datetime(2030, 4, 1, 12, tzinfo=UTC)


async def test_a_slow_claim_keeps_nothing_from_its_end(app: App, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    @app.task("tick", every="1d", times=5)
    async def tick(ctx: Context) -> int:
        return ctx.tick_number

    saw, seconds = Scan.saw, [1.0]

    def slow(scan: Scan, look: Look, tasks: Sequence[Claimed], sent: float, _seconds: float, *, full: bool) -> None:
        saw(scan, look, tasks, sent, seconds.pop() if seconds else 0.0, full=full)

    monkeypatch.setattr(Scan, "saw", slow)
    attempts = await run_due_async(app, declare=True, until=NEW_YEAR + timedelta(days=9), clock=clock)
    assert [one.result for one in attempts] == [1, 2, 3, 4, 5]


def test_missed_ticks_leases_dead_letters_and_locks_follow_the_clock(app: App, clock: Clock, dsn: str) -> None:
    client = app.client()

    @app.task("report")
    async def report() -> None: ...

    task_id = client.schedule("report", cron="0 * * * *")
    run_due(app)  # plans it
    clock.advance("10h30m")
    assert len(run_due(app)) == 1
    assert [(one.reason, one.ticks) for one in client.missed_ticks(task_id)] == [("once", 9)]
    with database(dsn) as connection:
        connection.execute(
            """
            update pgsched.tasks
            set status = 'running', attempts = 1, fencing_token = fencing_token + 1, locked_by = gen_random_uuid(),
              started_at = now(), locked_until = now() + interval '30 s', next_run_at = now()
            """
        )
    assert run_due(app) == []
    clock.advance(31)
    assert len(run_due(app)) == 1

    def hold_for_too_long() -> None:
        with client.lock("one", ttl=60):
            (lock,) = client.locks()
            assert (lock.locked_until, lock.held) == (clock.now() + timedelta(seconds=60), True)
            clock.advance(61)
            assert not client.locks()[0].held

    with pytest.raises(LockLost):
        hold_for_too_long()


def test_months_and_days_are_of_the_calendar_and_a_travelling_clock_runs(dsn: str, clock: Clock) -> None:
    clock.freeze(datetime(2030, 1, 31, 23, tzinfo=UTC))
    assert clock.advance("1mo") == datetime(2030, 2, 28, 23, tzinfo=UTC)
    assert clock.advance(timedelta(hours=2)) == datetime(2030, 3, 1, 1, tzinfo=UTC)
    assert clock.frozen
    began = clock.travel(NEW_YEAR)
    assert not clock.frozen
    assert NEW_YEAR <= began < clock.now() < NEW_YEAR + timedelta(minutes=1)
    assert clock.advance("1d") > NEW_YEAR + timedelta(days=1)
    assert not clock.frozen
    clock.release()
    assert abs(clock.now() - datetime.now(UTC)) < timedelta(minutes=1)
    with pytest.raises(ValueError, match="at must have a time zone"):
        clock.freeze(datetime(2030, 1, 1))
    with pytest.raises(InvalidTask, match='by: interval "soon" must be'):
        clock.advance("soon")


def test_own_sessions_see_the_clock_and_make_tables_where_they_did(dsn: str, clock: Clock) -> None:
    with psycopg.connect(dsn) as connection:
        assert (
            connection.execute("select now(), clock_timestamp(), statement_timestamp()").fetchone() == (NEW_YEAR,) * 3
        )
        connection.execute("create table orders (at timestamptz default now())")
        connection.execute("insert into orders default values")
        assert connection.execute("select at from public.orders").fetchone() == (NEW_YEAR,)
        connection.execute("set search_path = pg_catalog")  # what a session may do, and is then on its own
        assert connection.execute("select now() < '2029-01-01'").fetchone() != (None,)
        row = connection.execute(
            "insert into pgsched.tasks (task_type, cron_expression) values ('x', '* * * * *') "
            "returning created_at, next_run_at, planned_from"
        ).fetchone()
        assert row == (NEW_YEAR,) * 3


def test_sessions_that_were_open_before_begin_anew(app: App, dsn: str) -> None:
    client = app.client()
    client.schedule("mail")
    with freeze(client, NEW_YEAR):
        assert client.get(client.schedule("mail")).created_at == NEW_YEAR
    assert client.get(client.schedule("mail")).created_at != NEW_YEAR


def test_producers_role_schedules_by_the_clock(dsn: str, clock: Clock) -> None:
    migrate(dsn, roles=True)
    name = f"producer_{dsn.partition('pgsched_test_')[2].partition('&')[0]}"
    with login(dsn, name, member_of="pgsched_producer") as theirs, psycopg.connect(theirs) as connection:
        row = connection.execute("select pgsched.schedule('mail', delay => interval '1 hour')").fetchone()
    assert row is not None
    with database(dsn) as connection:
        found = connection.execute("select next_run_at from pgsched.tasks where id = %s", row).fetchone()
    assert found == {"next_run_at": NEW_YEAR + timedelta(hours=1)}


PINNED = r"pg_catalog\.(now|\w+_timestamp)\b|\bcurrent_(timestamp|date|time)\b|\blocaltime(stamp)?\b(?!')"
"""What asks PostgreSQL's own clock, however the search_path is set."""
CLOCKS = rf"(?<![.\w])(now|clock_timestamp|statement_timestamp|transaction_timestamp)\(\)|{PINNED}"


def _bound_to_the_real_clock(dsn: str) -> set[str]:
    """What in the schema asks PostgreSQL's own clock, although the clock of tests is there."""
    with psycopg.connect(dsn) as connection:
        connection.execute("set search_path = pg_catalog")
        functions = connection.execute(
            """
            select p.proname, p.prosrc, coalesce(array_to_string(p.proconfig, ';'), ''), p.prosqlbody is not null
            from pg_proc p join pg_language l on l.oid = p.prolang
            where p.pronamespace = 'pgsched'::regnamespace
            """
        ).fetchall()
        expressions = connection.execute(
            """
            select d.adrelid::regclass || ' ' || d.adnum, pg_get_expr(d.adbin, d.adrelid) from pg_attrdef d
            join pg_class c on c.oid = d.adrelid where c.relnamespace = 'pgsched'::regnamespace
            union all
            select conname, pg_get_constraintdef(oid) from pg_constraint where connamespace = 'pgsched'::regnamespace
            union all
            select c.relname, pg_get_viewdef(c.oid) from pg_class c
            where c.relnamespace = 'pgsched'::regnamespace and c.relkind in ('v', 'm')
            union all
            select t.tgname, pg_get_triggerdef(t.oid) from pg_trigger t join pg_class c on c.oid = t.tgrelid
            where c.relnamespace = 'pgsched'::regnamespace
            union all
            select typname, typdefault from pg_type where typnamespace = 'pgsched'::regnamespace
            """
        ).fetchall()
    bound = {
        name
        for name, source, settings, atomic in functions
        if re.search(CLOCKS, source or "", re.IGNORECASE) and (atomic or "search_path=pgsched_clock" not in settings)
    }
    bound |= {name for name, source, *_ in functions if re.search(PINNED, source or "", re.IGNORECASE)}
    return bound | {name for name, text in expressions if re.search(CLOCKS, text or "", re.IGNORECASE)}


def test_nothing_in_the_schema_is_left_at_the_real_clock(dsn: str) -> None:
    assert len(_bound_to_the_real_clock(dsn)) > 20  # the test can fail
    freeze(dsn).close()
    freeze(dsn).close()  # again, without harm
    assert _bound_to_the_real_clock(dsn) == set()


def test_no_statement_names_a_clock_that_cannot_be_moved() -> None:
    assert re.search(PINNED, "select Current_Timestamp", re.IGNORECASE)  # the test can fail
    # These ask when the transaction began to tell it from another, and not for the time.
    others = ("show_transaction", "tune_transaction")
    named = [name for name in statement_names() if "test_clock" not in name and name not in others]
    statements = {name: load_statement(name) for name in named}
    pinned = [name for name, text in statements.items() if re.search(PINNED, text, re.IGNORECASE)]
    assert pinned == []


# What was scheduled.


def test_asserts_find_by_type_payload_time_and_columns(app: App) -> None:
    client = app.client()
    at = datetime(2031, 1, 1, tzinfo=UTC)
    client.schedule("email", {"to": "ada", "more": {"a": 1, "b": 2}}, queue="mail", at=at, priority=9)
    client.schedule("email", {"to": "bob"})
    assert [task.payload["to"] for task in scheduled(client, "email")] == ["ada", "bob"]
    assert [task.payload["to"] for task in scheduled(app, queue="mail")] == ["ada"]
    (found,) = assert_scheduled(
        client, "email", {"to": "ada", "more": {"b": 2}}, queue="mail", at=at, count=1, priority=9
    )
    assert found.payload["to"] == "ada"
    assert_scheduled(app, "email", at=at + timedelta(seconds=5), within=5)
    assert len(assert_scheduled(client, "email", count=2)) == 2
    assert_not_scheduled(client, "sms")
    assert_not_scheduled(client, "email", {"to": "eve"})
    assert_not_scheduled(client, queue="other")


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"payload": {"to": "eve"}}, r'no task: email with payload {"to": "eve"}\nscheduled were:\n  1 email pending '),
        ({"payload": {"more": {"a": 2}}}, "no task"),
        ({"count": 2}, "1 task, not 2: email"),
        ({"count": 0}, "1 task, not 0: email"),
        ({"at": NEW_YEAR}, "no task: email at='2030-01-01T00:00:00.00:00'"),
        ({"queue": "other"}, "no task: email queue='other'"),
    ],
)
def test_message_lists_what_was_scheduled(app: App, wanted: dict[str, Any], said: str) -> None:
    app.client().schedule("email", {"to": "ada", "more": {"a": 1}})
    with pytest.raises(AssertionError, match=said) as raised:
        assert_scheduled(app, "email", **wanted)
    assert "queue=default at=" in str(raised.value)
    assert 'payload={"to": "ada", "more": {"a": 1}}' in str(raised.value)


def test_assert_not_scheduled_tells_what_is_there_and_words_are_checked(app: App) -> None:
    with pytest.raises(AssertionError, match="no task: email\nnothing was scheduled"):
        assert_scheduled(app, "email")
    app.client().schedule("email", every="15m")
    with pytest.raises(AssertionError, match=r"1 task, not 0: of any type\nscheduled were:\n.*schedule=every 900 secs"):
        assert_not_scheduled(app)
    with pytest.raises(TypeError, match="'colour' is not a column of a task"):
        assert_scheduled(app, "email", colour="red")


def test_open_transaction_of_the_caller_is_looked_into(app: App, dsn: str) -> None:
    client = app.client()
    with psycopg.connect(dsn) as connection:
        client.schedule("email", connection=connection)
        assert_scheduled(client, "email", connection=connection)
        assert_not_scheduled(client, "email")
        connection.rollback()
    assert_not_scheduled(client, "email")


async def test_async_asserts_do_the_same(dsn: str) -> None:
    async with AsyncClient(dsn) as client, await psycopg.AsyncConnection.connect(dsn) as connection:
        await client.schedule("email", {"to": "ada"}, connection=connection)
        await assert_scheduled_async(client, "email", {"to": "ada"}, connection=connection)
        await assert_not_scheduled_async(client, "email")
        await connection.rollback()
        assert await scheduled_async(client) == []
        with pytest.raises(AssertionError, match="nothing was scheduled"):
            await assert_scheduled_async(client, "email")


# A handler without a database.


def test_call_runs_a_handler_with_a_context_and_no_database() -> None:
    app = App(dsn="postgresql://nobody@127.0.0.1:1/nothing")

    @app.task("mail", queue="letters", max_attempts=5)
    async def mail(to: str, ctx: Context) -> tuple[Any, ...]:
        ctx.log("sending", level="warning", to=to)
        ctx.progress(1)
        ctx.progress({"of": 2})
        return (
            to,
            ctx.attempt,
            ctx.max_attempts,
            ctx.queue,
            ctx.is_catchup,
            ctx.dependencies["a"],
            ctx.scheduled_for.year,
        )

    called = call(mail, {"to": "ada"}, attempt=2, is_catchup=True, dependencies={"a": 7}, scheduled_for=NEW_YEAR)
    assert (called.outcome, called.result) == ("completed", ["ada", 2, 5, "letters", True, 7, 2030])
    assert called.logs == [("warning", "sending", {"to": "ada"})]
    assert called.progress == [1, {"of": 2}]


def test_call_raises_what_the_handler_raises_or_tells_it() -> None:
    app = App()

    @app.task("mail", executor="process")
    def mail() -> None:
        raise Retry(7, "later")

    with pytest.raises(Retry):
        call(mail)
    called = call(mail, raises=False)
    assert (called.outcome, called.retry_delay, called.error) == ("failed", 7, "Retry: later")
    assert isinstance(called.exception, Retry)


def test_call_refuses_what_no_task_could_be_and_times_out() -> None:
    app = App()

    @app.task("slow")
    async def slow(seconds: float = 60) -> None:
        await asyncio.sleep(seconds)

    with pytest.raises(NotCompleted, match="unexpected argument 'minutes'"):
        call(slow, {"minutes": 1})
    with pytest.raises(NotCompleted, match="seconds must be a number, got a list"):
        call(slow, {"seconds": {1}})
    with pytest.raises(InvalidTask, match="payload"):
        call(slow, {"seconds": object()})
    with pytest.raises(NotCompleted, match="timed out"):
        call(slow, timeout=0.02)


async def test_call_on_a_loop_is_awaited_and_lends_a_connection() -> None:
    app = App()

    @app.task("pay", transactional=True)
    async def pay(ctx: Context) -> str:
        return str(ctx.connection)

    assert (await call_async(pay, connection="a connection")).result == "a connection"


def test_clock_wants_the_owner_of_the_database(dsn: str) -> None:
    name = f"stranger_{dsn.partition('pgsched_test_')[2].partition('&')[0]}"
    with login(dsn, name) as theirs, pytest.raises(PermissionRefused, match="permission denied"):
        freeze(theirs)
