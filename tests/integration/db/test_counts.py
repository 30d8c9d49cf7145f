"""Counts by status and the look-ahead, from every face: bounded, whatever the table holds."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from pgsched import AsyncClient, Client, InvalidTask
from tests.support.commands import pgsched
from tests.support.tables import restoring
from tests.support.web_face import web

API = "/api/v1"
Database = psycopg.Connection[dict[str, Any]]


def copies(db: Database, task_id: int, number: int, **columns: str) -> None:
    """Insert copies of a row, triggers off."""
    names = [
        row["attname"]
        for row in db.execute(
            "select attname from pg_attribute where attrelid = 'pgsched.tasks'::regclass and attnum > 0"
            " and not attisdropped and attgenerated = '' and attname <> 'id'"
        )
    ]
    values = ", ".join(columns.get(name, f"r.{name}") for name in names)
    db.execute("set session_replication_role = replica")
    db.execute(
        f"insert into pgsched.tasks ({', '.join(names)})"  # type: ignore[arg-type]
        f" select {values} from pgsched.tasks r, generate_series(1, {number}) i where r.id = {task_id}"
    )
    db.execute("reset session_replication_role")


def counts(client: Client, queue: str | None = None) -> dict[str, int]:
    found = client.count_tasks(queue)
    assert all(one.exact for one in found)
    return {one.status: one.number for one in found}


def really(db: Database, queue: str | None = None) -> dict[str, int]:
    rows = db.execute(
        "select status::text, count(*) from pgsched.tasks where %(queue)s::text is null or queue = %(queue)s"
        " group by status",
        {"queue": queue},
    )
    return dict.fromkeys(("pending", "running", "blocked", "dead", "completed", "cancelled"), 0) | {
        row["status"]: row["count"] for row in rows
    }


@pytest.mark.parametrize("seed", range(3))
def test_counts_are_those_of_the_rows(client: Client, db: Database, seed: int) -> None:
    chance = random.Random(seed)
    made: list[int] = []
    for _ in range(60):
        options: dict[str, Any] = {"queue": chance.choice("ab"), "priority": chance.randint(1, 10)}
        if chance.random() < 0.3 and made:
            options["depends_on"] = chance.sample(made, min(len(made), 2))
            options["on_dependency_dead"] = "run"
        elif chance.random() < 0.4:
            options["delay"] = 3600
        elif chance.random() < 0.2:
            options["every"] = "1h"
        made.append(client.schedule("mail", **options))
    with restoring(db):
        for one in chance.sample(made, 20):
            state = chance.choice(["completed", "dead", "cancelled"])
            if client.get(one).status == "pending":
                db.execute(
                    "update pgsched.tasks set status = %(state)s::text, next_run_at = null,"
                    " died_at = case when %(state)s::text = 'dead' then now() end,"
                    " completed_at = case when %(state)s::text <> 'dead' then now() end where id = %(id)s",
                    {"state": state, "id": one},
                )
        db.execute(
            "update pgsched.tasks set status = 'running', attempts = 1, started_at = now(), locked_by ="
            " gen_random_uuid(), locked_until = now() + interval '1 minute' where id in ("
            " select id from pgsched.tasks where status = 'pending' and next_run_at <= now() order by id limit 7)"
        )
    for one in chance.sample(made, 10):
        client.disable(one)
    assert counts(client) == really(db)
    assert counts(client, "a") == really(db, "a")
    assert really(db)["blocked"] > 0
    assert really(db)["running"] > 0


def test_many_finished_tasks_are_estimated_and_the_number_says_so(client: Client, db: Database) -> None:
    done = client.schedule("mail")
    with restoring(db):
        db.execute("update pgsched.tasks set status = 'completed', completed_at = now(), next_run_at = null")
    copies(db, done, 12_000)
    client.schedule("mail")
    db.execute("analyze pgsched.tasks")
    found = {one.status: one for one in client.count_tasks()}
    assert not found["completed"].exact
    assert 10_000 <= found["completed"].number <= 14_000
    assert (found["pending"].number, found["pending"].exact) == (1, True)


def test_an_empty_table_has_none(client: Client) -> None:
    assert set(counts(client).values()) == {0}


async def test_counts_are_alike_at_every_face(dsn: str, client: Client, db: Database) -> None:
    client.schedule("mail", queue="q")
    client.schedule("mail")
    told = [one.as_dict() for one in client.count_tasks("q")]
    assert {one["status"]: one["number"] for one in told}["pending"] == 1
    assert [dict(row) for row in db.execute("select * from pgsched.count_tasks('q')")] == told
    async with AsyncClient(dsn) as other, web(dsn) as http:
        assert [one.as_dict() for one in await other.count_tasks("q")] == told
        assert (await http.get(f"{API}/counts?queue=q")).json() == told
        page = (await http.get("/tasks")).text
        assert 'aria-label="Tasks by status"' in page
    assert pgsched("stats", "--json", dsn=dsn).json()["statuses"][0] == {
        "status": "pending",
        "number": 2,
        "exact": True,
    }
    assert "pending" in pgsched("stats", dsn=dsn).stdout


# The look-ahead.


def test_what_will_run_comes_in_its_order(client: Client, db: Database) -> None:
    later = client.schedule("mail", delay="3h", queue="b", priority=9)
    soon = client.schedule("mail", delay="1h", queue="a")
    tick = client.schedule("mail", every="2h", start=datetime.now(UTC) + timedelta(hours=2))
    client.schedule("mail", delay="25h")
    client.schedule("mail")  # due
    paused = client.schedule("mail", delay="1h")
    client.disable(paused)
    client.schedule("mail", depends_on=[soon])
    assert [one.id for one in client.upcoming()] == [soon, tick, later]
    assert [one.id for one in client.upcoming("2h30m")] == [soon, tick]
    assert [one.id for one in client.upcoming(queue="b")] == [later]


async def test_pages_of_what_will_run_follow_each_other_at_every_face(dsn: str, client: Client, db: Database) -> None:
    at = datetime.now(UTC) + timedelta(hours=1)
    made = [client.schedule("mail", at=at + timedelta(minutes=minute // 2), priority=1 + minute) for minute in range(5)]
    first = client.upcoming(limit=2)
    last = first[-1]
    assert last.next_run_at is not None
    rest = client.upcoming(after=(last.next_run_at, last.id))
    assert [one.id for one in (*first, *rest)] == made
    async with AsyncClient(dsn) as other:
        assert [one.id for one in await other.upcoming("24h")] == made
    rows = db.execute("select task_id from pgsched.upcoming(interval '1 day', 3, null)").fetchall()
    assert [row["task_id"] for row in rows] == made[:3]
    listed = pgsched("task", "upcoming", "--within", "2h", "--limit", "4", "--json", dsn=dsn).json()
    assert [one["id"] for one in listed] == made[:4]
    found, cursor = [], ""
    async with web(dsn) as http:
        while cursor is not None:
            page = (await http.get(f"{API}/upcoming?within=1d&limit=2{cursor and '&cursor=' + cursor}")).json()
            found += [one["id"] for one in page["items"]]
            cursor = page["next_cursor"]
    assert found == made


def test_a_look_ahead_that_makes_no_sense_is_refused(client: Client) -> None:
    with pytest.raises(InvalidTask, match="within must not be negative"):
        client.upcoming(timedelta(hours=-1))
    with pytest.raises(InvalidTask, match="limit must be between 1 and 10000"):
        client.upcoming(limit=0)


def test_the_look_ahead_reads_the_due_clock_alone(client: Client, db: Database) -> None:
    """Beside many later rows: checked against a statement that compares all that wait."""
    later = client.schedule("mail", delay="30d")
    copies(db, later, 20_000, priority="1 + i % 10")
    client.schedule("mail", delay="1h")
    db.execute("vacuum analyze pgsched.tasks")
    plan = db.execute("explain (analyze, buffers, format json) select * from pgsched.upcoming()").fetchone()
    assert plan is not None
    root = plan["QUERY PLAN"][0]["Plan"]
    assert root["Shared Hit Blocks"] + root["Shared Read Blocks"] < 200
