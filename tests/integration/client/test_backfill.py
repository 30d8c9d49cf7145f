"""``backfill``: the ticks of a range that is past, each once."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from pgsched import AsyncClient, Client, InvalidTask, TaskNotFound, TransitionRefused
from pgsched.execution.context import Context
from tests.support.commands import pgsched
from tests.support.engine import engine, handlers, rows
from tests.support.pages import Element, Page, form_of
from tests.support.tables import database, insert_task, set_completed, task_row
from tests.support.web_face import notice_of, web

Database = psycopg.Connection[dict[str, Any]]
MONDAY = datetime(2026, 1, 5, 8, tzinfo=UTC)
DAY = timedelta(days=1)
DAYS = [MONDAY + at * DAY for at in range(4)]


def daily(db: Database, **columns: Any) -> int:
    return insert_task(db, **{"cron_expression": "0 8 * * *", "payload": Jsonb({"a": 1}), "priority": 7} | columns)


def told(db: Database, task_id: int, *options: Any, call: str = "%s, %s") -> list[tuple[datetime, str]]:
    found = rows(db, f"select * from pgsched.backfill(%s, {call})", task_id, *options)
    return [(row["tick"].astimezone(UTC), row["outcome"]) for row in found]


def children(db: Database, parent: int) -> list[dict[str, Any]]:
    return rows(db, "select * from pgsched.tasks where parent_id = %s order by id", parent)


def test_each_tick_of_the_range_becomes_a_task(client: Client, db: Database) -> None:
    parent = daily(db, overlap="allow")
    ticks = client.backfill(parent, DAYS[0], DAYS[3])
    made = children(db, parent)
    assert [(one.tick, one.task_id, one.outcome) for one in ticks] == [
        (day, child["id"], "run") for day, child in zip(DAYS, made, strict=True)
    ]
    assert [(one["scheduled_for"], one["payload"], one["priority"]) for one in made] == [
        (day, {"a": 1}, 7) for day in DAYS
    ]
    assert {(one["status"], one["schedule_type"]) for one in made} == {("pending", "one_time")}
    assert all(one["next_run_at"] <= datetime.now(UTC) for one in made)


def test_a_dry_run_tells_and_changes_nothing(client: Client, db: Database) -> None:
    parent = daily(db)
    ticks = client.backfill(parent, DAYS[0], DAYS[1], dry_run=True)
    assert [(one.tick, one.task_id, one.outcome) for one in ticks] == [(day, None, "run") for day in DAYS[:2]]
    assert children(db, parent) == []


def test_a_second_backfill_runs_only_what_the_first_did_not(client: Client, db: Database) -> None:
    parent = daily(db)
    first = client.backfill(parent, DAYS[0], DAYS[1])
    second = client.backfill(parent, DAYS[1], DAYS[3])
    assert [one.outcome for one in second] == ["ran", "run", "run"]
    assert second[0].task_id == first[1].task_id
    assert [child["scheduled_for"] for child in children(db, parent)] == DAYS


def test_many_backfills_at_once_run_each_tick_once(dsn: str, db: Database) -> None:
    parent = daily(db)

    def one() -> None:
        with database(dsn) as connection:
            told(connection, parent, DAYS[0], DAYS[3])

    threads = [threading.Thread(target=one) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [child["scheduled_for"] for child in children(db, parent)] == DAYS


async def test_ticks_that_ran_are_not_run_again(dsn: str) -> None:
    """One that the schedule ran itself, one that ran as a child, and one that died."""
    seen: list[datetime] = []

    async def run(ctx: Context) -> None:
        seen.append(ctx.scheduled_for)
        if len(seen) == 2:
            raise ValueError("no luck")

    with database(dsn) as db:
        start = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=50)
        parent = insert_task(
            db, repeat_interval="10 minutes", start_date=start, on_missed="all", repeat_count=3, max_attempts=1
        )
        db.execute("set pgsched.restoring = on")
        db.execute(
            "update pgsched.tasks set scheduled_for = %s, next_run_at = %s, planned_from = %s where id = %s",
            (start, start, start, parent),
        )
        db.execute("reset pgsched.restoring")
        async with engine(dsn, handlers(mail=run)) as one:
            while task_row(db, parent)["status"] != "completed":
                await one.work()
        found = told(db, parent, start, start + timedelta(minutes=45))
    assert len(seen) == 3
    assert [outcome for _, outcome in found] == ["ran", "ran", "ran", "run", "run"]


def test_what_the_schedule_is_still_to_run_is_left_to_it(db: Database) -> None:
    parent = daily(db)
    db.execute("set pgsched.restoring = on")
    db.execute(
        "update pgsched.tasks set scheduled_for = %s, next_run_at = %s where id = %s", (DAYS[2], DAYS[2], parent)
    )
    db.execute("reset pgsched.restoring")
    assert [outcome for _, outcome in told(db, parent, DAYS[0], DAYS[3])] == ["run", "run", "booked", "booked"]
    set_completed(db, parent)
    assert [outcome for _, outcome in told(db, parent, DAYS[0], DAYS[3])] == ["ran", "ran", "run", "run"]


async def test_where_ticks_must_not_overlap_they_run_one_after_the_other(dsn: str) -> None:
    """Also after one that died."""
    ran: list[datetime] = []

    async def run(ctx: Context, a: int) -> None:
        ran.append(ctx.scheduled_for)
        if len(ran) == 1:
            raise ValueError("no luck")

    with database(dsn) as db:
        parent = daily(db, max_attempts=1)
        told(db, parent, DAYS[0], DAYS[3])
        async with engine(dsn, handlers(mail=run)) as one:
            for done in range(1, 5):
                while len(ran) < done:
                    await one.work()
                assert len(ran) == done
    assert ran == DAYS


def test_the_end_and_the_zone_of_the_schedule_hold(db: Database) -> None:
    parent = daily(db, timezone="Europe/Berlin", start_date=DAYS[1], end_date=DAYS[2])
    found = told(db, parent, DAYS[0], DAYS[3])
    assert [tick for tick, _ in found] == [DAYS[2] - timedelta(hours=1)]


@pytest.mark.parametrize(
    ("since", "until", "options", "words"),
    [
        (DAYS[1], DAYS[0], {}, "until must not be before since"),
        (DAYS[0], datetime(2990, 1, 1, tzinfo=UTC), {}, "until must not be in the future"),
        (DAYS[0], DAYS[3], {"max_ticks": 3}, "has more than 3 ticks from .* a larger max_ticks"),
        (DAYS[0], DAYS[3], {"max_ticks": 3, "dry_run": True}, "has more than 3 ticks"),
        (DAYS[0], DAYS[3], {"max_ticks": 0}, "max_ticks must be between 1 and 100000, got 0"),
        (DAYS[0].replace(tzinfo=None), DAYS[3], {}, "since must have a time zone"),
    ],
)
def test_a_senseless_range_is_refused_and_nothing_is_made(
    client: Client, db: Database, since: datetime, until: datetime, options: dict[str, Any], words: str
) -> None:
    parent = daily(db)
    with pytest.raises(InvalidTask, match=words):
        client.backfill(parent, since, until, **options)
    assert children(db, parent) == []


def test_what_has_no_ticks_is_refused(client: Client, db: Database) -> None:
    once, cancelled = insert_task(db), daily(db)
    client.cancel(cancelled)
    with pytest.raises(TransitionRefused, match=f"task {once} is one_time, and has no ticks to run"):
        client.backfill(once, DAYS[0], DAYS[1])
    with pytest.raises(TransitionRefused, match=f"task {cancelled} is cancelled, and has no ticks to run"):
        client.backfill(cancelled, DAYS[0], DAYS[1])
    with pytest.raises(TaskNotFound):
        client.backfill(2**40, DAYS[0], DAYS[1])


def test_more_ticks_when_they_are_asked_for(client: Client, db: Database) -> None:
    parent = insert_task(db, cron_expression="* * * * *")
    until = MONDAY + timedelta(minutes=149)
    with pytest.raises(InvalidTask, match="has more than 100 ticks"):
        client.backfill(parent, MONDAY, until)
    assert len(client.backfill(parent, MONDAY, until, max_ticks=150, dry_run=True)) == 150


# The other faces.


async def test_async_and_rest(dsn: str) -> None:
    body = {"from": DAYS[0].isoformat(), "to": DAYS[1].isoformat()}
    with database(dsn) as db:
        parent = daily(db)
        client = AsyncClient(dsn)
        assert [one.outcome for one in await client.backfill(parent, DAYS[0], DAYS[0])] == ["run"]
        await client.close()
        async with web(dsn) as http:
            url = f"/api/v1/tasks/{parent}/backfill"
            dry = (await http.post(url, json=body | {"dry_run": True})).json()
            assert [one["outcome"] for one in dry["ticks"]] == ["ran", "run"]
            assert len(children(db, parent)) == 1
            assert (await http.post(url, json=body)).json()["ticks"][1]["task_id"] == children(db, parent)[1]["id"]
            assert (await http.post(url, json=body | {"max_ticks": 1})).status_code == 422
            assert (await http.post(url, json={"from": "yesterday", "to": body["to"]})).status_code == 422
        noted = rows(db, "select action, task_id, after from pgsched.audit_log")
    assert [(one["action"], one["task_id"], one["after"]["made"]) for one in noted] == [("task.backfill", parent, 1)]


async def test_page_shows_the_ticks_and_runs_them_when_confirmed(dsn: str, db: Database) -> None:
    parent, once = daily(db, timezone="Europe/Berlin"), insert_task(db)
    url, asked = f"/tasks/{parent}/backfill", {"from": "2026-01-05T08:00", "to": "2026-01-06T07:00Z"}
    async with web(dsn) as http:
        assert url in (await http.get(f"/tasks/{parent}")).text
        assert "/backfill" not in (await http.get(f"/tasks/{once}")).text
        form = Page((await http.get(url)).text)
        assert (form.problems(), form_of(form)) == ([], {"from": "", "to": "", "max_ticks": "100"})
        shown = Page((await http.post(url, data=asked)).text)
        assert shown.problems() == []
        assert "2026-01-05 07:00:00 UTC will run" in shown.text
        assert "Run 2 ticks" in shown.text
        assert children(db, parent) == []
        confirmed = {e.attributes["name"]: e.attributes["value"] for e in shown.all("input") if is_hidden(e)}
        assert confirmed == asked | {"confirmed": "yes"}
        answer = await http.post(url, data=confirmed)
        assert (answer.status_code, answer.headers["location"]) == (303, f"/tasks/{parent}")
        assert notice_of(answer).startswith("2 past ticks")
        ticks = [one["scheduled_for"] for one in children(db, parent)]
        assert ticks == [datetime(2026, 1, 5, 7, tzinfo=UTC), datetime(2026, 1, 6, 7, tzinfo=UTC)]
        again = Page((await http.post(url, data=asked)).text)
        assert "already ran as task" in again.text
        assert not any("confirmed" in e.attributes.get("name", "") for e in again.all("input"))
        assert notice_of(await http.post(url, data=confirmed)).startswith("0 past ticks")
        for wrong, problem in (
            ({"from": "yesterday"}, "from must be a time such as 2030-01-31T12:00, got 'yesterday'"),
            ({"to": ""}, "to must be a time such as 2030-01-31T12:00, got ''"),
            ({"from": "0001-01-01T00:00"}, "from must be a time such as 2030-01-31T12:00, got '0001-01-01T00:00'"),
            ({"max_ticks": "1"}, "has more than 1 ticks"),
            ({"max_ticks": "x"}, "max_ticks must be a whole number, got 'x'"),
        ):
            refused = await http.post(url, data=asked | wrong)
            assert (refused.status_code, problem in Page(refused.text).text) == (422, True), wrong
        assert (await http.post(f"/tasks/{once}/backfill", data=asked)).status_code == 409
        assert (await http.get(f"/tasks/{2**40}/backfill")).status_code == 404
    noted = rows(db, "select action, task_id, after from pgsched.audit_log")
    told = {"from": "2026-01-05T07:00:00Z", "to": "2026-01-06T07:00:00Z", "max_ticks": 100, "made": 2}
    assert [(one["action"], one["task_id"], one["after"]) for one in noted] == [("task.backfill", parent, told)]


def is_hidden(field: Element) -> bool:
    """Part of the form, unseen; the search above each page has one of its own."""
    return field.attributes.get("type") == "hidden" and field.attributes["name"] != "jump"


def test_command_line(dsn: str, db: Database) -> None:
    parent = daily(db, timezone="Europe/Berlin")
    command = ("schedule", "backfill", parent, "--from", "2026-01-05T08:00", "--to", "2026-01-06T08:00")
    listed = pgsched(*command, "--dry-run", dsn=dsn)
    assert (listed.code, listed.stderr) == (0, "")
    assert [(line.split()[0], *line.split()[-2:]) for line in listed.stdout.splitlines()] == [
        ("TICK", "OUTCOME", "TASK"),
        ("2026-01-05T07:00:00Z", "run", "-"),
        ("2026-01-06T07:00:00Z", "run", "-"),
    ]
    assert [one["outcome"] for one in pgsched(*command, "--json", dsn=dsn).json()] == ["run", "run"]
    refused = pgsched(*command, "--max-ticks", "1", dsn=dsn)
    assert (refused.code, "has more than 1 ticks" in refused.error) == (1, True)
