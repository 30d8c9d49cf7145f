"""Workers with handlers in child processes."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest
from psycopg.types.json import Jsonb

from pgsched.domain.errors import ConfigError, RegistrationError
from pgsched.execution.registry import Registry
from tests.support.engine import engine, history, rows, running_worker
from tests.support.process_app import SERVE, app
from tests.support.tables import database, insert_task, task_row
from tests.support.waiting import wait_until_async

pytestmark = pytest.mark.slow


async def begun(folder: Path) -> int:
    """Wait until the handler runs; returns its process."""
    file = folder / "began"
    await wait_until_async(lambda: file.exists() and file.read_text(), message="the handler runs")
    return int(file.read_text())


async def test_a_task_runs_in_a_child_and_its_result_and_lines_are_kept(dsn: str) -> None:
    with database(dsn) as db:
        ids = [insert_task(db, "pid"), insert_task(db, "talk")]
        async with engine(dsn, app.registry, serve=SERVE) as one:
            await one.work()
        assert [task_row(db, task_id)["status"] for task_id in ids] == ["completed"] * 2
        assert task_row(db, ids[0])["result"] != os.getpid()
        found = rows(db, "select message from pgsched.execution_logs where task_id = %s order by logged_at", ids[1])
    assert [line["message"] for line in found] == ["sold 3", "said"]


async def test_a_death_is_one_failed_attempt_and_the_next_may_go_well(dsn: str, tmp_path: Path) -> None:
    with database(dsn) as db:
        task_id = insert_task(
            db, "gated", payload=Jsonb({"folder": str(tmp_path)}), backoff="fixed", backoff_delay="1 millisecond"
        )
        async with running_worker(dsn, app.registry, serve=SERVE) as worker:
            os.kill(await begun(tmp_path), signal.SIGKILL)
            (tmp_path / "go").touch()
            await wait_until_async(lambda: task_row(db, task_id)["status"] == "completed", message="it is completed")
            assert worker.executor.running == 0
        first, second = history(db, task_id)
    assert (first["status"], first["error"].split(" (")[0]) == ("failed", "the child process was killed by SIGKILL")
    assert (second["status"], second["result"]) == ("completed", "attempt 2")


async def test_a_copy_that_a_handler_forks_ends_with_the_handler_and_says_nothing(dsn: str) -> None:
    """Checked against a child that lets it go on: the copy's 0 is the result, and the next task gets the true one."""
    with database(dsn) as db:
        ids = [insert_task(db, task_type) for task_type in ("fork", "fork_async", "echo")]
        async with engine(dsn, app.registry, serve=SERVE, concurrency=1) as one:
            await one.work()
        assert [task_row(db, task_id)["result"] for task_id in ids] == [70, 70, {}]


@pytest.mark.parametrize("how", ["closed", "reused"])
async def test_a_handler_that_closes_the_connection_of_its_child_has_failed(dsn: str, how: str) -> None:
    """Checked against a child that goes on: the attempt never ended."""
    with database(dsn) as db:
        task_id = insert_task(db, "hang_up", payload=Jsonb({"how": how}), max_attempts=1)
        async with engine(dsn, app.registry, serve=SERVE) as one:
            async with asyncio.timeout(30):
                await one.work()
        row = task_row(db, task_id)
    assert row["status"] == "dead"
    assert row["last_error"].startswith("the handler closed the connection of its child process to the worker")


@pytest.mark.parametrize("how", ["alarm", "raising", "recursion"])
async def test_what_a_handler_does_to_its_child_does_not_end_the_next_attempt(dsn: str, how: str) -> None:
    with database(dsn) as db:
        async with engine(dsn, app.registry, serve=SERVE, concurrency=1) as one:
            first = insert_task(db, "disturb", payload=Jsonb({"how": how}))
            await one.work()
            second = insert_task(db, "work")
            await one.work()
        rows = [task_row(db, task_id) for task_id in (first, second)]
    assert [row["status"] for row in rows] == ["completed"] * 2, rows
    assert rows[0]["result"] == rows[1]["result"]


async def test_a_cancel_ends_the_child_and_frees_its_slot(dsn: str, tmp_path: Path) -> None:
    with database(dsn) as db:
        task_id = insert_task(db, "wait", payload=Jsonb({"folder": str(tmp_path)}))
        async with running_worker(dsn, app.registry, serve=SERVE) as worker:
            await wait_until_async(lambda: worker.counts.listener_connected, message="it listens")
            await begun(tmp_path)
            db.execute("select pgsched.cancel(%s)", (task_id,))
            await wait_until_async(lambda: worker.executor.running == 0, message="its slot is free")
            await wait_until_async(lambda: worker.executor.processes.count == 0, message="its child has ended")
        row, (run,) = task_row(db, task_id), history(db, task_id)
    assert (row["status"], run["status"], (tmp_path / "cleaned").exists()) == ("cancelled", "cancelled", True)


