"""The rules of time zones change: in the database, or in a worker that knows others than the database."""

from __future__ import annotations

import math
import zoneinfo
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pgsched.db.session import Session
from pgsched.db.worker.claims import Probe
from pgsched.db.worker.schedules import Moved, follow_zones, read_zones
from pgsched.domain.scheduling import time_zones
from pgsched.domain.scheduling.time_zones import agrees, load_zone
from pgsched.testing import freeze
from pgsched.worker.rulebook import UNBOOKED, follow
from tests.support.engine import PATIENCE, engine, handlers, history, rows, running_worker
from tests.support.tables import database, insert_task, move_tick, task_row
from tests.support.waiting import wait_until_async

NOON = datetime(2030, 6, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
BERLIN = "Europe/Berlin"
Database = psycopg.Connection[dict[str, Any]]


async def followed(dsn: str) -> list[Moved]:
    session = Session(dsn=dsn, name="pgsched test")
    try:
        return await follow_zones(session)
    finally:
        await session.close()


def knew_other_rules(db: Database, hours: int) -> None:
    """Let the rules of Berlin that were noted be so many hours ahead of those of today."""
    db.execute(
        "update pgsched.zone_rules set offsets = array(select o + %s from unnest(offsets) with ordinality as u(o, n)"
        " order by n)",
        (hours * 3600,),
    )


async def test_the_rules_of_the_database_are_those_of_python(dsn: str) -> None:
    session = Session(dsn=dsn, name="pgsched test")
    for rules in await read_zones(session, ["UTC", BERLIN, "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"]):
        assert agrees(rules), rules.zone
        assert not agrees(rules._replace(offsets=[offset + 3600 for offset in rules.offsets]))
        if rules.changes:
            later = [change + HOUR for change in rules.changes]
            assert not agrees(rules._replace(changes=later))
    await session.close()


@pytest.mark.parametrize(
    ("hours", "columns", "tick", "expected"),
    [
        # 04:22 was at 01:22 UTC by the old rules, and is at 02:22.
        (1, {"cron_expression": "22 4 * * *"}, "2030-06-02T01:22", "2030-06-02T02:22"),
        # It ran today at 11:22 UTC by the old rules, at which it is 13:22; it does not run again at 14:22.
        (1, {"cron_expression": "22 14 * * *"}, "2030-06-02T11:22", "2030-06-02T12:22"),
        (-1, {"cron_expression": "30 14 * * *"}, "2030-06-01T13:30", "2030-06-01T12:30"),
        # Its time by the new rules has passed today: it is late, and on_missed decides.
        (-1, {"cron_expression": "22 13 * * *"}, "2030-06-01T12:22", "2030-06-01T11:22"),
        # A rhythm goes on.
        (1, {"cron_expression": "*/15 * * * *"}, "2030-06-01T12:15", "2030-06-01T12:15"),
        (1, {"cron_expression": "0 */2 * * *"}, "2030-06-01T13:00", "2030-06-01T14:00"),
        (1, {"repeat_interval": "1 hour", "start_date": NOON}, "2030-06-01T13:00", "2030-06-01T13:00"),
    ],
)
async def test_what_is_booked_follows_the_rules_of_the_database_once(
    dsn: str, hours: int, columns: dict[str, Any], tick: str, expected: str
) -> None:
    with freeze(dsn, NOON), database(dsn) as db:
        task_id = insert_task(db, timezone=BERLIN, **columns)
        assert await followed(dsn) == []
        knew_other_rules(db, hours)
        move_tick(db, task_id, datetime.fromisoformat(tick).replace(tzinfo=UTC))
        assert [one.zone for one in await followed(dsn)] == [BERLIN]
        row = task_row(db, task_id)
        assert row["scheduled_for"] == row["next_run_at"] == datetime.fromisoformat(expected).replace(tzinfo=UTC)
        assert await followed(dsn) == []


async def test_a_worker_that_starts_lets_what_is_booked_follow(dsn: str) -> None:
    with database(dsn) as db:
        task_id = insert_task(db, timezone=BERLIN, cron_expression="22 4 1 1 *")
        await followed(dsn)
        knew_other_rules(db, 1)
        tick = task_row(db, task_id)["scheduled_for"]
        move_tick(db, task_id, tick - HOUR)
        async with running_worker(dsn):
            await wait_until_async(lambda: task_row(db, task_id)["scheduled_for"] == tick, message="the tick has moved")


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"cron_expression": "22 4 * * *"}, "2030-06-03T02:22"),
        ({"repeat_interval": "1 day", "start_date": datetime(2030, 5, 2, 2, 22, tzinfo=UTC)}, "2030-06-03T02:22"),
        ({"cron_expression": "*/15 * * * *"}, "2030-06-02T01:30"),
        ({"repeat_interval": "1 hour", "start_date": datetime(2030, 5, 2, 1, 22, tzinfo=UTC)}, "2030-06-02T02:22"),
    ],
)
@pytest.mark.parametrize("fails", [False, True])
async def test_a_tick_that_began_by_the_old_rules_does_not_come_again_by_the_new(
    dsn: str, columns: dict[str, Any], expected: str, fails: bool
) -> None:
    tick = datetime(2030, 6, 2, 1, 22, tzinfo=UTC)
    attempts = []

    def mail() -> None:
        attempts.append(1)
        if fails and len(attempts) == 1:
            raise ValueError("no luck")

    with freeze(dsn, NOON) as clock, database(dsn) as db:
        task_id = insert_task(db, timezone=BERLIN, backoff_delay="1 second", **columns)
        await followed(dsn)
        knew_other_rules(db, 1)
        move_tick(db, task_id, tick)
        clock.freeze(tick)
        async with engine(dsn, handlers(mail=mail)) as one:
            if fails:
                await one.work()
                await followed(dsn)
                clock.advance(2)
                await one.work()
            else:
                await one.claim()
                await followed(dsn)
                await one.run()
        assert {run["scheduled_for"] for run in history(db, task_id)} == {tick}
        assert task_row(db, task_id)["scheduled_for"] == datetime.fromisoformat(expected).replace(tzinfo=UTC)


