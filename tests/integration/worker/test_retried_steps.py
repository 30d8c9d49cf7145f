"""The retry of a step of a group: the group goes on with it, whether it has ended by then or not."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
import pytest

from pgsched import Client, Context, Discard
from pgsched.domain.attempt import GROUP
from pgsched.domain.workflow import chain, group, parallel, step
from pgsched.execution.registry import Registry
from tests.support.commands import pgsched
from tests.support.engine import engine, handlers, rows
from tests.support.group_steps import drain, named, steps_of
from tests.support.tables import database, task_row

Database = psycopg.Connection[dict[str, Any]]


class Steps:
    """Handlers: ``work`` returns its word, ``risky`` is dead until it is mended."""

    def __init__(self) -> None:
        self.broken = {"b"}
        self.ran: list[str] = []

    async def work(self, ctx: Context) -> str | None:
        self.ran.append(str(ctx.name))
        if ctx.name in self.broken:
            raise Discard(f"{ctx.name} is broken")
        return ctx.name

    @property
    def registry(self) -> Registry:
        return handlers(work=self.work)


def statuses(db: Database, group_id: int) -> list[str]:
    return [row["status"] for row in steps_of(db, group_id).values()]


async def test_a_dead_group_goes_on_with_its_step_and_those_behind_it(dsn: str) -> None:
    steps = Steps()
    with Client(dsn) as client, database(dsn) as db:
        group_id = client.schedule_group(group(*named("a", "b", "c", "d")))
        async with engine(dsn, steps.registry) as one:
            await drain(one)
            assert client.get(group_id).status == "dead"
            assert statuses(db, group_id) == ["completed", "dead", "cancelled", "cancelled"]
            steps.broken.clear()
            client.retry(steps_of(db, group_id)["b"]["id"])
            task = client.get(group_id)
            assert (task.status, task.last_error, task.died_at) == ("blocked", None, None)
            assert statuses(db, group_id) == ["completed", "pending", "blocked", "blocked"]
            await drain(one)
        task = client.get(group_id)
        assert (task.status, task.attempts) == ("completed", 1)
        assert task.result == {name: name for name in "abcd"}
        assert rows(db, "select * from pgsched.dependencies") == []
    assert steps.ran == ["a", "b", "b", "c", "d"]


async def test_a_retry_before_the_group_has_ended_is_waited_for(dsn: str) -> None:
    """The group of today ended with its other step, and was dead because this one had not ended yet."""
    steps, over = Steps(), asyncio.Event()

    async def long() -> None:
        await over.wait()

    registry = steps.registry
    registry.register("long", long)
    plan = group(parallel(chain(*named("b", "c")), step("long")))
    with Client(dsn) as client, database(dsn) as db:
        group_id = client.schedule_group(plan)
        async with engine(dsn, registry) as one:
            await one.work()  # fires
            await one.claim()
            await one.run(until=lambda: "cancelled" in statuses(db, group_id))
            assert client.get(group_id).status == "blocked"
            steps.broken.clear()
            client.retry(steps_of(db, group_id)["b"]["id"])
            over.set()
            await one.run()
            assert client.get(group_id).status == "blocked"
            await drain(one)
        assert client.get(group_id).result == {"b": "b", "c": "c", "long": None}


@pytest.mark.parametrize("claimed", [False, True], ids=["released", "joining"])
async def test_a_retry_just_before_the_results_are_gathered_takes_the_group_back(dsn: str, claimed: bool) -> None:
    steps = Steps()
    with Client(dsn) as client, database(dsn) as db:
        group_id = client.schedule_group(group(*named("b")))
        async with engine(dsn, steps.registry) as one:
            await one.work()
            await one.work()
            assert client.get(group_id).status == "pending"
            if claimed:
                await one.claim()
                assert client.get(group_id).status == "running"
            steps.broken.clear()
            client.retry(steps_of(db, group_id)["b"]["id"])
            await one.run()  # what was claimed is not written
            assert client.get(group_id).status == "blocked"
            await drain(one)
        task = client.get(group_id)
        assert (task.status, task.result, task.attempts) == ("completed", {"b": "b"}, 1)


async def test_what_another_dead_step_has_cancelled_waits_for_its_retry(dsn: str) -> None:
    steps = Steps()
    steps.broken = {"b1", "b2"}
    with Client(dsn) as client, database(dsn) as db:
        group_id = client.schedule_group(group(parallel(*named("b1", "b2")), *named("c")))
        async with engine(dsn, steps.registry) as one:
            await drain(one)
            steps.broken.clear()
            made = steps_of(db, group_id)
            client.retry(made["b1"]["id"])
            assert statuses(db, group_id) == ["pending", "dead", "cancelled"]
            await drain(one)
            assert client.get(group_id).status == "dead"
            client.retry(made["b2"]["id"])
            assert statuses(db, group_id) == ["completed", "pending", "blocked"]
            await drain(one)
        assert client.get(group_id).status == "completed"
    assert sorted(steps.ran) == ["b1", "b1", "b2", "b2", "c"]


async def test_a_group_in_a_group_takes_the_outer_one_along(dsn: str) -> None:
    steps = Steps()
    plan = group(step(GROUP, group(*named("b", "c")), name="inner"), *named("d"))
    with Client(dsn) as client, database(dsn) as db:
        outer = client.schedule_group(plan)
        async with engine(dsn, steps.registry) as one:
            await drain(one)
            inner = steps_of(db, outer)["inner"]["id"]
            assert (client.get(outer).status, client.get(inner).status) == ("dead", "dead")
            steps.broken.clear()
            client.retry(steps_of(db, inner)["b"]["id"])
            assert (client.get(outer).status, client.get(inner).status) == ("blocked", "blocked")
            await drain(one)
        assert client.get(outer).result == {"inner": {"b": "b", "c": "c"}, "d": "d"}
    assert steps.ran == ["b", "b", "c", "d"]


async def test_a_step_that_fails_again_ends_the_group_again(dsn: str) -> None:
    steps = Steps()
    with Client(dsn) as client, database(dsn) as db:
        group_id = client.schedule_group(group(*named("b", "c")))
        async with engine(dsn, steps.registry) as one:
            for _ in range(3):
                await drain(one)
                task = client.get(group_id)
                assert (task.status, statuses(db, group_id)) == ("dead", ["dead", "cancelled"])
                assert task.last_error is not None
                assert "b is broken" in task.last_error
                client.retry(steps_of(db, group_id)["b"]["id"])
    assert steps.ran == ["b", "b", "b"]


async def test_what_somebody_has_cancelled_stays_cancelled(dsn: str) -> None:
    steps = Steps()
    with Client(dsn) as client, database(dsn) as db:
        group_id = client.schedule_group(group(*named("b", "c", on_dependency_dead="wait")))
        async with engine(dsn, steps.registry) as one:
            await drain(one)
            made = steps_of(db, group_id)
            client.cancel(made["c"]["id"])
            await drain(one)
            steps.broken.clear()
            client.retry(made["b"]["id"])
            await drain(one)
        assert statuses(db, group_id) == ["completed", "cancelled"]
        assert client.get(group_id).status == "dead"


async def test_a_step_of_a_cancelled_group_or_of_an_earlier_run_runs_alone(dsn: str) -> None:
    steps = Steps()
    with Client(dsn) as client, database(dsn) as db:
        cancelled, anew = (client.schedule_group(group(*named("b", "c", on_dependency_dead="wait"))) for _ in range(2))
        async with engine(dsn, steps.registry) as one:
            await drain(one)
            old = steps_of(db, anew)["b"]["id"]
            for task_id in (cancelled, anew):
                client.cancel(task_id)
            client.retry(anew)
            steps.broken.clear()
            await drain(one)
            for task_id in (steps_of(db, cancelled)["b"]["id"], old):
                client.retry(task_id)
            await drain(one)
        assert (client.get(cancelled).status, client.get(anew).status) == ("cancelled", "completed")
        assert task_row(db, old)["status"] == "completed"


async def test_many_at_once_go_on_and_do_not_begin_anew(dsn: str) -> None:
    steps = Steps()
    with Client(dsn) as client, database(dsn) as db:
        ids = [client.schedule_group(group(*named("a", "b", "c"))) for _ in range(3)]
        async with engine(dsn, steps.registry) as one:
            await drain(one)
            steps.broken.clear()
            steps.ran.clear()
            assert client.retry_dead(all=True) == 3
            await drain(one)
        assert [client.get(task_id).status for task_id in ids] == ["completed"] * 3
        assert sorted(steps.ran) == ["b"] * 3 + ["c"] * 3
        assert rows(db, "select * from pgsched.dependencies") == []


async def test_so_do_those_of_a_filter(dsn: str) -> None:
    steps = Steps()
    with Client(dsn) as client, database(dsn) as db:
        group_id = client.schedule_group(group(*named("a", "b", "c")))
        async with engine(dsn, steps.registry) as one:
            await drain(one)
            steps.broken.clear()
            steps.ran.clear()
            dead = steps_of(db, group_id)["b"]["id"]
            assert client.change_tasks("retry", status=["dead"]).changed == [dead]
            await drain(one)
        assert (client.get(group_id).status, steps.ran) == ("completed", ["b", "c"])


async def test_dead_groups_alone_begin_anew(dsn: str) -> None:
    steps = Steps()
    with Client(dsn) as client:
        group_id = client.schedule_group(group(*named("a", "b")))
        async with engine(dsn, steps.registry) as one:
            await drain(one)
            steps.broken.clear()
            assert client.retry_dead(task_type=GROUP) == 1
            await drain(one)
        assert client.get(group_id).status == "completed"
    assert steps.ran == ["a", "b", "a", "b"]


async def test_a_tick_of_a_schedule_goes_on_while_it_runs(dsn: str) -> None:
    steps = Steps()
    with Client(dsn) as client, database(dsn) as db:
        group_id = client.schedule_group(group(*named("b", "c", on_dependency_dead="wait")), every="1h")
        db.execute("set pgsched.restoring = on")
        db.execute("update pgsched.tasks set scheduled_for = now(), next_run_at = now() where id = %s", (group_id,))
        async with engine(dsn, steps.registry) as one:
            await drain(one)
            steps.broken.clear()
            client.retry(steps_of(db, group_id)["b"]["id"])
            await drain(one)
        task = client.get(group_id)
        assert (task.status, task.execution_count, task.result) == ("pending", 1, {"b": "b", "c": "c"})


async def test_the_command_line_retries_a_step_too(dsn: str) -> None:
    steps = Steps()
    with Client(dsn) as client, database(dsn) as db:
        group_id = client.schedule_group(group(*named("b", "c")))
        async with engine(dsn, steps.registry) as one:
            await drain(one)
            steps.broken.clear()
            await asyncio.to_thread(pgsched, "task", "retry", steps_of(db, group_id)["b"]["id"], dsn=dsn)
            await drain(one)
        assert client.get(group_id).status == "completed"


async def test_many_retries_beside_finishes_lose_nothing(dsn: str) -> None:
    """Steps of one group end and are retried all the time, by several at once; nobody is stuck, and nothing is lost."""
    broken = {f"r{number}": 3 for number in range(8)}

    async def work(ctx: Context) -> str | None:
        await asyncio.sleep(0.001)
        if ctx.name in broken and broken[ctx.name] > 0:
            broken[ctx.name] -= 1
            raise Discard("broken")
        return ctx.name

    plan = group(
        parallel(*(chain(*named(name, f"{name}-next")) for name in broken), *named(*(f"w{n}" for n in range(20)))),
        *named("end"),
    )
    with Client(dsn) as client, database(dsn) as db:
        group_id = client.schedule_group(plan)
        async with engine(dsn, handlers(work=work)) as one:
            await one.work(1)
            async with asyncio.timeout(60):
                while client.get(group_id).status != "completed":
                    dead = [
                        row["id"]
                        for row in rows(
                            db,
                            "select id from pgsched.tasks where died_at is not null"
                            " and task_type = 'work' order by random()",
                        )
                    ]
                    await asyncio.gather(one.work(5), *(asyncio.to_thread(client.retry, task_id) for task_id in dead))
        assert set(statuses(db, group_id)) == {"completed"}
        assert rows(db, "select * from pgsched.dependencies") == []
