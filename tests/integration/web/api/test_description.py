"""The description of the REST API: complete, and its examples are true."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import pytest
from psycopg.types.json import Jsonb
from pydantic import TypeAdapter

from pgsched.domain import durable_records, records, stats, worker_records
from pgsched.domain.scheduling.calendars import Calendar
from pgsched.domain.task_filters import TaskFilters
from pgsched.domain.task_spec import TaskOptions
from pgsched.domain.unique import Unique
from pgsched.web import create_app
from pgsched.web.api import examples, shapes
from pgsched.web.api.bodies import SHORT, NewGroup, NewTask, TaskEdit, UniqueFields
from pgsched.web.api.task_query import BulkFilter, TaskQuery
from tests.support.doc_examples import table
from tests.support.durable import record_steps
from tests.support.roll_ups import add_error
from tests.support.tables import WORKER, add_worker, database, insert_task, set_dead, set_running
from tests.support.web_face import web

DESCRIPTION: dict[str, Any] = create_app("").openapi()
STREAMS = ("/api/v1/events",)


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, of_path in DESCRIPTION["paths"].items():
        if path.startswith("/api/"):
            for method, operation in of_path.items():
                yield method.upper(), path, operation


each_operation = pytest.mark.parametrize(
    ("method", "path", "operation"), list(operations()), ids=[f"{one[0]} {one[1]}" for one in operations()]
)
each_that_ends = pytest.mark.parametrize(
    ("method", "path", "operation"),
    [one for one in operations() if one[1] not in STREAMS],
    ids=[f"{one[0]} {one[1]}" for one in operations() if one[1] not in STREAMS],
)


def examples_of_body(operation: dict[str, Any]) -> list[Any]:
    content = operation.get("requestBody", {}).get("content", {})
    return [one["value"] for one in content.get("application/json", {}).get("examples", {}).values()]


@each_operation
def test_operation_is_described_with_examples(method: str, path: str, operation: dict[str, Any]) -> None:
    assert operation["summary"]
    assert operation["description"]
    if "requestBody" in operation:
        assert examples_of_body(operation)
    good = [answer for code, answer in operation["responses"].items() if code in ("200", "201")]
    assert good or "204" in operation["responses"]
    if good and path not in STREAMS:
        assert any("example" in content for answer in good for content in answer["content"].values())
    assert {"401", "403", "422", "503"} <= operation["responses"].keys()
    for code, answer in operation["responses"].items():
        if code.startswith(("4", "5")):
            assert list(answer["content"]) == ["application/problem+json"], code


@each_that_ends
async def test_examples_of_requests_are_accepted(dsn: str, method: str, path: str, operation: dict[str, Any]) -> None:
    with database(dsn) as connection:
        task_id = insert_task(connection, queue="mail", scheduled_for="2030-01-01T00:00:00Z")
        if path.endswith("/retry") and "errors" not in path:
            set_dead(connection, task_id)
        elif path.endswith(("/skip", "/backfill", "/replan")):
            task_id = insert_task(connection, queue="mail", cron_expression="0 8 * * *")
        elif path.endswith("/restart"):
            record_steps(connection, task_id, "charge")
        elif path.endswith("/steps"):
            task_id = insert_task(connection, "pgsched.group", payload=Jsonb({"steps": ["extract"]}))
            set_running(connection, task_id)
            connection.execute(
                "select pgsched.fire_group(id, fencing_token) from pgsched.tasks where id = %s", (task_id,)
            )
        elif path.startswith("/api/v1/errors/{id}"):
            add_error(connection, str(task_id))
        elif path == "/api/v1/calendars/{name}" and method != "PUT":
            connection.execute("insert into pgsched.calendars (name, days) values ('mail', '{12-25}')")
        elif path == "/api/v1/views/{name}" and method != "PUT":
            connection.execute("insert into pgsched.saved_views values ('mail', 'queue:mail', 'ann')")
        elif path.startswith("/api/v1/bulk-changes/{id}"):
            status = "stopped" if path.endswith("/resume") else "waiting"
            row = connection.execute(
                "insert into pgsched.bulk_changes (action, filter, described, status, actor, role, starts_at) "
                "values ('cancel', '{}', '', %s, 'ann', 'operator', now() + interval '1 hour') returning id",
                (status,),
            ).fetchone()
            assert row is not None
            task_id = row["id"]
        connection.execute("update pgsched.tasks set idempotency_key = 'a/b' where id = %s", (task_id,))
        add_worker(connection, queues=["mail"], task_types=["mail"])
        connection.execute("update pgsched.workers set id = %s, state = 'active'", (WORKER,))
        id = str(WORKER) if "/workers/" in path else str(task_id)
    query = {"cron": "0 8 * * 1"} if path.endswith("/preview") else {}
    async with web(dsn) as http:
        for body in examples_of_body(operation) or [None]:
            url = path.replace("{id}", id).replace("{name}", "mail").replace("{key}", "a%2Fb")
            answer = await http.request(method, url, json=body, params=query)
            assert answer.status_code in (200, 201, 204), answer.text


SHAPES = {
    "TASK": shapes.TaskShape,
    "DEAD": shapes.TaskShape,
    "STATUS": shapes.TaskStatusShape,
    "EXECUTION": shapes.ExecutionShape,
    "MISSED": shapes.MissedTicksShape,
    "LOG_ENTRY": shapes.LogEntryShape,
    "DURABLE_STEP": shapes.DurableStepShape,
    "DURABLE_EVENT": shapes.DurableEventShape,
    "NODE": shapes.NodeShape,
    "PREVIEW": shapes.PreviewShape,
    "CHANGED": shapes.ChangedShape,
    "BACKFILL": shapes.BackfillShape,
    "CALENDAR": shapes.CalendarShape,
    "SETTINGS": shapes.QueueSettingsShape,
    "QUEUE": shapes.QueueShape,
    "WORKER": shapes.WorkerShape,
    "STATS": shapes.StatsShape,
}


@pytest.mark.parametrize("name", SHAPES)
def test_example_of_an_answer_has_its_shape(name: str) -> None:
    example = getattr(examples, name)
    TypeAdapter(SHAPES[name]).validate_python(example)
    assert example.keys() == SHAPES[name].model_fields.keys()


@pytest.mark.parametrize(
    ("record", "shape"),
    [
        (records.Task, shapes.TaskShape),
        (records.Execution, shapes.ExecutionShape),
        (records.MissedTicks, shapes.MissedTicksShape),
        (records.LogEntry, shapes.LogEntryShape),
        (durable_records.DurableStep, shapes.DurableStepShape),
        (durable_records.DurableEvent, shapes.DurableEventShape),
        (records.QueueInfo, shapes.QueueShape),
        (records.QueueSettings, shapes.QueueSettingsShape),
        (Calendar, shapes.CalendarShape),
        (worker_records.WorkerTrouble, shapes.WorkerTroubleShape),
        (worker_records.WorkerInfo, shapes.WorkerShape),
        (stats.Stats, shapes.StatsShape),
    ],
)
def test_shape_has_the_fields_of_its_record(record: Any, shape: Any) -> None:
    assert [field.name for field in fields(record)] == list(shape.model_fields)


def test_body_has_every_option_of_schedule() -> None:
    said = set(NewTask.model_fields) - set(SHORT) - {"task_type", "payload", "delay_ms", "unique"}
    assert said == set(TaskOptions.__annotations__)
    assert set(NewTask.model_fields) == set(TaskEdit.model_fields) | {"task_type", "unique"}
    assert set(NewGroup.model_fields) == set(TaskEdit.model_fields) | {"steps", "unique"}
    assert set(UniqueFields.model_fields) == {one.name for one in fields(Unique) if one.init}


def test_query_and_bulk_have_every_filter() -> None:
    filters = (set(TaskFilters.__annotations__) - {"ids", "text", "label", "query"}) | {"id", "q"}
    assert set(TaskQuery.model_fields) - {"limit", "cursor", "fields"} == filters
    assert set(BulkFilter.model_fields) == filters


def test_page_lists_every_operation() -> None:
    documented = {(row["method"], row["path"]): row["what it does"] for row in table("rest", "Operations").rows}
    assert documented == {
        (method, path.removeprefix("/api/v1")): operation["summary"]
        for method, path, operation in operations()
        if "/by-key/" not in path  # one sentence says that they are there: test_by_key.py holds it
    }


def test_page_lists_every_filter() -> None:
    documented = {row["filter"] for row in table("rest", "Filters").rows}
    assert documented == set(BulkFilter.model_fields)