async def test_a_timeout_ends_the_child(dsn: str, tmp_path: Path) -> None:
    with database(dsn) as db:
        task_id = insert_task(
            db, "stubborn", payload=Jsonb({"folder": str(tmp_path)}), timeout="200 milliseconds", max_attempts=1
        )
        async with engine(dsn, app.registry, serve=SERVE) as one:
            await one.work()
            assert task_row(db, task_id)["status"] == "dead"
            await wait_until_async(lambda: one.worker.executor.processes.count == 0, message="its child was killed")
        (run,) = history(db, task_id)
    assert (run["status"], run["error"]) == ("timed_out", "timed out after 0.2 s")


async def test_a_stopping_worker_gives_back_what_its_children_do_not_end(dsn: str, tmp_path: Path) -> None:
    with database(dsn) as db:
        task_id = insert_task(db, "wait", payload=Jsonb({"folder": str(tmp_path)}))
        async with running_worker(dsn, app.registry, serve=SERVE, shutdown_timeout=0) as worker:
            pid = await begun(tmp_path)
        assert worker.executor.processes.count == 0
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
        row = task_row(db, task_id)
        assert (row["status"], row["attempts"], history(db, task_id)) == ("pending", 0, [])


async def test_a_child_that_starts_while_the_worker_stops_does_not_stay(dsn: str) -> None:
    with database(dsn) as db:
        task_id = insert_task(db, "pid")
        async with running_worker(dsn, app.registry, serve=SERVE, shutdown_timeout=0) as worker:
            await wait_until_async(lambda: worker.executor.processes.count == 1, message="a child is being started")
        assert worker.executor.processes.count == 0
        assert task_row(db, task_id)["status"] in ("pending", "completed")


async def test_other_tasks_go_on_while_a_child_is_busy(dsn: str, tmp_path: Path) -> None:
    registry = Registry()
    for handler in app.registry:
        registry.register(handler.task_type, handler.function, executor="process", memory_limit=handler.memory_limit)
    ran = asyncio.Event()

    async def quick() -> None:
        ran.set()

    registry.register("quick", quick)
    with database(dsn) as db:
        insert_task(db, "wait", payload=Jsonb({"folder": str(tmp_path)}))
        async with running_worker(dsn, registry, serve=SERVE, shutdown_timeout=0):
            await begun(tmp_path)
            insert_task(db, "quick")
            await ran.wait()


def test_a_worker_without_a_path_to_its_application_is_refused(dsn: str) -> None:
    async def start() -> None:
        async with running_worker(dsn, app.registry):
            pass

    with pytest.raises(ConfigError) as refused:
        asyncio.run(start())
    assert str(refused.value).startswith("handler 'babble' has executor=\"process\", and ")
    assert str(refused.value).endswith("pgsched worker --app module:app")


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"executor": "thread"}, "handler 'x': executor must be auto or process, got 'thread'"),
        ({"memory_limit": "1GB"}, "handler 'x': memory_limit needs executor=\"process\""),
        ({"executor": "process", "memory_limit": "much"}, "memory_limit must be a number of bytes or a text"),
        ({"executor": "process", "memory_limit": 0}, "memory_limit must be at least 1MB, got 0"),
        ({"executor": "process", "memory_limit": "10KB"}, "memory_limit must be at least 1MB, got '10KB'"),
        ({"executor": "process", "memory_limit": True}, "memory_limit must be a number of bytes or a text"),
    ],
)
def test_an_executor_that_makes_no_sense_is_refused(options: dict[str, object], rule: str) -> None:
    with pytest.raises(RegistrationError) as refused:
        Registry().register("x", lambda: None, **options)  # type: ignore[arg-type]
    assert rule in str(refused.value)


@pytest.mark.parametrize(
    ("given", "expected"),
    [("512MB", 512 * 2**20), ("1.5 gib", 1.5 * 2**30), (3_000_000, 3_000_000), ("2048KB", 2**21)],
)
def test_a_memory_limit_may_be_written_in_units(given: str | int, expected: float) -> None:
    handler = Registry().register("x", lambda: None, executor="process", memory_limit=given)
    assert handler.memory_limit == expected
