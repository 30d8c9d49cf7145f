"""Values of many types through payloads and results, on a real database."""

from __future__ import annotations

import asyncio
from datetime import date
from typing import Any
from uuid import UUID

import pytest
from psycopg.types.json import Jsonb
from pydantic import BaseModel
from structlog.testing import capture_logs

from pgsched import App, AsyncClient, Client, Context, PayloadMismatch, ResultMismatch, TaskSpec
from pgsched.app.task_handle import TaskHandle
from pgsched.domain.errors import InvalidTask
from pgsched.testing import run_due, run_due_async
from tests.support.engine import engine, handlers, history, rows
from tests.support.process_app import SERVE
from tests.support.process_app import app as process_app
from tests.support.tables import database, insert_task, task_row
from tests.support.typed import MATRIX, NOON, ONE, REFUSED, echoing

LINES = "select level, message from pgsched.execution_logs where task_id = %s order by logged_at"


async def test_every_type_goes_through_a_worker_and_back(dsn: str) -> None:
    seen: dict[str, Any] = {}
    registry = echoing(seen)
    async with AsyncClient(dsn, payloads=registry) as client:
        ids = {name: await client.schedule(name, {"value": MATRIX[name][1]}) for name in MATRIX}
    with database(dsn) as db:
        async with engine(dsn, registry, concurrency=4) as one:
            await one.work()
        for name, (_, value, stored) in MATRIX.items():
            row = task_row(db, ids[name])
            assert (name, row["status"], row["last_error"]) == (name, "completed", None)
            assert (name, row["payload"], row["result"]) == (name, {"value": stored}, stored)
            assert (name, seen[name], type(seen[name])) == (name, value, type(value))
            result = registry.get(name).types.result  # type: ignore[union-attr]
            assert result is not None
            assert result.decode(row["result"]) == value
        assert len(MATRIX) >= 25
        assert rows(db, "select 1 from pgsched.execution_logs") == []


async def test_what_does_not_fit_is_dead_with_the_path_and_never_runs(dsn: str) -> None:
    seen: dict[str, Any] = {}
    with database(dsn) as db:
        ids = [insert_task(db, name, payload=Jsonb({"value": given})) for name, given, _ in REFUSED]
        async with engine(dsn, echoing(seen)) as one:
            await one.work()
        for task_id, (name, _, said) in zip(ids, REFUSED, strict=True):
            row = task_row(db, task_id)
            assert (row["status"], row["attempts"]) == ("dead", 1)
            assert row["last_error"].startswith(f"payload does not fit handler {name!r}: ")
            assert said in row["last_error"]
        assert seen == {}
        assert len({name for name, _, _ in REFUSED}) >= 10


async def test_logs_do_not_show_values_of_a_payload(dsn: str) -> None:
    with database(dsn) as db:
        insert_task(db, "whole", payload=Jsonb({"value": "hunter2"}))
        with capture_logs() as logs:
            async with engine(dsn, echoing({})) as one:
                await one.work()
        row = rows(db, "select last_error from pgsched.tasks")
    assert row == [
        {"last_error": "payload does not fit handler 'whole': value must be a whole number, got \"hunter2\""}
    ]
    (said,) = [one for one in logs if one["event"] == "task_dead"]
    assert said["error"] == "payload does not fit handler 'whole': its last_error says where"
    assert "hunter2" not in str(logs)


async def test_a_child_process_decodes_and_encodes(dsn: str) -> None:
    with database(dsn) as db:
        good = insert_task(db, "typed", payload=Jsonb({"day": "2030-06-01", "octets": "_w=="}))
        bad = insert_task(db, "typed", payload=Jsonb({"day": "soon"}))
        async with engine(dsn, process_app.registry, serve=SERVE) as one:
            await one.work()
        row = task_row(db, good)
        assert (row["status"], row["result"]) == ("completed", [repr(date), "2030-06-02", "__8="])
        assert [line["level"] for line in rows(db, LINES, good)] == ["warning"]
        assert (
            task_row(db, bad)["last_error"] == "payload does not fit handler 'typed': day must be a date, got \"soon\""
        )


async def test_a_transactional_handler_is_typed(dsn: str) -> None:
    async def handler(day: date, ctx: Context) -> date:
        (found,) = await (await ctx.connection.execute("select %s + 1", [day])).fetchone()
        assert isinstance(found, date)
        return found

    registry = handlers()
    registry.register("mail", handler, transactional=True)
    with database(dsn) as db:
        good = insert_task(db, payload=Jsonb({"day": "2030-06-01"}))
        bad = insert_task(db, payload=Jsonb({"day": 1.5}))
        async with engine(dsn, registry) as one:
            await one.work()
        assert task_row(db, good)["result"] == "2030-06-02"
        assert "day must be a date" in task_row(db, bad)["last_error"]


class Receipt(BaseModel):
    id: UUID
    total: int


