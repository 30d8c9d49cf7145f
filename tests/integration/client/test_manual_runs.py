"""Runs by hand stand in the history of the task that they are a copy of, with who asked for them."""

from __future__ import annotations

import asyncio
import getpass
from typing import Any

import psycopg
import pytest

from pgsched import AsyncClient, Client
from pgsched.db.migrations.runner import migrate
from pgsched.web import WebSettings
from tests.support.commands import pgsched
from tests.support.engine import engine, handlers, rows, running_worker
from tests.support.roles import login
from tests.support.tables import database, insert_task, move_tick, set_completed, task_row
from tests.support.waiting import wait_until_async
from tests.support.web_face import OPERATOR_TOKEN, web

Database = psycopg.Connection[dict[str, Any]]


async def ran(dsn: str) -> tuple[int, int]:
    """A schedule that has run a tick, and then a copy by hand; returns both."""
    with database(dsn) as db, Client(dsn) as client:
        schedule = insert_task(db, "mail", cron_expression="@daily", created_by="code")
        move_tick(db, schedule, "now()")
        async with engine(dsn) as one:
            await one.work()
            copy = client.run_now(schedule, run_by="ann")
            await one.work()
    return schedule, copy


async def test_the_history_of_a_schedule_has_them_in_order(dsn: str) -> None:
    schedule, copy = await ran(dsn)
    async with AsyncClient(dsn) as client:
        found = await client.executions(schedule)
        assert [(one.task_id, one.run_by, one.status) for one in found] == [
            (copy, "ann", "completed"),
            (schedule, None, "completed"),
        ]
        status = await client.status(schedule)
        assert status.last_execution is not None
        assert (status.last_execution.run_by, status.last_execution.task_id) == ("ann", copy)
        assert [one.run_by for one in await client.executions(copy)] == ["ann"]
        assert (await client.get(copy)).created_by == "ann"


async def test_pages_of_the_history_go_on_behind_them(dsn: str) -> None:
    schedule, copy = await ran(dsn)
    with Client(dsn) as client:
        (first,) = client.executions(schedule, limit=1)
        (second,) = client.executions(schedule, limit=1, before=(first.fencing_token, first.started_at))
        assert (first.task_id, second.task_id) == (copy, schedule)
        assert client.executions(schedule, before=(second.fencing_token, second.started_at)) == []


async def test_other_children_are_not_in_it(dsn: str, db: Database) -> None:
    parent = insert_task(db, "mail", cron_expression="@daily")
    # The key of a copy of another task, and a key that only begins like one.
    for key in (None, f"run:{parent + 100}:1", f"run:{parent}", "mine"):
        insert_task(db, "mail", parent_id=parent, created_by="somebody", idempotency_key=key)
    async with engine(dsn) as one:
        await one.work()
    with Client(dsn) as client:
        assert client.executions(parent) == []
    assert rows(db, "select * from pgsched.history(%s)", parent) == []


async def test_a_copy_that_runs_is_no_run_of_the_schedule(dsn: str) -> None:
    begun, over = asyncio.Event(), asyncio.Event()

    async def mail() -> None:
        begun.set()
        await over.wait()

    async with AsyncClient(dsn) as client:
        schedule = await client.schedule("mail", cron="@daily")
        async with running_worker(dsn, handlers(mail=mail)):
            copy = await client.run_now(schedule, run_by="ann")
            await begun.wait()
            leased = client.status
            await wait_until_async(lambda: _runs(client, copy), message="it is leased")
            status = await leased(schedule)
            over.set()
    assert (status.is_running, status.running) == (False, None)
    assert [(one.task_id, one.status, one.run_by) for one in status.executions] == [(copy, "running", "ann")]


async def _runs(client: AsyncClient, task_id: int) -> bool:
    return (await client.status(task_id)).running is not None


async def test_sql_says_it(dsn: str, db: Database) -> None:
    schedule, copy = await ran(dsn)
    found = rows(db, "select task_id, run_by, attempt, status, finished_at from pgsched.history(%s)", schedule)
    assert [(one["task_id"], one["run_by"], one["status"]) for one in found] == [
        (copy, "ann", "completed"),
        (schedule, None, "completed"),
    ]
    assert all(one["finished_at"] for one in found)
    assert [one["run_by"] for one in rows(db, "select run_by from pgsched.history(%s)", copy)] == ["ann"]
    assert len(rows(db, "select run_by from pgsched.history(%s, 1)", schedule)) == 1


