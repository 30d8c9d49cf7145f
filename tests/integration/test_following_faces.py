"""A task that follows a schedule is the same row from each face, and each face says so."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from pgsched.app.app import App
from pgsched.client.async_client import AsyncClient
from pgsched.client.client import Client
from pgsched.domain.task_spec import TaskSpec
from pgsched.execution.context import Context
from pgsched.flow import group
from tests.support.commands import pgsched
from tests.support.engine import engine, handlers, nothing
from tests.support.tables import database
from tests.support.web_face import web

OPTIONS: dict[str, Any] = {"dependency_mode": "each", "on_dependency_dead": "run"}
Face = Callable[[str, int], Awaitable[object]]


async def by_insert(dsn: str, schedule: int) -> None:
    with database(dsn) as db:
        db.execute(
            "insert into pgsched.tasks (task_type, depends_on, dependency_mode, on_dependency_dead)"
            " values ('tell', %s, 'each', 'run')",
            ([schedule],),
        )


async def by_function(dsn: str, schedule: int) -> None:
    with database(dsn) as db:
        db.execute(
            "select pgsched.schedule('tell', depends_on => %s, dependency_mode => 'each', on_dependency_dead => 'run')",
            ([schedule],),
        )


async def by_upsert(dsn: str, schedule: int) -> None:
    task = {"task_type": "tell", "idempotency_key": "k", "depends_on": [schedule], **OPTIONS}
    with database(dsn) as db:
        db.execute("select pgsched.upsert(%s)", (json.dumps(task),))


async def by_copy(dsn: str, schedule: int) -> None:
    columns = "task_type, depends_on, dependency_mode, on_dependency_dead"
    with database(dsn) as db, db.cursor().copy(f"copy pgsched.tasks ({columns}) from stdin") as copy:  # type: ignore[arg-type]
        copy.write_row(("tell", [schedule], "each", "run"))


async def by_app_client(dsn: str, schedule: int) -> None:
    app = App(dsn=dsn)
    app.client().schedule("tell", depends_on=[schedule], **OPTIONS)
    app.close()


async def by_bare_client(dsn: str, schedule: int) -> None:
    with Client(dsn) as client:
        client.schedule("tell", depends_on=[schedule], **OPTIONS)


async def by_bare_async_client(dsn: str, schedule: int) -> None:
    async with AsyncClient(dsn) as client:
        await client.schedule("tell", depends_on=[schedule], **OPTIONS)


async def by_schedule_many(dsn: str, schedule: int) -> None:
    with Client(dsn) as client:
        client.schedule_many([TaskSpec(task_type="tell", depends_on=[schedule], **OPTIONS)])


async def by_command(dsn: str, schedule: int) -> None:
    options = ("--depends-on", str(schedule), "--dependency-mode", "each", "--on-dependency-dead", "run")
    made = await asyncio.to_thread(pgsched, "task", "add", "tell", *options, dsn=dsn)
    assert made.code == 0, made.stderr


async def by_rest(dsn: str, schedule: int) -> None:
    async with web(dsn) as http:
        made = await http.post("/api/v1/tasks", json={"task_type": "tell", "depends_on": [schedule], **OPTIONS})
        assert made.status_code == 201, made.text


async def by_dashboard(dsn: str, schedule: int) -> None:
    form = {"task_type": "tell", "payload": "{}", "depends_on": f" {schedule} ", **OPTIONS}
    async with web(dsn) as http:
        answer = await http.post("/schedules/new", data=form)
        assert answer.status_code == 303, answer.text


async def by_child(dsn: str, schedule: int) -> None:
    async def parent(ctx: Context) -> None:
        async with AsyncClient(dsn) as client:
            await client.schedule("tell", depends_on=[schedule], parent_id=ctx.id, **OPTIONS)

    with Client(dsn) as client:
        client.schedule("parent")
    async with engine(dsn, handlers(parent=parent)) as one:
        await one.work()


FACES: list[Face] = [
    by_insert, by_function, by_upsert, by_copy, by_app_client, by_bare_client, by_bare_async_client, by_schedule_many,
    by_command, by_rest, by_dashboard, by_child,
]  # fmt: skip


@pytest.mark.parametrize("face", FACES, ids=lambda face: face.__name__)
async def test_each_face_makes_a_follower(dsn: str, face: Face) -> None:
    with Client(dsn) as client:
        schedule = client.schedule("load", every="1h")
        await face(dsn, schedule)
        (task,) = client.list_tasks(task_type="tell")
        assert (task.status, task.next_run_at, task.waiting_for, task.schedule_type) == ("blocked", None, 1, "one_time")
        assert (task.depends_on, task.dependency_mode, task.on_dependency_dead) == ([schedule], "each", "run")


async def test_a_group_follows_from_the_command_line_and_the_client(dsn: str) -> None:
    with Client(dsn) as client:
        schedule = client.schedule("load", every="1h")
        one = client.schedule_group(group("tell"), depends_on=[schedule], dependency_mode="each")
        options = ("--depends-on", str(schedule), "--dependency-mode", "each")
        made = await asyncio.to_thread(pgsched, "group", "add", "-", *options, dsn=dsn, stdin='{"steps": ["tell"]}')
        assert made.code == 0, made.stderr
        assert {client.get(id).dependency_mode for id in (one, int(made.stdout))} == {"each"}


async def test_each_face_refuses_one_that_follows_nothing(dsn: str) -> None:
    rule = "dependency_mode each needs one task in depends_on, got 0"
    refused = await asyncio.to_thread(pgsched, "task", "add", "tell", "--dependency-mode", "each", dsn=dsn)
    assert (refused.code, rule in refused.stderr) == (1, True)
    async with web(dsn) as http:
        answer = await http.post("/api/v1/tasks", json={"task_type": "tell", "dependency_mode": "each"})
        assert (answer.status_code, rule in answer.json()["detail"]) == (422, True)
        form = {"task_type": "tell", "payload": "{}", "dependency_mode": "each"}
        answer = await http.post("/schedules/new", data=form)
        assert (answer.status_code, rule in answer.text) == (422, True)
        answer = await http.post("/schedules/new", data=form | {"depends_on": "1, two"})
        assert (answer.status_code, "depends_on must be a whole number" in answer.text) == (422, True)


async def test_each_face_shows_what_a_task_follows(dsn: str) -> None:
    with Client(dsn) as client:
        schedule = client.schedule("load", every="1h")
        follower = client.schedule("tell", depends_on=[schedule], dependency_mode="each")
        words = f"after each completed tick of task {schedule}"
        assert client.status(follower).schedule == words
        shown = await asyncio.to_thread(pgsched, "task", "show", str(follower), dsn=dsn)
        assert words in shown.stdout
        async with web(dsn) as http:
            assert (await http.get(f"/api/v1/tasks/{follower}")).json()["schedule"] == words
            page = (await http.get(f"/tasks/{follower}")).text
            assert words in page
            assert f'<dt>Follows</dt><dd><a href="/tasks/{schedule}">{schedule}</a>' in page


async def test_the_form_of_a_follower_changes_what_it_follows_and_keeps_it_otherwise(dsn: str) -> None:
    with Client(dsn) as client:
        first, second = client.schedule("load", every="1h"), client.schedule("load", every="1h")
        follower = client.schedule("tell", depends_on=[first], dependency_mode="each")
        async with web(dsn) as http:
            form = {"depends_on": str(first), "on_dependency_dead": "wait", "priority": "9"}
            assert (await http.post(f"/tasks/{follower}/edit", data=form)).status_code == 303
            task = client.get(follower)
            assert (task.depends_on, task.on_dependency_dead, task.priority) == ([first], "wait", 9)
            assert (await http.post(f"/tasks/{follower}/edit", data={"depends_on": str(second)})).status_code == 303
        assert client.get(follower).depends_on == [second]


async def test_the_worker_of_a_follower_runs_it_in_its_own_queue(dsn: str) -> None:
    with Client(dsn) as client:
        schedule = client.schedule("load", every="1h")
        follower = client.schedule("tell", depends_on=[schedule], dependency_mode="each", queue="reports")
        with database(dsn) as db:
            db.execute("update pgsched.tasks set next_run_at = now() where id = %s", (schedule,))
        async with engine(dsn, handlers(load=nothing)) as one:
            await one.work()
        (run,) = client.list_tasks(parent_id=follower)
        assert (run.queue, run.status) == ("reports", "pending")
