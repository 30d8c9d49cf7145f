"""A schedule is right at once: whoever inserts or edits it, its next tick is booked, whether a worker runs or not."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import psycopg
import pytest

from pgsched.app.app import App
from pgsched.client.client import Client
from pgsched.domain.errors import InvalidCron, InvalidTask, TransitionRefused
from pgsched.domain.interval import Interval
from pgsched.domain.scheduling.cron import parse_cron
from pgsched.domain.scheduling.preview import preview
from pgsched.domain.scheduling.recurrence import Schedule, due_at
from pgsched.domain.task_spec import TaskSpec
from pgsched.execution.context import Context
from pgsched.execution.registry import Registry
from pgsched.testing import Clock, freeze
from pgsched.worker.declared_schedules import sync_schedules
from tests.support import crons
from tests.support.engine import claimed, engine, handlers, history, make_due, rows
from tests.support.tables import database, insert_task, move_tick, restoring, set_running, task_row

pytestmark = pytest.mark.slow

NOON = datetime(2030, 6, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


# The first tick, from every face.


def by_sql(client: Client, db: psycopg.Connection[dict[str, Any]]) -> None:
    insert_task(db, cron_expression="0 8 * * *", timezone="Europe/Berlin")


def by_function(client: Client, db: psycopg.Connection[dict[str, Any]]) -> None:
    db.execute("select pgsched.schedule('mail', cron_expression => '0 8 * * *', timezone => 'Europe/Berlin')")


def by_client(client: Client, db: psycopg.Connection[dict[str, Any]]) -> None:
    client.schedule("mail", cron="0 8 * * *", timezone="Europe/Berlin")


def by_many(client: Client, db: psycopg.Connection[dict[str, Any]]) -> None:
    client.schedule_many([TaskSpec(task_type="mail", cron="0 8 * * *", timezone="Europe/Berlin")])


def by_many_with_a_key(client: Client, db: psycopg.Connection[dict[str, Any]]) -> None:
    spec = TaskSpec(task_type="mail", cron="0 8 * * *", timezone="Europe/Berlin", idempotency_key="k")
    client.schedule_many([spec])


def by_copy(client: Client, db: psycopg.Connection[dict[str, Any]]) -> None:
    with db.cursor().copy("copy pgsched.tasks (task_type, cron_expression, timezone) from stdin") as copy:
        copy.write_row(("mail", "0 8 * * *", "Europe/Berlin"))


def as_a_group(client: Client, db: psycopg.Connection[dict[str, Any]]) -> None:
    plan = {"steps": [{"task_type": "mail"}]}
    client.schedule("pgsched.group", plan, cron="0 8 * * *", timezone="Europe/Berlin")


def beside_itself(client: Client, db: psycopg.Connection[dict[str, Any]]) -> None:
    client.schedule("mail", cron="0 8 * * *", timezone="Europe/Berlin", overlap="allow")


def paused(client: Client, db: psycopg.Connection[dict[str, Any]]) -> None:
    client.schedule("mail", cron="0 8 * * *", timezone="Europe/Berlin", enabled=False)


@pytest.mark.parametrize(
    "insert",
    [by_sql, by_function, by_client, by_many, by_many_with_a_key, by_copy, as_a_group, beside_itself, paused],
)
def test_a_schedule_has_its_first_tick_at_once(
    dsn: str, insert: Callable[[Client, psycopg.Connection[dict[str, Any]]], None]
) -> None:
    with freeze(dsn, NOON), Client(dsn) as client, database(dsn) as db:
        insert(client, db)
        (row,) = rows(db, "select * from pgsched.tasks")
        assert (row["scheduled_for"], row["next_run_at"]) == (utc("2030-06-02T06:00"), utc("2030-06-02T06:00"))
        assert (row["status"], row["attempts"], row["planned_from"]) == ("pending", 0, NOON)


async def test_a_declared_schedule_has_its_first_tick_at_once(dsn: str) -> None:
    with freeze(dsn, NOON), database(dsn) as db:
        await sync_schedules(dsn=dsn, registry=daily_digest(), prune=False)
        (row,) = rows(db, "select * from pgsched.tasks")
        assert row["next_run_at"] == utc("2030-06-02T08:00")


def daily_digest() -> Registry:
    app = App()

    @app.task("digest", cron="0 8 * * *")
    def digest() -> None: ...

    return app.registry


def test_psql_returns_of_500_expressions_what_the_preview_shows(dsn: str) -> None:
    random = Random(14)
    with freeze(dsn, NOON) as clock, database(dsn) as db:
        expressions: list[tuple[str, str]] = []
        while len(expressions) < 500:
            expression = crons.expression(random)
            try:
                parse_cron(expression)
            except InvalidCron:
                continue
            expressions.append(
                (expression, random.choice(["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata"]))
            )
        assert clock.frozen
        for expression, zone in expressions:
            (row,) = rows(
                db,
                "insert into pgsched.tasks (task_type, cron_expression, timezone) values ('mail', %s, %s)"
                " returning next_run_at, scheduled_for",
                expression,
                zone,
            )
            (expected,) = preview(expression, timezone=zone, after=NOON - timedelta(microseconds=1), n=1)
            assert (row["next_run_at"], row["scheduled_for"]) == (expected, expected), (expression, zone)


def test_an_interval_begins_at_once_or_at_its_start(dsn: str) -> None:
    with freeze(dsn, NOON), database(dsn) as db:
        now = insert_task(db, repeat_interval="1 hour")
        later = insert_task(db, repeat_interval="1 hour", start_date=NOON + 90 * SECOND)
        before = insert_task(db, repeat_interval="1 day", start_date=NOON - 90 * SECOND)
        found = [task_row(db, id)["next_run_at"] for id in (now, later, before)]
        assert found == [NOON, NOON + 90 * SECOND, NOON - 90 * SECOND + DAY]


def test_the_jitter_of_the_database_is_that_of_python(dsn: str) -> None:
    with freeze(dsn, NOON), database(dsn) as db:
        for jitter in ("1 hour", "0.5 seconds", "1 day"):
            for _ in range(50):
                row = task_row(db, insert_task(db, cron_expression="0 8 * * *", jitter=jitter))
                task = claimed(id=row["id"], cron_expression="0 8 * * *", jitter=Interval.from_timedelta(row["jitter"]))
                assert row["scheduled_for"] == utc("2030-06-02T08:00")
                assert row["next_run_at"] == due_at(task.schedule, row["scheduled_for"])


def test_a_transaction_that_took_long_books_no_tick_of_its_past(dsn: str) -> None:
    with database(dsn) as db, db.transaction():
        (began,) = rows(db, "select now()")
        (row,) = rows(
            db,
            "insert into pgsched.tasks (task_type, repeat_interval) values ('mail', '1 hour')"
            " returning next_run_at, statement_timestamp() as inserted",
        )
        assert row["next_run_at"] == row["inserted"] > began["now"]


def test_a_schedule_without_a_tick_is_over_at_once(dsn: str) -> None:
    with freeze(dsn, NOON), database(dsn) as db:
        row = task_row(db, insert_task(db, cron_expression="0 8 * * *", end_date=NOON + HOUR))
        assert (row["status"], row["next_run_at"], row["completed_at"]) == ("completed", None, NOON)


def test_a_one_time_task_is_as_before(dsn: str) -> None:
    with freeze(dsn, NOON), database(dsn) as db:
        row = task_row(db, insert_task(db, scheduled_for=NOON + HOUR))
        assert (row["scheduled_for"], row["next_run_at"], row["status"]) == (NOON + HOUR, NOON + HOUR, "pending")


async def test_what_an_older_version_left_without_a_tick_is_booked_when_it_is_claimed(dsn: str) -> None:
    with database(dsn) as db:
        task_id = insert_task(db, cron_expression="0 0 1 1 *")
        db.execute("alter table pgsched.tasks disable trigger user")
        db.execute("update pgsched.tasks set scheduled_for = null, next_run_at = now()")
        db.execute("alter table pgsched.tasks enable trigger user")
        async with engine(dsn) as one:
            await one.work()
        row = task_row(db, task_id)
        assert (row["status"], row["attempts"], history(db, task_id)) == ("pending", 0, [])
        assert row["next_run_at"] == row["scheduled_for"] > row["created_at"]


def test_a_finish_of_an_older_version_leaves_the_booking_to_the_database(dsn: str) -> None:
    with database(dsn) as db:
        task_id = insert_task(db, cron_expression="* * * * *")
        set_running(db, task_id)
        db.execute(
            "update pgsched.tasks set status = 'pending', scheduled_for = null, next_run_at = now(), attempts = 0,"
            " locked_by = null, locked_until = null"
        )
        row = task_row(db, task_id)
        assert row["next_run_at"] == row["scheduled_for"]
        assert row["scheduled_for"] is not None


# Edits.


def test_an_edit_is_planned_at_once(dsn: str) -> None:
    with freeze(dsn, NOON), database(dsn) as db:
        task_id = insert_task(db, cron_expression="0 0 1 1 *")
        for column, value, tick in (
            ("cron_expression", "0 8 * * *", "2030-06-02T08:00"),
            ("timezone", "Asia/Tokyo", "2030-06-01T23:00"),
            ("start_date", "2030-07-01Z", "2030-07-01T23:00"),
            ("start_date", None, "2030-06-01T23:00"),
            ("end_date", "2030-06-01 13:00Z", None),
            ("end_date", "2040-01-01Z", "2030-06-01T23:00"),
        ):
            (row,) = rows(
                db,
                f"update pgsched.tasks set {column} = %s where id = %s returning next_run_at, scheduled_for, status",
                value,
                task_id,
            )
            assert row["next_run_at"] == (None if tick is None else utc(tick)), column
            assert row["status"] == ("completed" if tick is None else "pending")
        assert rows(db, "select from pgsched.missed_ticks") == []


def test_an_edit_of_the_jitter_moves_the_start_and_not_the_tick(dsn: str) -> None:
    with freeze(dsn, NOON), database(dsn) as db:
        task_id = insert_task(db, cron_expression="0 8 * * *")
        db.execute("update pgsched.tasks set jitter = '1 hour'")
        row = task_row(db, task_id)
        schedule = Schedule(
            None, "UTC", None, None, None, None, "once", None, Interval(microseconds=3_600_000_000), task_id
        )
        assert row["next_run_at"] == due_at(schedule, row["scheduled_for"])
        assert row["scheduled_for"] == utc("2030-06-02T08:00")


@pytest.mark.parametrize("is_given_up", [False, True], ids=["ran", "was given up"])
async def test_a_tick_that_was_over_while_the_edit_waited_does_not_run_again(dsn: str, is_given_up: bool) -> None:
    ran: list[datetime] = []

    def mail() -> None:
        ran.append(datetime.now(UTC))
        if is_given_up:
            raise ValueError("no luck")

    with database(dsn) as db, database(dsn) as editor:
        task_id = insert_task(db, cron_expression="* * * * * *", max_attempts=1)
        async with engine(dsn, handlers(mail=mail)) as one:
            for edit in ("end_date = '2090-01-01'", "cron_expression = '*/1 * * * * *'", "timezone = 'Etc/GMT'"):
                editor.execute("begin")
                editor.execute("select 1")
                count = len(ran)
                while len(ran) <= count:
                    await one.work()
                editor.execute(f"update pgsched.tasks set {edit} where id = {task_id}")
                editor.execute("commit")
                for _ in range(3):
                    await one.work()
        done = [row["scheduled_for"] for row in history(db, task_id)]
        assert len(done) == len(set(done)) >= 3


async def test_an_edit_of_the_bounds_leaves_a_tick_that_is_due(dsn: str) -> None:
    with database(dsn) as db:
        task_id = insert_task(db, cron_expression="0 0 * * *", on_missed="all")
        tick = move_tick(
            db, task_id, "date_trunc('day', now() at time zone 'UTC') at time zone 'UTC' - interval '2 days'"
        )
        db.execute("update pgsched.tasks set end_date = '2090-01-01'")
        row = task_row(db, task_id)
        assert (row["scheduled_for"], row["next_run_at"], row["revision"]) == (tick, tick, 1)
        assert rows(db, "select from pgsched.missed_ticks") == []


def test_ticks_that_an_edit_takes_are_noted(dsn: str) -> None:
    with freeze(dsn, NOON), database(dsn) as db:
        task_id = insert_task(db, cron_expression="0 0 * * *")
        tick = move_tick(db, task_id, NOON - 2.5 * DAY)
        db.execute("update pgsched.tasks set cron_expression = '0 8 * * *'")
        (missed,) = rows(db, "select * from pgsched.missed_ticks")
        assert (missed["reason"], missed["ticks"], missed["first_tick"]) == ("edit", 3, tick)
        assert missed["next_tick"] is None
        assert task_row(db, task_id)["scheduled_for"] == utc("2030-06-02T08:00")


@pytest.mark.parametrize("on_missed", ["once", "skip", "all"])
@pytest.mark.parametrize("edit", ["end_date = '2090-01-01'", "cron_expression = '0/1 * * * *'", "jitter = '0'"])
async def test_an_edit_during_a_long_run_lets_no_tick_run_that_came_meanwhile(
    dsn: str, on_missed: str, edit: str
) -> None:
    minute = timedelta(minutes=1)

    with freeze(dsn, NOON) as clock, database(dsn) as db:
        task_id = insert_task(db, cron_expression="* * * * *", on_missed=on_missed)
        async with engine(dsn) as one:
            await one.claim()
            clock.advance(150)
            db.execute(f"update pgsched.tasks set {edit}")
            clock.advance(120)
            await one.run()
            row = task_row(db, task_id)
            assert row["scheduled_for"] == row["next_run_at"] == NOON + 5 * minute
            missed = rows(db, "select * from pgsched.missed_ticks order by first_tick")
            assert sum(one["ticks"] for one in missed) == 4
            assert missed[0]["first_tick"] == NOON + minute
            assert (missed[-1]["reason"], missed[-1]["next_tick"]) == ("overlap", NOON + 5 * minute)
            await one.work()
            assert len(history(db, task_id)) == 1


@pytest.mark.parametrize("jitter", ["0", "1 second", "2 hours"])
@pytest.mark.parametrize("minutes", [-20, 0], ids=["waits for its jitter", "is due"])
async def test_an_edit_of_the_jitter_lets_no_tick_be_missed(dsn: str, jitter: str, minutes: int) -> None:
    with freeze(dsn, NOON) as clock, database(dsn) as db:
        task_id = insert_task(db, cron_expression="0 8 * * *", on_missed="skip")
        move_tick(db, task_id, utc("2030-06-02T08:00"))
        with restoring(db):  # as a jitter of an hour has it
            db.execute("update pgsched.tasks set jitter = '1 hour', next_run_at = '2030-06-02 08:50Z'")
        clock.freeze(utc("2030-06-02T08:50") + minutes * timedelta(minutes=1))
        db.execute("update pgsched.tasks set jitter = %s", (jitter,))
        clock.freeze(max(clock.now(), task_row(db, task_id)["next_run_at"]))
        async with engine(dsn) as one:
            await one.work()
        assert [run["scheduled_for"] for run in history(db, task_id)] == [utc("2030-06-02T08:00")]


async def test_a_tick_of_a_schedule_before_that_waits_for_its_retry_is_noted_once(dsn: str) -> None:
    def fail() -> None:
        raise ValueError("no luck")

    with freeze(dsn, NOON) as clock, database(dsn) as db:
        task_id = insert_task(db, cron_expression="*/10 * * * * *", backoff_delay="1 hour")
        async with engine(dsn, handlers(mail=fail)) as one:
            await one.claim()
            clock.advance(33)
            db.execute("update pgsched.tasks set cron_expression = '*/15 * * * * *'")
            await one.run()
        clock.advance(40)
        db.execute("update pgsched.tasks set cron_expression = '0 0 1 1 *'")
        notes = rows(db, "select first_tick, ticks from pgsched.missed_ticks where task_id = %s order by 1", task_id)
    # At the first edit three ticks were over; at the second the one that was to be retried, and 45 and 60 s.
    assert [(one["first_tick"] - NOON, one["ticks"]) for one in notes] == [(0 * SECOND, 3), (10 * SECOND, 3)]


async def test_a_schedule_that_is_ended_while_it_runs_is_over_after_the_run(dsn: str) -> None:
    with database(dsn) as db:
        task_id = insert_task(db, repeat_interval="1 hour")
        async with engine(dsn) as one:
            await one.claim()
            db.execute("update pgsched.tasks set end_date = now()")
            await one.run()
        row = task_row(db, task_id)
        assert (row["status"], row["execution_count"], row["next_run_at"]) == ("completed", 1, None)


async def test_who_waits_for_a_schedule_that_an_edit_ends_is_told(dsn: str) -> None:
    with database(dsn) as db, Client(dsn) as client:
        task_id = insert_task(db, cron_expression="0 0 1 1 *")
        waiting = client.schedule("mail", depends_on=[task_id])
        db.execute("update pgsched.tasks set end_date = now() where id = %s", (task_id,))
        assert task_row(db, task_id)["status"] == "completed"
        assert task_row(db, waiting)["status"] == "pending"


# Times that are none of a schedule's.


@pytest.mark.parametrize("column", ["scheduled_for", "next_run_at"])
@pytest.mark.parametrize("kind", [{"cron_expression": "0 8 * * *"}, {"repeat_interval": "1 day"}])
def test_a_new_schedule_takes_no_tick_by_hand(dsn: str, column: str, kind: dict[str, str]) -> None:
    columns = ", ".join([column, *kind])
    statement = f"insert into pgsched.tasks (task_type, {columns}) values ('mail', '2030-01-01Z', %s)"
    with database(dsn) as db, pytest.raises(psycopg.errors.InvalidParameterValue) as refused:
        db.execute(statement, (*kind.values(),))
    said = str(refused.value.diag.message_primary)
    assert said.startswith(f"{column} is for one-time tasks; a re")
    assert "begins with start_date, got 2030-01-01" in said


@pytest.mark.parametrize("value", ["2030-01-01Z", "2020-01-01Z", "infinity"])
def test_a_schedule_takes_no_tick_by_hand(dsn: str, value: str) -> None:
    with database(dsn) as db:
        task_id = insert_task(db, cron_expression="0 8 * * *")
        before = task_row(db, task_id)
        with pytest.raises(psycopg.Error, match="scheduled_for"):
            db.execute("update pgsched.tasks set scheduled_for = %s", (value,))
        assert task_row(db, task_id) == before


def test_a_schedule_takes_no_tick_by_hand_while_it_runs(dsn: str) -> None:
    with database(dsn) as db:
        task_id = insert_task(db, cron_expression="0 8 * * *")
        set_running(db, task_id)
        for value in ("2090-01-01Z", "2020-01-01Z"):
            with pytest.raises(psycopg.Error, match="scheduled_for is for one-time tasks"):
                db.execute("update pgsched.tasks set scheduled_for = %s", (value,))


# Planned afresh.


def test_a_clock_that_was_ahead_leaves_nothing_behind_after_a_replan(dsn: str) -> None:
    with Clock(dsn) as clock, database(dsn) as db, Client(dsn) as client:
        clock.freeze(utc("2098-01-01T00:00"))
        ids = [insert_task(db, cron_expression="0 8 * * *") for _ in range(3)]
        db.execute("update pgsched.tasks set end_date = '2098-01-01 00:00Z' where id = %s", (ids[2],))
        clock.freeze(NOON)
        db.execute("update pgsched.tasks set end_date = '2097-01-01' where id = %s", (ids[2],))
        assert client.replan(ids[0]) == utc("2030-06-02T08:00")
        assert client.replan_all() >= 2
        found = [task_row(db, id)["next_run_at"] for id in ids[:2]]
        assert found == [utc("2030-06-02T08:00")] * 2


def test_an_interval_that_began_when_the_clock_was_ahead_begins_at_the_replan(dsn: str) -> None:
    with Clock(dsn) as clock, database(dsn) as db, Client(dsn) as client:
        clock.freeze(utc("2098-01-01T00:00"))
        ours = insert_task(db, repeat_interval="1 hour")
        given = insert_task(db, repeat_interval="1 hour", start_date="2098-02-01 00:00Z")
        clock.freeze(utc("2098-01-01T00:05"))
        client.replan(ours)  # while the clock is still ahead
        clock.freeze(NOON)
        assert client.replan(ours) == NOON + timedelta(hours=1)
        assert client.replan(given) == utc("2098-02-01T00:00"), "somebody wants it to begin then"


def test_only_schedules_that_wait_are_planned_afresh(dsn: str) -> None:
    with database(dsn) as db, Client(dsn) as client:
        with pytest.raises(TransitionRefused, match="has no schedule"):
            client.replan(client.schedule("mail"))
        cancelled = client.schedule("mail", cron="0 8 * * *")
        client.cancel(cancelled)
        with pytest.raises(TransitionRefused, match="is cancelled"):
            client.replan(cancelled)
        running = client.schedule("mail", cron="0 8 * * *")
        set_running(db, running)
        with pytest.raises(TransitionRefused, match="is running"):
            client.replan(running)


def test_an_edit_of_a_cancelled_schedule_is_refused(dsn: str) -> None:
    with Client(dsn) as client, database(dsn) as db:
        task_id = client.schedule("mail", cron="0 8 * * *", idempotency_key="nightly")
        client.cancel(task_id)
        assert client.schedule("mail", cron="0 9 * * *", idempotency_key="nightly") == task_id
        for change in ({"cron": "0 9 * * *"}, {"enabled": True}, {"priority": 9}, {"on_missed": "all"}):
            with pytest.raises(TransitionRefused, match=f"task {task_id} is cancelled"):
                client.update(task_id, **change)  # type: ignore[arg-type]
        client.retry(task_id)
        client.update(task_id, cron="0 9 * * *")
        row = task_row(db, task_id)
        assert (row["status"], row["next_run_at"].hour) == ("pending", 9)


async def test_a_pruned_schedule_that_is_declared_again_begins_anew(dsn: str) -> None:
    with database(dsn) as db:
        await sync_schedules(dsn=dsn, registry=daily_digest(), prune=False)
        await sync_schedules(dsn=dsn, registry=Registry(), prune=True)
        (row,) = rows(db, "select id from pgsched.tasks")
        move_tick(db, row["id"], "timestamptz '2020-01-01 08:00Z'")
        await sync_schedules(dsn=dsn, registry=daily_digest(), prune=False)
        row = task_row(db, row["id"])
        assert row["enabled"]
        assert row["next_run_at"] == row["scheduled_for"]
        assert row["next_run_at"] > datetime.now(UTC)


# What else depends on the session, or on jitter.


@pytest.mark.parametrize("zone", ["Europe/Berlin", "UTC"])
def test_a_day_of_a_delay_is_24_hours(dsn: str, zone: str) -> None:
    with freeze(dsn, utc("2030-03-30T12:00")), psycopg.connect(dsn, autocommit=True) as db:
        db.execute("select set_config('timezone', %s, false)", (zone,))
        db.execute("select pgsched.schedule('mail', delay => '1 day')")
        due = [row[0] for row in db.execute("select scheduled_for from pgsched.tasks")]
        assert due == [utc("2030-03-31T12:00")]


@pytest.mark.parametrize(
    "options",
    [{"on_missed": "skip"}, {"catchup_window": "15 minutes"}, {"on_missed": "all", "catchup_window": "1 second"}],
    ids=str,
)
async def test_every_tick_with_jitter_runs_and_none_is_late(dsn: str, options: dict[str, str]) -> None:
    late: list[bool] = []

    def mail(ctx: Context) -> None:
        late.append(ctx.is_catchup)

    with freeze(dsn, NOON) as clock, database(dsn) as db:
        task_id = insert_task(db, cron_expression="0 8 * * *", jitter="1 hour", **options)
        async with engine(dsn, handlers(mail=mail)) as one:
            for _ in range(30):
                clock.freeze(task_row(db, task_id)["next_run_at"] + SECOND)
                await one.work()
        assert (late, rows(db, "select from pgsched.missed_ticks")) == ([False] * 30, [])


async def test_a_child_of_a_tick_with_jitter_is_not_late(dsn: str) -> None:
    late: list[bool] = []

    async def mail(ctx: Context) -> None:
        late.append(ctx.is_catchup)

    with database(dsn) as db:
        task_id = insert_task(db, cron_expression="0 0 * * *", jitter="1 day", overlap="allow")
        tick = "date_trunc('day', now() at time zone 'UTC') at time zone 'UTC'"
        move_tick(db, task_id, tick)
        make_due(db, task_id)
        async with engine(dsn, handlers(mail=mail)) as one:
            await one.work()
            db.execute("update pgsched.tasks set next_run_at = now() where parent_id is not null")
            await one.work()
        assert late == [False]


async def test_a_schedule_whose_children_run_tells_of_them(dsn: str) -> None:
    with database(dsn) as db, Client(dsn) as client:
        task_id = insert_task(db, repeat_interval="1 hour", overlap="allow")
        async with engine(dsn) as one:
            await one.work()
            await one.claim()
            assert client.status(task_id).is_running
            await one.run()
        status = client.status(task_id)
        assert not status.is_running
        assert status.last_execution is not None
        assert status.last_execution.status == "completed"
        assert len(client.executions(task_id)) == 1


# Retries.


def test_the_factor_and_the_jitter_of_a_backoff_come_from_every_face(dsn: str) -> None:
    with Client(dsn) as client, database(dsn) as db:
        ids = [
            client.schedule("mail", backoff_factor=5, backoff_jitter=0),
            insert_task(db, backoff_factor=5, backoff_jitter=0),
        ]
        (row,) = rows(db, "select pgsched.schedule('mail', backoff_factor => 5, backoff_jitter => 0) as id")
        ids.append(row["id"])
        ids.append(client.run_now(client.schedule("mail", cron="0 8 * * *", backoff_factor=5, backoff_jitter=0)))
        for id in ids:
            task = client.get(id)
            assert (task.backoff_factor, task.backoff_jitter) == (5, 0)
        client.update(ids[0], backoff_factor=None, backoff_jitter=0.5)
        assert (client.get(ids[0]).backoff_factor, client.get(ids[0]).backoff_jitter) == (None, 0.5)


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"backoff_factor": 0.5}, "backoff_factor must be between 1 and 1000, got 0.5"),
        ({"backoff_jitter": 1.5}, "backoff_jitter must be between 0 and 1, got 1.5"),
        ({"backoff_jitter": float("nan")}, "backoff_jitter must be between 0 and 1, got nan"),
    ],
)
def test_a_backoff_without_sense_is_refused(dsn: str, options: dict[str, float], rule: str) -> None:
    with Client(dsn) as client, database(dsn) as db:
        with pytest.raises(InvalidTask, match=rule):
            client.schedule("mail", **options)  # type: ignore[arg-type]
        with pytest.raises(psycopg.errors.CheckViolation):
            insert_task(db, **options)


async def test_retries_come_5_25_and_125_seconds_later(dsn: str) -> None:
    def mail() -> None:
        raise ValueError("no luck")

    with freeze(dsn, NOON) as clock, database(dsn) as db:
        task_id = insert_task(db, max_attempts=4, backoff_factor=5, backoff_jitter=0)
        delays = []
        async with engine(dsn, handlers(mail=mail)) as one:
            for _ in range(3):
                await one.work()
                due = task_row(db, task_id)["next_run_at"]
                delays.append(round((due - clock.now()).total_seconds()))
                clock.freeze(due)
        assert delays == [5, 25, 125]


async def test_a_first_delay_beyond_the_longest_is_kept(dsn: str) -> None:
    def mail() -> None:
        raise ValueError("no luck")

    with freeze(dsn, NOON), database(dsn) as db:
        task_id = insert_task(db, backoff_delay="24 hours", backoff_jitter=0)
        async with engine(dsn, handlers(mail=mail)) as one:
            await one.work()
        assert task_row(db, task_id)["next_run_at"] - NOON == pytest.approx(DAY, abs=SECOND)


def test_a_step_of_a_group_has_them_too(dsn: str) -> None:
    with database(dsn) as db:
        step = {"task_type": "mail", "backoff_factor": 5, "backoff_jitter": 0}
        insert_task(db, "pgsched.group", payload=json.dumps({"steps": [step]}))
        with pytest.raises(psycopg.Error, match="backoff_factor_must_be_between_1_and_1000"):
            insert_task(db, "pgsched.group", payload=json.dumps({"steps": [step | {"backoff_factor": 0}]}))