def test_without_a_name_it_is_the_role(dsn: str, db: Database) -> None:
    set_completed(db, over := insert_task(db, created_by="shop"))
    ids = [rows(db, f"select pgsched.run_now({over}{more}) as id")[0]["id"] for more in ("", ", ''", ", 'ann'")]
    (role,) = rows(db, "select session_user::text as name")
    assert [task_row(db, task_id)["created_by"] for task_id in ids] == [role["name"], role["name"], "ann"]


def test_many_at_once_say_it_too(dsn: str, db: Database) -> None:
    schedule = insert_task(db, cron_expression="@daily")
    with Client(dsn) as client:
        client.change_tasks("run", run_by="ann", ids=[schedule])
    (copy,) = rows(db, "select created_by from pgsched.tasks where parent_id = %s", schedule)
    assert copy["created_by"] == "ann"


async def test_the_command_line_says_it(dsn: str, db: Database) -> None:
    schedule, copy = await ran(dsn)
    lines = (await asyncio.to_thread(pgsched, "task", "show", schedule, dsn=dsn)).stdout.splitlines()
    head = next(line for line in lines if line.startswith("ATTEMPT"))
    assert head.split()[-4:] == ["RUN", "BY", "AS", "TASK"]
    first, second = (line for line in lines if line.lstrip().startswith("1  completed"))
    assert first.split()[-2:] == ["ann", str(copy)]
    assert second.split()[-2:] == ["-", "-"]
    told = (await asyncio.to_thread(pgsched, "task", "show", schedule, "--json", dsn=dsn)).json()
    assert [one["run_by"] for one in told["executions"]] == ["ann", None]
    for more, who in (((), getpass.getuser()), (("--by", "bob"), "bob")):
        await asyncio.to_thread(pgsched, "task", "run", schedule, *more, dsn=dsn)
        (last,) = rows(db, "select created_by from pgsched.tasks order by id desc limit 1")
        assert last["created_by"] == who


async def test_rest_and_the_dashboard_say_it_and_who_asks_is_who_is_logged_in(dsn: str, db: Database) -> None:
    schedule, copy = await ran(dsn)
    settings = WebSettings(operator_token=OPERATOR_TOKEN)
    async with web(dsn, settings, token=OPERATOR_TOKEN) as http:
        listed = (await http.get(f"/api/v1/tasks/{schedule}/executions")).json()["items"]
        assert [(one["task_id"], one["run_by"]) for one in listed] == [(copy, "ann"), (schedule, None)]
        every = (await http.get("/api/v1/executions")).json()["items"]
        assert [(one["task_id"], one["run_by"]) for one in every] == [(copy, "ann"), (schedule, None)]
        page = (await http.get(f"/tasks/{schedule}")).text
        assert f'run by <span class="cut">ann</span> as <a href="/tasks/{copy}">{copy}</a>' in page
        made = (await http.post(f"/api/v1/tasks/{schedule}/run")).json()
        assert (made["parent_id"], made["created_by"]) == (schedule, "operator")


@pytest.mark.parametrize("mine", [True, False])
async def test_a_producer_sees_those_of_its_own_tasks(dsn: str, database_name: str, mine: bool) -> None:
    migrate(dsn, roles=True)
    with database(dsn) as db, login(dsn, f"producer_{database_name}", member_of="pgsched_producer") as producer:
        with Client(producer if mine else dsn) as client:
            schedule = client.schedule("mail", cron="@daily")
            client.run_now(schedule, run_by="ann")
        async with engine(dsn) as one:
            await one.work()
        with database(producer) as asked:
            found = rows(asked, "select run_by from pgsched.history(%s)", schedule)
        assert [one["run_by"] for one in found] == (["ann"] if mine else [])
        assert len(rows(db, "select * from pgsched.history(%s)", schedule)) == 1