async def test_a_result_that_does_not_fit_is_kept_and_its_history_says_so(dsn: str) -> None:
    async def handler() -> Receipt:
        return {"id": "secret", "total": NOON}  # type: ignore[return-value]

    with database(dsn) as db:
        task_id, other = insert_task(db), insert_task(db)
        with capture_logs() as logs:
            async with engine(dsn, handlers(mail=handler)) as one:
                await one.work()
        assert len(rows(db, LINES, other)) == 1
        row = task_row(db, task_id)
        assert (row["status"], row["result"]) == ("completed", {"id": "secret", "total": "2030-06-01T12:00:00Z"})
        (line,) = rows(db, LINES, task_id)
        (attempt,) = history(db, task_id)
    assert line["level"] == "warning"
    assert line["message"].startswith("result does not fit the annotation of handler 'mail': id must be a UUID")
    assert (attempt["status"], attempt["error"]) == ("completed", None)
    (said,) = [one for one in logs if one["event"] == "result_changed"]
    assert (said["task_id"], said["task_type"], said["log_level"]) == (task_id, "mail", "warning")
    assert "secret" not in str(logs)


async def test_finished_work_is_completed_whatever_it_returned(dsn: str) -> None:
    results = [{1, 2}, float("nan"), NOON, ONE, b"\xff", "a\x00b", object(), {"x": [object()]}, "x" * 2**21]

    async def handler(number):  # type: ignore[no-untyped-def]
        return results[number]

    with database(dsn) as db:
        ids = [insert_task(db, payload=Jsonb({"number": number})) for number in range(len(results))]
        async with engine(dsn, handlers(mail=handler)) as one:
            await one.work()
        found = [task_row(db, task_id) for task_id in ids]
    assert [row["status"] for row in found] == ["completed"] * len(results)
    assert [row["result"] for row in found[:6]] == [[1, 2], "NaN", NOON.isoformat(), str(ONE), "_w==", "a\\x00b"]


async def test_progress_takes_values_of_python(dsn: str) -> None:
    async def handler(ctx: Context) -> None:
        ctx.progress({"at": NOON, "ids": {ONE}})

    with database(dsn) as db:
        task_id = insert_task(db)
        async with engine(dsn, handlers(mail=handler)) as one:
            await one.work()
        assert task_row(db, task_id)["progress"] == {"at": NOON.isoformat(), "ids": [str(ONE)]}


# The caller's side.


@pytest.fixture
def app(dsn: str) -> Any:
    app = App(dsn=dsn)

    @app.task("send")
    def send(day: date, ids: set[UUID], note: Any = None) -> Receipt:
        return Receipt(id=next(iter(ids)), total=day.year)

    @app.task("bare")
    def bare(day):  # type: ignore[no-untyped-def]
        return day

    yield app
    app.close()


GIVEN: dict[str, Any] = {"day": date(2030, 6, 1), "ids": {ONE}}
STORED = {"day": "2030-06-01", "ids": [str(ONE)]}


def test_clients_of_an_app_encode_and_check_by_the_handler(app: App) -> None:
    client = app.client()
    ids = [client.schedule("send", GIVEN), *client.schedule_many([TaskSpec(task_type="send", payload=STORED)])]
    with client.transaction() as inside:
        ids.append(inside.schedule("send", GIVEN, parent_id=ids[0]))
    assert [client.get(task_id).payload for task_id in ids] == [STORED] * 3
    for refused in (
        lambda: client.schedule("send", {**GIVEN, "ids": ["x"]}),
        lambda: client.schedule_many([TaskSpec(task_type="send", payload={**STORED, "ids": ["x"]})]),
    ):
        with pytest.raises(PayloadMismatch, match=r"handler 'send': ids\[0\] must be a UUID, got \"x\""):
            refused()
    with pytest.raises(PayloadMismatch, match="missing argument 'day', 'ids'"):
        client.schedule("send")
    assert len(client.list_tasks()) == 3


def test_where_no_type_is_known_what_json_does_not_have_is_refused(app: App, dsn: str) -> None:
    with pytest.raises(InvalidTask, match=r"payload\['day'\] must be JSON, got a date"):
        app.client().schedule("bare", {"day": GIVEN["day"]})
    with pytest.raises(InvalidTask, match=r"payload\['note'\] must be JSON, got a date"):
        app.client().schedule("send", {**GIVEN, "note": GIVEN["day"]})
    with Client(dsn) as client, pytest.raises(InvalidTask, match=r"payload\['day'\] must be JSON, got a date"):
        client.schedule("send", GIVEN)


def test_run_due_checks_and_decodes(app: App, dsn: str) -> None:
    with Client(dsn) as bare:
        bad = bare.schedule("send", {"day": "x", "ids": []})
        good = bare.schedule("send", STORED)
    ran = {one.id: one for one in run_due(app, raises=False)}
    assert (ran[bad].outcome, ran[good].result) == ("dead", {"id": str(ONE), "total": 2030})


async def test_results_are_read_as_annotated(app: App) -> None:
    send = app.registry.get("send")
    assert send is not None
    handle = TaskHandle[..., Any](app, send)
    ids = [handle.with_options().schedule(**GIVEN), await handle.with_options(delay=0).schedule_async(**GIVEN)]
    await run_due_async(app)
    expected = Receipt(id=ONE, total=2030)
    assert [await handle.result_async(ids[0], 5), await asyncio.to_thread(handle.result, ids[1], 5)] == [expected] * 2
    with database(app.dsn) as db:
        db.execute("update pgsched.tasks set result = '5' where id = %s", [ids[0]])
    with pytest.raises(
        ResultMismatch, match="result does not fit the annotation of handler 'send': it must be an object"
    ):
        await handle.result_async(ids[0], 5)
    await app.close_async()
