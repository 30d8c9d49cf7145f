"""Clients of an app encode typed payloads of edits, retries and steps by name; workers the typed result of Finished."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

import psycopg
import pytest

from pgsched import App, Client, Finished, InvalidTask, PayloadMismatch, TaskNotFound
from pgsched.flow import chain, parallel, step
from pgsched.testing import run_due, run_due_async
from tests.support.tables import set_dead, task_row

Connection = psycopg.Connection[dict[str, Any]]
DAY, ORDER = date(2030, 6, 1), UUID("4f9d2c9c-6a3e-4f43-9a5e-0f8f3f1f5a10")
STORED = {"order": str(ORDER), "day": "2030-06-01"}


@pytest.fixture
def app(dsn: str) -> Iterator[App]:
    app = App(dsn=dsn)

    @app.task("order")
    def order(order: UUID, day: date = DAY) -> Decimal:
        raise Finished(Decimal("1.10"))

    @app.task("untyped")
    def untyped(**anything: Any) -> None: ...

    yield app
    app.close()


def payload(db: Connection, task: int) -> Any:
    return task_row(db, task)["payload"]


def test_update_encodes_and_checks(app: App, db: Connection) -> None:
    client = app.client()
    task = client.schedule("order", {"order": ORDER}, idempotency_key="k")
    client.update(key="k", payload={"order": ORDER, "day": DAY})
    assert payload(db, task) == STORED
    with pytest.raises(PayloadMismatch, match='day must be a date, got "soon"'):
        client.update(task, {"order": ORDER, "day": "soon"})
    with pytest.raises(PayloadMismatch, match="missing argument 'order'"):
        client.update(task, {})
    with pytest.raises(TaskNotFound):
        client.update(4711, {"order": ORDER})
    assert payload(db, task) == STORED
    client.update(task, priority=9)
    assert (task_row(db, task)["priority"], payload(db, task)) == (9, STORED)


def test_a_bare_client_and_an_untyped_handler_take_json_as_ever(app: App, db: Connection, client: Client) -> None:
    task = client.schedule("order", {"order": "x"})
    client.update(task, {"order": "y"})
    assert payload(db, task) == {"order": "y"}
    with pytest.raises(InvalidTask, match="must be JSON"):
        client.update(task, {"order": ORDER})
    other = app.client().schedule("untyped", {"a": 1})
    app.client().update(other, {"a": 2})
    assert payload(db, other) == {"a": 2}


async def test_retry_takes_another_payload(app: App, dsn: str, db: Connection) -> None:
    with Client(dsn) as bare:
        task = bare.schedule("order", {"order": "x"})
    await run_due_async(app, raises=False)
    assert task_row(db, task)["status"] == "dead"
    client = app.async_client()
    with pytest.raises(PayloadMismatch, match="order must be a UUID"):
        await client.retry(task, payload={"order": "y"})
    assert task_row(db, task)["status"] == "dead"
    await client.retry(task, payload={"order": ORDER, "day": DAY})
    row = task_row(db, task)
    assert (row["status"], row["attempts"], row["payload"]) == ("pending", 0, STORED)
    await app.close_async()


def test_retry_without_one_keeps_it_and_a_refused_one_changes_nothing(db: Connection, client: Client) -> None:
    task = client.schedule("mail", {"a": 1}, idempotency_key="k")
    set_dead(db, task)
    with pytest.raises(InvalidTask, match="payload must be a dictionary"):
        client.retry(key="k", payload=[1])  # type: ignore[arg-type]
    client.retry(key="k")
    assert (task_row(db, task)["status"], payload(db, task)) == ("pending", {"a": 1})


def test_steps_by_name_are_encoded_and_checked(app: App, db: Connection) -> None:
    client = app.client()
    nested = {"steps": [{"task_type": "order", "payload": {"order": ORDER}}]}
    inner = {"task_type": "pgsched.group", "name": "in", "payload": nested}
    by_hand = client.schedule_group({"steps": [{"task_type": "order", "payload": {"order": ORDER, "day": DAY}}, inner]})
    steps = payload(db, by_hand)["steps"]
    assert [steps[0]["payload"], steps[1]["payload"]["steps"][0]["payload"]] == [STORED, {"order": str(ORDER)}]
    parts = client.schedule_group(
        chain(parallel(step("order", {"order": ORDER}, name="a"), step("untyped")), step("order", STORED, name="b"))
    )
    assert {one.get("name"): one.get("payload") for one in payload(db, parts)["steps"]} == {
        "a": {"order": str(ORDER)},
        None: None,
        "b": STORED,
    }
    for wrong in (step("order", {"order": 7}), step("order")):
        with pytest.raises(PayloadMismatch, match="payload does not fit handler 'order'"):
            client.schedule_group(wrong)
    with pytest.raises(InvalidTask, match=r"payload.*must be JSON"):
        client.schedule_group(step("unknown", {"at": DAY}))
    client.update(by_hand, {"steps": [{"task_type": "order", "payload": {"order": ORDER}}]})
    assert payload(db, by_hand)["steps"][0]["payload"] == {"order": str(ORDER)}


def test_finished_encodes_by_the_annotation(app: App, db: Connection) -> None:
    task = app.client().schedule("order", {"order": ORDER})
    assert [(one.outcome, one.result) for one in run_due(app)] == [("completed", "1.10")]
    assert task_row(db, task)["result"] == "1.10"
    assert db.execute("select 1 from pgsched.execution_logs").fetchall() == []
