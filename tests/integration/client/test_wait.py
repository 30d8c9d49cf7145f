"""Waiting for a task's end from a program."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from pgsched import AsyncClient, Client, InvalidTask, TaskFailed, TaskNotFound
from pgsched.domain.interval import Interval
from pgsched.domain.wait import LONGEST_PAUSE, Waiting
from tests.support.commands import pgsched
from tests.support.engine import engine, handlers, running_worker
from tests.support.tables import database, insert_task, set_dead, set_running, task_row
from tests.support.waiting import wait_until, wait_until_async

Database = psycopg.Connection[dict[str, Any]]


def waited(dsn: str, task_id: int, then: Callable[[Database], object]) -> Any:
    """What a client that waits gets when ``then`` is done after its first looks."""
    got: list[Any] = []

    def wait() -> None:
        with Client(dsn) as client:
            looked.set()
            try:
                got.append(client.wait(task_id, 20))
            except Exception as error:  # noqa: BLE001
                got.append(error)

    looked = threading.Event()
    thread = threading.Thread(target=wait)
    thread.start()
    looked.wait(10)
    with database(dsn) as db:
        wait_until(lambda: _looks(db) >= 1, message="it has looked")
        then(db)
    thread.join(20)
    assert len(got) == 1, "it still waits"
    if isinstance(got[0], Exception):
        raise got[0]
    return got[0]


def _looks(db: Database) -> int:
    return len(
        db.execute(
            "select from pg_stat_activity where datname = current_database() and application_name = 'pgsched client'"
            " and query like '%next_token%' and state = 'idle'"
        ).fetchall()
    )


def complete(task_id: int, result: str | None) -> Callable[[Database], object]:
    return lambda db: db.execute(
        """
        update pgsched.tasks
        set status = 'completed', completed_at = now(), next_run_at = null, result = %s::jsonb, locked_by = null,
          locked_until = null
        where id = %s
        """,
        (result, task_id),
    )


@pytest.mark.parametrize(("result", "value"), [('{"sent": [1]}', {"sent": [1]}), ("0", 0), (None, None)])
def test_the_result_comes_when_the_task_is_completed(dsn: str, result: str | None, value: Any) -> None:
    with database(dsn) as db:
        task_id = insert_task(db)
    assert waited(dsn, task_id, complete(task_id, result)) == value


async def test_a_real_worker_s_result_comes_to_an_async_client(dsn: str) -> None:
    async with AsyncClient(dsn) as client, running_worker(dsn, handlers(mail=lambda: [7])):
        task_id = await client.schedule("mail")
        assert await client.wait(task_id, timeout="20s") == [7]
        assert await client.wait(task_id) == [7], "of a task that is over at once"


def test_a_death_while_it_waits_is_raised(dsn: str) -> None:
    with database(dsn) as db:
        task_id = insert_task(db)
    with pytest.raises(TaskFailed, match=rf"^task {task_id} is dead: no luck$") as failed:
        waited(dsn, task_id, lambda db: set_dead(db, task_id, error="no luck\n\nTraceback …"))
    assert failed.value.error == "no luck\n\nTraceback …"
    assert (failed.value.task.id, failed.value.task.status) == (task_id, "dead")


def test_a_cancel_while_it_waits_is_raised(dsn: str) -> None:
    with database(dsn) as db:
        task_id = insert_task(db)
    with pytest.raises(TaskFailed, match=rf"^task {task_id} is cancelled$") as failed:
        waited(dsn, task_id, lambda db: db.execute("select pgsched.cancel(%s)", (task_id,)))
    assert failed.value.error is None


def test_a_deleted_task_is_not_found(dsn: str) -> None:
    with database(dsn) as db:
        task_id = insert_task(db)
    with pytest.raises(TaskNotFound, match=f"task {task_id} does not exist"):
        waited(dsn, task_id, lambda db: db.execute("delete from pgsched.tasks where id = %s", (task_id,)))


def test_a_wait_ends_with_its_timeout(dsn: str) -> None:
    with database(dsn) as db:
        task_id = insert_task(db)
        running = insert_task(db)
        set_running(db, running)
    with Client(dsn) as client:
        with pytest.raises(TimeoutError, match=rf"task {task_id} is still pending after 0.05 s"):
            client.wait(task_id, timeout=0.05)
        with pytest.raises(TimeoutError, match=rf"task {running} is still running after 0 s"):
            client.wait(running, timeout=0)


@pytest.mark.parametrize("timeout", [-1, "soon", True, float("nan"), object()])
def test_a_timeout_that_is_none_is_refused(dsn: str, timeout: Any) -> None:
    with Client(dsn) as client, pytest.raises(InvalidTask, match="timeout"):
        client.wait(1, timeout=timeout)


# Schedules.


async def test_of_a_schedule_the_next_completed_tick_is_waited_for(dsn: str) -> None:
    runs: list[int] = []

    def tick() -> int:
        runs.append(1)
        if len(runs) == 2:
            raise ValueError("this one fails")
        return len(runs)

    with database(dsn) as db:
        task_id = insert_task(db, repeat_interval="10 milliseconds", max_attempts=1, on_missed="all")
        async with engine(dsn, handlers(mail=tick)) as one, AsyncClient(dsn) as client:
            while len(runs) < 1:
                await one.work()
            assert task_row(db, task_id)["result"] == 1
            waiting = asyncio.create_task(client.wait(task_id, 20))

            async def over() -> bool:
                await one.work()
                return waiting.done()

            await wait_until_async(over, message="the wait is over")
            assert await waiting >= 3, "neither the tick before nor the one that died"


async def test_a_tick_that_runs_when_the_wait_begins_counts(dsn: str) -> None:
    go = asyncio.Event()

    async def tick() -> str:
        await go.wait()
        return "this one"

    with database(dsn) as db:
        task_id = insert_task(db, repeat_interval="1 hour")
        async with running_worker(dsn, handlers(mail=tick)) as worker, AsyncClient(dsn) as client:
            await wait_until_async(lambda: worker.executor.running == 1, message="the tick runs")
            waiting = asyncio.create_task(client.wait(task_id, 20))
            await wait_until_async(lambda: _looks(db), message="it has looked")
            go.set()
            assert await waiting == "this one"


async def test_ticks_that_overlap_count_too(dsn: str) -> None:
    with database(dsn) as db:
        task_id = insert_task(db, repeat_interval="20 milliseconds", overlap="allow")
        async with running_worker(dsn, handlers(mail=lambda: "child")), AsyncClient(dsn) as client:
            assert await client.wait(task_id, 20) == "child"
        assert task_row(db, task_id)["result"] is None


def test_of_a_schedule_that_is_over_the_last_result_is_given(dsn: str) -> None:
    with database(dsn) as db:
        task_id = insert_task(db, repeat_interval="1 hour")
        complete(task_id, "5")(db)
    with Client(dsn) as client:
        assert client.wait(task_id) == 5


# How often it looks.


def test_pauses_grow_and_end_with_the_timeout() -> None:
    now = [100.0]
    waiting = Waiting(1, Interval(microseconds=2_000_000), clock=lambda: now[0])
    pauses = []
    while True:
        try:
            pauses.append(waiting.pause())
        except TimeoutError:
            break
        now[0] += pauses[-1]
    assert pauses[0] == 0.01
    assert pauses[:5] == sorted(set(pauses[:5]))
    assert max(pauses) <= LONGEST_PAUSE
    assert now[0] == pytest.approx(102.0)


# The command.


def test_the_command_prints_the_result(dsn: str) -> None:
    with database(dsn) as db:
        task_id = insert_task(db)
        complete(task_id, '{"a": 1}')(db)
    assert pgsched("task", "wait", task_id, dsn=dsn).json() == {"a": 1}


def test_the_command_fails_as_the_task_did(dsn: str) -> None:
    with database(dsn) as db:
        task_id, pending = insert_task(db), insert_task(db)
        set_dead(db, task_id)
    dead = pgsched("task", "wait", task_id, dsn=dsn)
    assert (dead.code, dead.error) == (1, f"task {task_id} is dead: no luck")
    late = pgsched("task", "wait", pending, "--timeout", "20ms", dsn=dsn)
    assert (late.code, late.error) == (1, f"task {pending} is still pending after 0.02 s")
    unknown = pgsched("task", "wait", 4711, dsn=dsn)
    assert (unknown.code, unknown.error) == (1, "task 4711 does not exist")
    assert pgsched("task", "wait", task_id, "--timeout", "soon", dsn=dsn).code == 1
