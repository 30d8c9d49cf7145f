"""Calendars: days that cron expressions leave out by name."""

from __future__ import annotations

from datetime import UTC, datetime
from random import Random

import psycopg
import pytest

from pgsched.client.async_client import AsyncClient
from pgsched.client.client import Client
from pgsched.domain.errors import InvalidTask
from pgsched.domain.scheduling.cron import next_tick, parse_cron
from pgsched.domain.scheduling.preview import preview
from pgsched.domain.scheduling.time_zones import load_zone
from tests.support import crons
from tests.support.engine import engine, handlers, nothing
from tests.support.tables import database, task_row

CHRISTMAS = "0 9 24-27 12 * except=@holidays,12-27"
EVE = datetime(2040, 12, 24, 12, tzinfo=UTC)


def make(dsn: str, name: str, *days: str) -> None:
    with database(dsn) as db:
        db.execute("insert into pgsched.calendars (name, days) values (%s, %s)", (name, list(days)))


def test_sql_leaves_the_days_of_a_calendar_out(dsn: str) -> None:
    make(dsn, "holidays", "12-25", "2041-12-24")
    with database(dsn) as db:
        found = db.execute("select pgsched.next_ticks(%s, 'UTC', %s, 3) as tick", (CHRISTMAS, EVE)).fetchall()
    assert [f"{row['tick'].astimezone(UTC):%Y-%m-%d}" for row in found] == ["2040-12-26", "2041-12-26", "2042-12-24"]


@pytest.mark.slow
def test_sql_and_python_tick_alike_with_random_calendars(dsn: str) -> None:
    random = Random(1)
    for number in range(60):
        days = sorted({crons.day(random) for _ in range(random.randint(1, 300))})
        make(dsn, f"c{number}", *days)
        expression = f"0 8 * * {random.choice(['*', 'mon-fri', '1#2'])} except=@c{number},05-01"
        expression += random.choice(["", " instead=workday"])
        cron, zone, tick = parse_cron(expression, frozenset(days)), load_zone("Europe/Berlin"), crons.instant(random)
        with database(dsn) as db:
            for row in db.execute("select pgsched.next_ticks(%s, 'Europe/Berlin', %s, 20) as tick", (expression, tick)):
                following = next_tick(cron, zone, tick)
                assert row["tick"] == following, (expression, days, tick)
                assert following is not None
                tick = following


def test_a_schedule_is_planned_afresh_when_its_calendar_changes(dsn: str) -> None:
    make(dsn, "holidays", "12-25")
    with Client(dsn) as client, database(dsn) as db:
        for name in ("@holidays", "12-25"):
            client.schedule("mail", cron=f"0 9 24-26 12 * except={name}", start=EVE)
        booked = "select to_char(next_run_at at time zone 'UTC', 'MM-DD') as day from pgsched.tasks order by id"
        assert [row["day"] for row in db.execute(booked)] == ["12-26", "12-26"]
        db.execute("update pgsched.calendars set days = '{12-26}'")
        assert [row["day"] for row in db.execute(booked)] == ["12-25", "12-26"]


async def test_a_worker_plans_around_a_calendar(dsn: str) -> None:
    make(dsn, "holidays", "12-25", "12-26")
    with Client(dsn) as client:
        task_id = client.schedule("mail", cron="0 9 25 12 * except=@holidays instead=workday", start=EVE)
        async with engine(dsn, handlers(mail=nothing)) as one:
            await one.work()
        with database(dsn) as db:
            assert task_row(db, task_id)["scheduled_for"] == EVE.replace(day=27, hour=9)
        shown = client.status(task_id)
    # 2041-12-27 is a Friday; in 2042 the 27th is a Saturday.
    assert [f"{tick:%Y-%m-%d}" for tick in shown.next_runs[:3]] == ["2040-12-27", "2041-12-27", "2042-12-29"]
    assert "but not on the days of calendar holidays: on the next workday" in shown.schedule
    async with AsyncClient(dsn) as other:
        assert (await other.status(task_id)).next_runs == shown.next_runs


def test_a_calendar_that_is_not_there_is_refused_by_the_database(dsn: str) -> None:
    with (
        Client(dsn) as client,
        pytest.raises(InvalidTask, match=r'a calendar that is not in .*"@gone"'),
    ):
        client.schedule("mail", cron="0 9 * * * except=@gone")


def test_a_preview_without_the_database_says_that_it_does_not_know_the_days() -> None:
    with pytest.raises(InvalidTask, match="the dates of a calendar are in the database"):
        preview("0 9 * * * except=@holidays")


def test_a_calendar_that_is_named_stays(dsn: str) -> None:
    make(dsn, "holidays", "12-25")
    make(dsn, "holi", "12-25")
    with Client(dsn) as client:
        task_id = client.schedule("mail", cron="0 9 * * * EXCEPT=12-24,@Holidays")
    with database(dsn) as db:
        for statement in ("delete from pgsched.calendars", "update pgsched.calendars set name = 'other'"):
            with pytest.raises(psycopg.errors.ObjectInUse) as refused:
                db.execute(statement + " where name = 'holidays'")
            words = f"calendar holidays is named by the cron expression of task {task_id}"
            assert refused.value.diag.message_primary == words
        assert db.execute("delete from pgsched.calendars where name = 'holi'").rowcount == 1
        db.execute("delete from pgsched.tasks")
        assert db.execute("delete from pgsched.calendars").rowcount == 1


@pytest.mark.parametrize(
    ("name", "days"),
    [("Holidays", ["12-25"]), ("a b", []), ("x", ["2030-02-29"]), ("x", ["1225"]), ("x", ["12-25"] * 1001)],
)
def test_a_calendar_that_makes_no_sense_is_refused(dsn: str, name: str, days: list[str]) -> None:
    with pytest.raises(psycopg.errors.CheckViolation):
        make(dsn, name, *days)
