"""What waits and would not fit the handlers of an application, found before it is deployed."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb
from pydantic import BaseModel, field_validator

from pgsched import App, Client, InvalidTask
from pgsched.db.queries import waiting
from tests.support.processes import PgschedRunner
from tests.support.tables import insert_task, set_running

Connection = psycopg.Connection[dict[str, Any]]


class Item(BaseModel):
    sku: str
    count: int = 1

    @field_validator("sku")
    @classmethod
    def _breaks(cls, sku: str) -> str:
        if sku == "boom":
            raise RuntimeError("no such luck")
        return sku


def an_app(dsn: str) -> App:
    app = App(dsn=dsn)

    @app.task("order")
    def order(items: list[Item], day: date | None = None) -> None: ...

    @app.task("mail")
    def mail(to, *, cc=None):  # type: ignore[no-untyped-def]
        ...

    return app


def test_names_tasks_types_and_paths(dsn: str, db: Connection, client: Client) -> None:
    fits = {"items": [{"sku": "a", "count": 2}]}
    insert_task(db, "order", payload=Jsonb(fits))
    bad = insert_task(db, "order", payload=Jsonb({"items": [{"sku": "a"}, {"count": "x"}], "day": "soon"}))
    broken = insert_task(db, "order", payload=Jsonb({"items": [{"sku": "boom"}]}))
    cron = insert_task(db, "mail", payload=Jsonb({"whom": 1}), cron_expression="0 8 * * *")
    behind = insert_task(db, "mail", payload=Jsonb({}), depends_on=[bad])
    ended = insert_task(db, "order", payload=Jsonb({}))
    client.cancel(ended)
    running = insert_task(db, "order", payload=Jsonb({}))
    set_running(db, running)
    old = [insert_task(db, "gone"), insert_task(db, "gone")]
    insert_task(db, "pgsched.http", payload=Jsonb({"url": "http://x"}))
    app = an_app(dsn)
    found = app.check_waiting()
    app.close()
    assert [(one.id, one.task_type, one.status, one.fault) for one in found.named] == [
        (
            bad,
            "order",
            "pending",
            'items[1].sku is missing; items[1].count must be a whole number, got "x"; day must be a date, got "soon"',
        ),
        (broken, "order", "pending", "a validator raised RuntimeError: no such luck"),
        (cron, "mail", "pending", "unexpected argument 'whom'"),
        (behind, "mail", "blocked", "missing argument 'to'"),
    ]
    assert (found.checked, found.misfits, found.fits) == (8, 4, False)
    assert [(one.task_type, one.tasks, one.first_id) for one in found.unknown] == [("gone", 2, old[0])]


def test_steps_of_groups_are_looked_at_until_they_are_rows(dsn: str, db: Connection, client: Client) -> None:
    inner = {"task_type": "pgsched.group", "name": "inner", "payload": {"steps": [{"task_type": "nobody"}]}}
    steps = [{"task_type": "mail", "name": "first", "payload": {"who": 1}}, inner]
    group = client.schedule_group({"steps": steps})
    app = an_app(dsn)
    found = app.check_waiting()
    assert [(one.id, one.task_type, one.fault) for one in found.named] == [
        (group, "mail", "step 'first': unexpected argument 'who'")
    ]
    assert [one.task_type for one in found.unknown] == ["nobody"]
    db.execute("update pgsched.tasks set status = 'blocked', fired = '{}', next_run_at = null")
    assert app.check_waiting().fits
    app.close()


async def test_pages_and_limit(dsn: str, db: Connection, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting.find_waiting, "__kwdefaults__", {"page": 2, "scan": 3})
    for _ in range(4):
        client.cancel(insert_task(db, "mail", payload=Jsonb({"to": 1})))
    for _ in range(7):
        insert_task(db, "mail")
    app = an_app(dsn)
    found = await app.check_waiting_async(limit=3)
    await app.close_async()
    assert (found.checked, found.misfits, len(found.named)) == (7, 7, 3)
    with pytest.raises(InvalidTask, match="limit must be between 1 and 10000, got 0"):
        app.check_waiting(limit=0)


def test_another_app_may_have_the_handler_and_an_empty_table_fits(dsn: str, db: Connection) -> None:
    app, other = an_app(dsn), App()
    assert app.check_waiting().fits
    other.task("gone")(lambda: None)
    insert_task(db, "gone")
    assert not app.check_waiting().fits
    assert app.check_waiting(other).fits
    app.close()


PROGRAM = """
from pgsched import App

app, other = App(), App()


@app.task("mail")
def mail(to: str) -> None: ...


@other.task("gone")
def gone() -> None: ...
"""


def test_the_command_says_it_by_its_exit_code(run_pgsched: PgschedRunner, db: Connection) -> None:
    Path(run_pgsched.folder, "tasks.py").write_text(PROGRAM)
    insert_task(db, "gone")
    check = run_pgsched("check", "--app", "tasks:app", "--app", "tasks:other")
    assert check.wait() == 0, check
    assert check.stdout == "1 waiting task checked, all payloads fit\n"
    ids = [insert_task(db, "mail", payload=Jsonb({"to": number})) for number in range(2)]
    check = run_pgsched("check", "--app", "tasks:app", "--limit", "1")
    assert check.wait() == 1, check
    assert check.stdout.splitlines()[1:] == [
        f" {ids[0]}  mail  default  pending  to must be text, got 0",
        "and 1 more: raise --limit to list them",
        "no handler for 'gone': 1 task, the first is 1",
        "3 waiting tasks checked, 2 payloads would not fit",
    ]
    check = run_pgsched("check", "--app", "tasks:app", "--json")
    assert check.wait() == 1, check
    said = json.loads(check.stdout)
    assert (said["checked"], said["misfits"], [one["id"] for one in said["named"]]) == (3, 2, ids)
    assert said["unknown"] == [{"task_type": "gone", "tasks": 1, "first_id": 1}]
