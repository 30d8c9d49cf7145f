"""The counts of queues: exact for few tasks, and estimates that say so for many."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from pgsched.client.client import Client
from pgsched.db.queries import queues
from tests.support.commands import pgsched
from tests.support.tables import set_dead, set_running
from tests.support.web_face import web

Database = psycopg.Connection[dict[str, Any]]


def fill(client: Client, db: Database) -> None:
    """In ``mail`` 10 tasks due (2 of them run), 5 later, 3 dead; in ``bills`` one later."""
    ids = [client.schedule("mail", queue="mail") for _ in range(10)]
    for one in ids[:2]:
        set_running(db, one)
    for _ in range(5):
        client.schedule("mail", queue="mail", delay="1h")
    for _ in range(3):
        set_dead(db, client.schedule("mail", queue="mail"))
    client.schedule("bill", queue="bills", delay="1h")
    db.execute("analyze pgsched.tasks")


def test_few_tasks_are_counted(client: Client, db: Database) -> None:
    fill(client, db)
    bills, mail = client.queues()
    assert (mail.pending, mail.due, mail.running, mail.dead, mail.estimated) == (13, 8, 2, 3, [])
    assert (bills.pending, bills.due, bills.running, bills.dead, bills.estimated) == (1, 0, 0, 0, [])


def test_a_queue_that_has_only_dead_tasks_is_listed(client: Client, db: Database) -> None:
    for queue in ("one", "two"):
        set_dead(db, client.schedule("mail", queue=queue))
    assert [(one.name, one.dead) for one in client.queues()] == [("one", 1), ("two", 1)]


@pytest.mark.parametrize(
    ("name", "least", "estimated"),
    [("COUNTED", 4, {"pending"}), ("COUNTED_DUE", 4, {"pending", "due", "running"})],
)
async def test_many_tasks_are_estimated_and_each_face_says_so(
    dsn: str, client: Client, db: Database, monkeypatch: pytest.MonkeyPatch, name: str, least: int, estimated: set[str]
) -> None:
    fill(client, db)
    monkeypatch.setattr(queues, name, least)
    bills, mail = client.queues()
    assert set(mail.estimated) == estimated
    assert bills.estimated == []
    assert 4 <= mail.pending + mail.running <= 30
    async with web(dsn) as http:
        found = {one["name"]: one for one in (await http.get("/api/v1/queues")).json()}
        assert set(found["mail"]["estimated"]) == estimated


def test_the_tables_of_the_command_line_say_about(dsn: str, db: Database) -> None:
    with db.transaction():
        db.execute("alter table pgsched.tasks disable trigger user")
        db.execute(
            "insert into pgsched.tasks (task_type, queue, priority, tags, metadata, timezone, on_missed, overlap,"
            " max_attempts, backoff, backoff_delay, backoff_max, dependency_mode, on_dependency_dead, schedule_type,"
            " scheduled_for, next_run_at)"
            " select 'mail', 'mail', 5, '{}', '{}', 'UTC', 'once', 'skip', 3, 'fixed', '5 s', '1 h', 'all', 'cancel',"
            " 'one_time', now(), now() - interval '1 minute' from generate_series(1, 1500)"
        )
        db.execute("alter table pgsched.tasks enable trigger user")
    db.execute("analyze pgsched.tasks")
    shown = pgsched("queue", "list", dsn=dsn).stdout
    assert "about 1,5" in shown
    (mail,) = pgsched("queue", "list", "--json", dsn=dsn).json()
    assert set(mail["estimated"]) == {"pending", "due", "running"}
    assert 1400 <= mail["due"] <= 1600
    assert "about 1,5" in pgsched("stats", dsn=dsn).stdout