async def test_a_worker_that_connects_again_compares_the_rules_again(dsn: str, other_rules: None) -> None:
    with database(dsn) as db:
        insert_task(db, timezone=BERLIN, repeat_interval="1 hour")
        async with engine(dsn) as one:
            rulebook = one.worker.claims.rulebook
            rulebook.agrees[BERLIN], rulebook.since = True, math.inf  # as it was before the server was upgraded
            tasks = await one.claim()
            assert [task.revision for task in tasks] == [UNBOOKED]


async def test_schedule_that_waits_for_the_end_of_a_locked_batch_is_compared_too(dsn: str, other_rules: None) -> None:
    with database(dsn) as db:
        insert_task(db)
        schedule = insert_task(db, timezone=BERLIN, repeat_interval="1 hour")
        async with engine(dsn) as one:
            batches = one.worker.locked_batches
            locked = await batches.lock([Probe("default", 5)], 10, free=10, max_bytes=2**20, set_aside=())
            assert locked is not None
            assert [task.lockable for task in locked.tasks] == [True, False]
            await batches.stop(PATIENCE)
            leased = one.leased_tasks.get(schedule)
            assert leased is not None
            assert leased.task.revision == UNBOOKED


async def test_a_change_of_rules_is_logged_once(dsn: str, capsys: pytest.CaptureFixture[str]) -> None:
    with freeze(dsn, NOON), database(dsn) as db:
        ids = [insert_task(db, timezone=BERLIN, cron_expression="22 4 * * *") for _ in range(2)]
        await followed(dsn)
        knew_other_rules(db, 1)
        for task_id in ids:
            move_tick(db, task_id, datetime(2030, 6, 2, 1, 22, tzinfo=UTC))
        session = Session(dsn=dsn, name="pgsched test")
        for _ in range(3):
            await follow(session)
        await session.close()
    told = [line for line in capsys.readouterr().out.splitlines() if "zone_rules_changed" in line]
    assert len(told) == 1
    assert "timezone=Europe/Berlin" in told[0]
    assert "schedules=2" in told[0]


@pytest.fixture
def other_rules(tmp_path: Path) -> Iterator[None]:
    """A Python whose Berlin has the rules of New York."""

    def forget() -> None:
        load_zone.cache_clear()
        zoneinfo.ZoneInfo.clear_cache()

    file = tmp_path / "Europe" / "Berlin"
    file.parent.mkdir()
    file.write_bytes(next(Path(path, "America/New_York") for path in places()).read_bytes())
    before = zoneinfo.TZPATH
    zoneinfo.reset_tzpath(to=[str(tmp_path), *before])
    forget()
    yield
    zoneinfo.reset_tzpath(to=before)
    forget()


def places() -> list[Path]:
    import tzdata

    found = [Path(path) for path in (*zoneinfo.TZPATH, Path(tzdata.__file__).with_name("zoneinfo"))]
    return [path for path in found if (path / "America/New_York").exists()]


async def test_a_worker_with_other_rules_leaves_the_booking_to_the_database(
    dsn: str, other_rules: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert time_zones.load_zone(BERLIN).utcoffset(datetime(2030, 1, 1)) == timedelta(hours=-5)
    with freeze(dsn, NOON) as clock, database(dsn) as db:
        task_id = insert_task(db, timezone=BERLIN, cron_expression="22 4 * * *")
        tick = task_row(db, task_id)["scheduled_for"]
        clock.freeze(tick)
        async with engine(dsn) as one:
            await one.work()
        row = task_row(db, task_id)
        assert [run["scheduled_for"] for run in history(db, task_id)] == [tick]
        assert row["scheduled_for"] == row["next_run_at"] == tick + timedelta(days=1)
        assert rows(db, "select from pgsched.missed_ticks") == []
    assert capsys.readouterr().out.count("zone_differs") == 1
