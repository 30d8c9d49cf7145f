"""While a task runs every face says who runs it, since when and in which attempt; the history keeps the machine."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import psycopg

from pgsched import AsyncClient, Client
from pgsched.db.migrations.runner import migrate
from pgsched.domain.records import Task
from tests.support.commands import pgsched
from tests.support.engine import handlers, rows, running_worker
from tests.support.roles import login
from tests.support.tables import add_worker, database, insert_task
from tests.support.waiting import wait_until_async
from tests.support.web_face import web

Database = psycopg.Connection[dict[str, Any]]
HERE = socket.gethostname()


@asynccontextmanager
async def running_task(dsn: str, **options: Any) -> AsyncIterator[Task]:
    """A task that fails once and runs in its second attempt, until the block ends."""
    begun, over = asyncio.Event(), asyncio.Event()
    attempts = 0

    async def mail() -> None:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            raise RuntimeError("the first attempt fails")
        begun.set()
        await over.wait()

    async with AsyncClient(dsn) as client:
        task_id = await client.schedule("mail", backoff_delay=0, idempotency_key="k", **options)
        async with running_worker(dsn, handlers(mail=mail)):
            await begun.wait()
            await wait_until_async(lambda: _is_running(client, task_id), message="the task is leased")
            try:
                yield await client.get(task_id)
            finally:
                over.set()
                await client.wait(task_id, timeout=20)


async def _is_running(client: AsyncClient, task_id: int) -> bool:
    return (await client.status(task_id)).running is not None


async def test_python_says_who_since_when_and_which_attempt(dsn: str) -> None:
    async with running_task(dsn) as task, AsyncClient(dsn) as client:
        status = await client.status(key="k")
        assert status.is_running
        one = status.running
        assert one is not None
        assert (one.attempt, one.status, one.hostname, one.pid) == (2, "running", HERE, os.getpid())
        assert (one.worker_id, one.fencing_token, one.started_at) == (
            task.locked_by,
            task.fencing_token,
            task.started_at,
        )
        assert (one.finished_at, one.duration_ms, one.is_running) == (None, None, True)
        assert one.who == f"{HERE} (pid {os.getpid()})"
        assert [each.attempt for each in await client.executions(task.id)] == [2, 1]  # the one that runs comes first
        assert status.last_execution is not None
        assert (status.last_execution.attempt, status.last_execution.status) == (1, "failed")
        short = await client.status(task.id, limit=1)
        assert [each.attempt for each in short.executions] == [2, 1]
        (first,) = await client.executions(task.id, limit=1)
        (second,) = await client.executions(task.id, limit=1, before=(first.fencing_token, first.started_at))
        assert (first.attempt, second.attempt) == (2, 1)


async def test_the_command_line_says_it(dsn: str) -> None:
    async with running_task(dsn) as task:
        shown = await asyncio.to_thread(pgsched, "task", "show", "k", dsn=dsn)
        told = await asyncio.to_thread(pgsched, "task", "show", task.id, "--json", dsn=dsn)
    running = next(line for line in shown.stdout.splitlines() if line.startswith("running now"))
    assert f"attempt 2 on {HERE} (pid {os.getpid()}), since " in running
    first, second = (
        line for line in shown.stdout.splitlines() if line.lstrip().startswith(("2  running", "1  failed"))
    )
    assert first.lstrip().startswith("2  running")
    assert HERE in first
    assert HERE in second
    assert told.json()["running"]["pid"] == os.getpid()
    assert told.json()["executions"][0]["status"] == "running"


async def test_rest_and_the_dashboard_say_it(dsn: str) -> None:
    async with running_task(dsn) as task, web(dsn) as http:
        told = (await http.get(f"/api/v1/tasks/{task.id}")).json()
        assert (told["is_running"], told["running"]["hostname"], told["running"]["attempt"]) == (True, HERE, 2)
        assert told["last_execution"]["attempt"] == 1
        listed = (await http.get("/api/v1/tasks/by-key/k/executions")).json()["items"]
        assert [(one["status"], one["finished_at"] is None) for one in listed] == [("running", True), ("failed", False)]
        page = (await http.get(f"/tasks/{task.id}")).text
        assert f"attempt 2 on {HERE} (pid {os.getpid()}), since" in page


async def test_sql_says_it(dsn: str) -> None:
    async with running_task(dsn) as task:
        with database(dsn) as db:
            (one,) = rows(db, "select * from pgsched.running_attempts")
    assert (one["task_id"], one["attempt"], one["hostname"], one["pid"]) == (task.id, 2, HERE, os.getpid())
    assert one["locked_until"] > datetime.now(UTC)


async def test_when_nothing_runs_nothing_is_said(dsn: str) -> None:
    with Client(dsn) as client, database(dsn) as db:
        task_id = client.schedule("mail")
        assert (client.status(task_id).running, client.executions(task_id)) == (None, [])
        assert "running now     no" in pgsched("task", "show", task_id, dsn=dsn).stdout
        # Claimed, and not begun: it waits in the worker.
        db.execute(
            "update pgsched.tasks set status = 'running', locked_by = gen_random_uuid(), fencing_token = 7,"
            " locked_until = now() + interval '1 minute', started_at = now(), attempts = 1, unbegun_token = 7"
        )
        assert client.status(task_id).running is None


async def test_the_history_keeps_the_machine_when_the_worker_is_gone(dsn: str) -> None:
    async with running_task(dsn) as task:
        pass
    with Client(dsn) as client, database(dsn) as db:
        assert rows(db, "select from pgsched.workers") == []
        assert [one.hostname for one in client.executions(task.id)] == [HERE, HERE]
        (known,) = rows(db, "select * from pgsched.worker_hosts")
        assert (known["id"], known["pid"], known["last_seen"] > known["started_at"]) == (
            task.locked_by,
            os.getpid(),
            True,
        )
    async with web(dsn) as http:
        listed = (await http.get("/api/v1/executions?within=1h")).json()["items"]
        assert {one["hostname"] for one in listed} == {HERE}
        assert f"{HERE} (pid {os.getpid()})" in (await http.get("/executions")).text


# Kept as long as the history.


def test_a_worker_is_written_once_and_not_by_each_heartbeat(db: Database) -> None:
    add_worker(db, queues=["default"], task_types=["mail"])
    before = rows(db, "select xmin, * from pgsched.worker_hosts")
    for _ in range(3):
        db.execute(
            "insert into pgsched.workers select * from pgsched.workers"
            " on conflict (id) do update set heartbeat_at = now()"
        )
    assert rows(db, "select xmin, * from pgsched.worker_hosts") == before
    assert len(before) == 1
    db.execute("delete from pgsched.workers")
    (after,) = rows(db, "select * from pgsched.worker_hosts")
    assert after["last_seen"] > before[0]["last_seen"]


def test_pruning_the_history_forgets_those_that_are_long_gone(db: Database) -> None:
    db.execute(
        "insert into pgsched.worker_hosts (id, hostname, pid, started_at, last_seen) values"
        " (gen_random_uuid(), 'gone', 1, now() - interval '90 days', now() - interval '40 days'),"
        " (gen_random_uuid(), 'gone lately', 2, now() - interval '90 days', now() - interval '20 days')"
    )
    add_worker(db, queues=["default"], task_types=["mail"])
    db.execute("update pgsched.worker_hosts set last_seen = now() - interval '50 days' where hostname = 'host'")
    db.execute("select pgsched.prune_history(now() - interval '30 days', 1000)")
    fresh = "select hostname, last_seen > now() - interval '1 day' as fresh from pgsched.worker_hosts order by 1"
    assert rows(db, fresh) == [{"hostname": "gone lately", "fresh": False}, {"hostname": "host", "fresh": True}]


def test_a_producer_sees_its_running_attempt_and_no_machine(dsn: str, database_name: str) -> None:
    with database(dsn) as db:
        migrate(dsn, roles=True)
        insert_task(db, idempotency_key="strange")
        with login(dsn, f"one_{database_name}", member_of="pgsched_producer") as mine, Client(mine) as client:
            own = client.schedule("mail")
            db.execute(
                "update pgsched.tasks set status = 'running', locked_by = gen_random_uuid(), fencing_token = 7,"
                " locked_until = now() + interval '1 minute', started_at = now(), attempts = 1"
            )
            db.execute(
                "insert into pgsched.worker_hosts (id, hostname, pid, started_at)"
                " select locked_by, 'secret', 1, now() from pgsched.tasks"
            )
            one = client.status(own).running
            assert one is not None
            assert (one.attempt, one.hostname, one.who) == (1, None, f"worker {one.worker_id}")
            with database(mine) as session:
                assert [row["task_id"] for row in rows(session, "select * from pgsched.running_attempts")] == [own]
                assert rows(session, "select * from pgsched.visible_worker_hosts") == []
