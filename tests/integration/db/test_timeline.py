"""What will run in the time ahead, from every face: as the schedules tick, bounded, with pile-ups and gaps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from pgsched import AsyncClient, Client, InvalidTask
from pgsched.domain.scheduling.timeline import Timeline
from tests.support.commands import pgsched
from tests.support.pages import Page
from tests.support.tables import insert_task
from tests.support.web_face import web

Database = psycopg.Connection[dict[str, Any]]


def by_id(found: Timeline) -> dict[int, Any]:
    return {one.id: one for one in found.schedules}


def test_every_tick_is_told_as_the_schedule_will_run_it(client: Client, db: Database) -> None:
    today = datetime.now(UTC).date()
    client.set_calendar("now", [today, today + timedelta(days=1)])
    hourly = client.schedule("report", cron="17 * * * *", timezone="Asia/Kathmandu")
    limited = client.schedule("report", every="2h", times=3)
    left_out = client.schedule("report", cron="0 * * * * except=@now")
    told = by_id(client.upcoming_timeline("24h"))
    assert told[hourly].ticks[:5] == client.status(hourly).next_runs
    assert 24 <= told[hourly].runs == len(told[hourly].ticks) <= 25
    assert told[limited].runs == 3
    assert told[left_out].runs <= 1  # the last bucket may begin the day after


def test_what_ticks_each_second_is_a_band(client: Client) -> None:
    fast = client.schedule("beat", every="1s")
    night = client.schedule("beat", cron="* * 0-5 * * *")
    found = client.upcoming_timeline("24h")
    told = by_id(found)
    assert told[fast].ticks == []
    assert len(told[fast].bands) == 1
    assert 86_000 < told[fast].runs < 88_000
    assert sum((until - since for since, until in told[night].bands), timedelta()) <= timedelta(hours=6, minutes=15)
    assert sum(one.ticks for one in found.buckets) == found.runs == told[fast].runs + told[night].runs


def test_states_and_what_is_not_counted(client: Client, db: Database) -> None:
    disabled = insert_task(db, "report", cron_expression="0 * * * *", enabled=False)
    paused = client.schedule("report", cron="0 * * * *", queue="slow")
    client.schedule("mail", queue="slow", delay="1h")
    client.pause_queue("slow")
    over = client.schedule("report", cron="0 * * * *")
    client.cancel(over)
    found = client.upcoming_timeline("24h")
    told = by_id(found)
    assert {id: one.state for id, one in told.items()} == {disabled: "disabled", paused: "paused", over: "ended"}
    assert told[paused].runs == 24
    assert (found.runs, found.tasks) == (0, 0)
    assert told[disabled].next_tick is None


def test_one_time_tasks_are_counted_by_bucket_and_a_pile_up_is_marked(client: Client) -> None:
    now = datetime.now(UTC)
    later = (now + timedelta(hours=3)).replace(minute=1, second=0, microsecond=0)
    for _ in range(25):
        client.schedule("mail", at=later)
    for hours in range(5, 15):
        client.schedule("mail", at=now + timedelta(hours=hours))
    client.schedule("mail")  # due now: nobody has to foresee it
    found = client.upcoming_timeline("24h")
    assert found.tasks == 35
    assert found.tasks_complete
    (pile,) = [one for one in found.buckets if one.pile_up]
    assert (pile.tasks, pile.over) == (25, [])
    assert pile.at <= later < pile.at + timedelta(seconds=found.bucket_seconds)
    assert found.gap is not None
    assert found.gap.until - found.gap.since >= timedelta(hours=8)


def test_more_than_the_rate_of_a_queue_is_marked(client: Client) -> None:
    client.limit_queue("mail", rate=1, per="15m")
    at = datetime.now(UTC) + timedelta(hours=2)
    for _ in range(2):
        client.schedule("mail", queue="mail", at=at)
    over = [one for one in client.upcoming_timeline("24h").buckets if one.over]
    assert [(one.over, one.runs) for one in over] == [(["mail"], 2)]


def test_counting_is_bounded(client: Client, db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pgsched.db.queries.upcoming.MAX_TASKS_EACH", 3)
    monkeypatch.setattr("pgsched.domain.scheduling.timeline.MAX_SCHEDULES", 1)
    for _ in range(4):
        client.schedule("mail", delay="1h")
    client.schedule("report", every="1h")
    newest = client.schedule("report", every="1h")
    found = client.upcoming_timeline()
    assert (found.tasks, found.tasks_complete, found.schedules_complete) == (3, False, False)
    assert list(by_id(found)) == [newest]


async def test_faces_agree(dsn: str, client: Client) -> None:
    first = client.schedule("report", cron="0 0 1 1 *", name="new year")
    daily = client.schedule("report", cron="30 2 * * *", timezone="Europe/Berlin")
    client.schedule("mail", delay="1h", queue="mail")
    here = client.upcoming_timeline("24h")
    assert [one.id for one in here.schedules] == [daily, first]
    async with AsyncClient(dsn) as other:
        there = await other.upcoming_timeline("24h")
    assert (there.runs, there.tasks, there.schedules) == (here.runs, here.tasks, here.schedules)
    told = pgsched("upcoming", "--json", dsn=dsn).json()
    assert [one["ticks"] for one in told["schedules"]] == [one.as_dict()["ticks"] for one in here.schedules]
    words = pgsched("upcoming", "--queue", "default", dsn=dsn).stdout
    assert "1 runs of 2 schedules, 0 one-time tasks" in words
    assert "new year" in words
    async with web(dsn) as http:
        answer = await http.get("/api/v1/upcoming/timeline?within=24h&limit=1")
        page = await http.get("/upcoming")
        none = await http.get("/upcoming?state=paused")
        wrong = await http.get("/upcoming?within=1y")
    assert answer.status_code == 200, answer.text
    assert answer.json()["schedules"] == told["schedules"][:1]
    assert answer.json()["number_of_schedules"] == 2
    assert Page(page.text).problems() == []
    assert "new year" in page.text
    assert "No matching schedules" in none.text
    assert wrong.status_code == 422


def test_what_is_no_time_ahead_is_refused(client: Client) -> None:
    for within in ("32d", "10s", 0):
        with pytest.raises(InvalidTask, match="within must be between 1 minute and 31 days"):
            client.upcoming_timeline(within)
    with pytest.raises(InvalidTask, match="limit must be"):
        client.upcoming_timeline(limit=1_001)


async def test_page_shows_fifty_schedules(dsn: str, client: Client) -> None:
    for n in range(60):
        client.schedule("report", cron=f"{n} * * * *", name=f"report {n:02}")
    async with web(dsn) as http:
        first = await http.get("/upcoming")
        second = await http.get("/upcoming?page=2")
    assert first.text.count("<tr data-row") == 50
    assert second.text.count("<tr data-row") == 10
