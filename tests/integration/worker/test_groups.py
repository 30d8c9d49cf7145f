"""Groups of steps: what they are made of, in which order they run, and what comes of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import psycopg
import pytest
from psycopg import errors
from psycopg.types.json import Jsonb

from pgsched.app.app import App
from pgsched.client.async_client import AsyncClient
from pgsched.client.client import Client
from pgsched.domain.attempt import GROUP
from pgsched.domain.errors import Discard, InvalidTask
from pgsched.domain.workflow import Part, chain, group, parallel, step
from pgsched.execution.context import Context
from pgsched.execution.registry import Registry
from tests.support.engine import engine, handlers, history, make_due, rows
from tests.support.tables import database, insert_task, task_row

Database = psycopg.Connection[dict[str, Any]]


async def say(word: str) -> str:
    return word


async def add(ctx: Context, to: int = 0) -> int:
    """The sum of what the steps before have returned."""
    return to + sum(one or 0 for one in ctx.dependencies.values() if isinstance(one, int | None))


async def fail() -> None:
    raise Discard("no luck")


def registry() -> Registry:
    return handlers(say=say, add=add, fail=fail)


def words(*names: str) -> list[Part]:
    return [step("say", {"word": name}, name=name) for name in names]


async def run_all(dsn: str) -> list[str]:
    """Run what is due until nothing is; returns the names of the steps in the order in which they were claimed."""
    ran: list[str] = []
    async with engine(dsn, registry()) as one:
        while tasks := await one.work():
            with database(dsn) as db:
                ran += [task_row(db, task.id)["task_name"] for task in tasks if task.task_type != GROUP]
    return ran


def children(db: Database, group_id: int) -> dict[str, dict[str, Any]]:
    found = rows(db, "select * from pgsched.tasks where parent_id = %s and observed order by id", group_id)
    return {row["task_name"]: row for row in found}


# In which order.


async def test_steps_run_one_after_the_other(dsn: str) -> None:
    with Client(dsn) as client:
        task_id = client.schedule_group(group(*words("a", "b", "c")))
        assert await run_all(dsn) == ["a", "b", "c"]
        task = client.get(task_id)
        assert (task.status, task.attempts, task.execution_count) == ("completed", 1, 1)
        assert task.result == {"a": "a", "b": "b", "c": "c"}
    with database(dsn) as db:
        assert [row["status"] for row in history(db, task_id)] == ["completed"]
        assert rows(db, "select * from pgsched.dependencies") == []


async def test_steps_of_one_order_wait_for_nobody_of_it(dsn: str) -> None:
    plan = group(
        step("say", {"word": "x"}, name="last", order=2.5),
        step("say", {"word": "x"}, name="a", order=1),
        step("say", {"word": "x"}, name="b", order=1),
        step("say", {"word": "x"}, name="c", order=1, parallel=False),
        step("say", {"word": "x"}, name="d", order=1, parallel=False),
    )
    with Client(dsn) as client, database(dsn) as db:
        task_id = client.schedule_group(plan)
        ran = await run_all(dsn)
        made = children(db, task_id)
    assert (sorted(ran[:2]), ran[2:]) == (["a", "b"], ["c", "d", "last"])
    assert made["b"]["depends_on"] == []
    assert made["c"]["depends_on"] == [made["a"]["id"], made["b"]["id"]]
    assert made["last"]["depends_on"] == [made["d"]["id"]]


async def test_any_graph_runs_by_its_names(dsn: str) -> None:
    plan = group(parallel(chain(*words("a", "b")), chain(*words("c", "d"))), step("say", {"word": "x"}, name="end"))
    with Client(dsn) as client, database(dsn) as db:
        task_id = client.schedule_group(plan)
        ran = await run_all(dsn)
        made = children(db, task_id)
    assert (sorted(ran[:2]), sorted(ran[2:4]), ran[4]) == (["a", "c"], ["b", "d"], "end")
    assert made["d"]["depends_on"] == [made["c"]["id"]]
    assert made["end"]["depends_on"] == [made["b"]["id"], made["d"]["id"]]


async def test_results_go_on_to_the_steps_behind(dsn: str) -> None:
    plan = group(
        parallel(*(step("add", {"to": number}, name=f"n{number}") for number in (1, 2, 3))),
        step("add", {"to": 10}, name="sum"),
    )
    with Client(dsn) as client:
        task_id = client.schedule_group(plan)
        await run_all(dsn)
        assert client.get(task_id).result == {"n1": 1, "n2": 2, "n3": 3, "sum": 16}


async def test_group_in_a_group_is_one_step_of_it(dsn: str) -> None:
    inner = group(parallel(*words("b", "c")))
    with Client(dsn) as client:
        task_id = client.schedule_group(group(*words("a"), step(GROUP, inner, name="inner"), *words("d")))
        ran = await run_all(dsn)
        assert (ran[0], sorted(ran[1:3]), ran[3]) == ("a", ["b", "c"], "d")
        assert client.get(task_id).result == {"a": "a", "inner": {"b": "b", "c": "c"}, "d": "d"}
        tree = client.tree(task_id)
        assert [[one.name for one in child.children] for child in tree.children] == [[], ["b", "c"], []]


async def test_group_that_is_run_before_its_time_runs_all_its_steps(dsn: str) -> None:
    with Client(dsn) as client:
        task_id = client.schedule_group(group(*words("a", "b")), delay=3600)
        assert await run_all(dsn) == []
        client.run_now(task_id)
        assert await run_all(dsn) == ["a", "b"]


async def test_group_waits_and_is_waited_for_like_any_task(dsn: str) -> None:
    with Client(dsn) as client:
        first = client.schedule("say", {"word": "x"}, name="first")
        task_id = client.schedule_group(group(*words("a")), depends_on=[first])
        client.schedule("say", {"word": "x"}, name="last", depends_on=[task_id])
        assert await run_all(dsn) == ["first", "a", "last"]


# What steps have.


async def test_steps_have_what_they_say_and_else_what_the_group_has(dsn: str) -> None:
    plan = group(
        step("say", {"word": "x"}, name="plain"),
        step(
            "say",
            {"word": "x"},
            name="own",
            queue="slow",
            priority=2,
            max_attempts=7,
            backoff="fixed",
            backoff_delay=2,
            backoff_max="1d",
            timeout="1m",
            on_dependency_dead="run",
            concurrency_key="k2",
            tags=["t2"],
            metadata={"own": 2},
        ),
    )
    group_s: dict[str, Any] = {
        "queue": "default",
        "priority": 9,
        "tenant_id": "t",
        "user_id": "u",
        "created_by": "c",
        "tags": ["t1"],
        "metadata": {"own": 1},
        "concurrency_key": "k1",
        "timezone": "Europe/Berlin",
    }
    with Client(dsn) as client, database(dsn) as db:
        task_id = client.schedule_group(plan, max_attempts=5, **group_s)
        await run_all(dsn)
        made = children(db, task_id)
        assert {name: made["plain"][name] for name in group_s} == group_s
        assert (made["plain"]["max_attempts"], made["plain"]["timeout"]) == (3, None)
        own = client.get(made["own"]["id"])
    assert (own.queue, own.priority, own.max_attempts, own.backoff) == ("slow", 2, 7, "fixed")
    assert (own.backoff_delay.seconds, own.backoff_max.days) == (2, 1)
    assert (own.on_dependency_dead, own.concurrency_key, own.tags) == ("run", "k2", ["t2"])
    assert own.timeout is not None
    assert (own.timeout.seconds, own.metadata, own.tenant_id) == (60, {"own": 2}, "t")


def test_steps_have_the_options_of_their_handlers(dsn: str) -> None:
    app = App(dsn=dsn)

    @app.task("resize", queue="images", max_attempts=5)
    def resize(path: str) -> None: ...

    with app.client() as client:
        task_id = client.schedule_group(group(step(resize, {"path": "a.png"})))
        (one,) = client.get(task_id).payload["steps"]
    assert one == {"task_type": "resize", "payload": {"path": "a.png"}, "queue": "images", "max_attempts": 5}


# How they end.


async def test_failed_step_fails_the_group_and_says_so(dsn: str) -> None:
    plan = group(*words("a"), step("fail", name="b"), *words("c"), step("add", name="d", on_dependency_dead="run"))
    with Client(dsn) as client, database(dsn) as db:
        task_id = client.schedule_group(plan, max_attempts=3)
        last = client.schedule("say", {"word": "x"}, name="last", depends_on=[task_id])
        assert await run_all(dsn) == ["a", "b", "d"]
        made = children(db, task_id)
        assert [row["status"] for row in made.values()] == ["completed", "dead", "cancelled", "completed"]
        task = client.get(task_id)
        assert (task.status, task.attempts) == ("dead", 1)
        assert task.last_error == (
            f"step b (task {made['b']['id']}) is dead: Discard: no luck; "
            f"step c (task {made['c']['id']}) is cancelled: task {made['b']['id']}, which it depends on, is dead"
        )
        assert client.get(last).status == "cancelled"


async def test_cancel_of_a_group_cancels_what_has_not_ended(dsn: str) -> None:
    with Client(dsn) as client, database(dsn) as db:
        task_id = client.schedule_group(group(*words("a", "b", "c")))
        async with engine(dsn, registry()) as one:
            await one.work()  # fires
            await one.work()  # a
        client.cancel(task_id)
        assert [row["status"] for row in children(db, task_id).values()] == ["completed", "cancelled", "cancelled"]
        assert client.get(task_id).status == "cancelled"
        assert await run_all(dsn) == []
        assert rows(db, "select * from pgsched.dependencies") == []


async def test_retry_of_a_dead_group_fires_afresh(dsn: str) -> None:
    with Client(dsn) as client, database(dsn) as db:
        task_id = client.schedule_group(group(*words("a"), step("fail", name="b")))
        await run_all(dsn)
        client.update(task_id, group(*words("a", "b")))
        client.retry(task_id)
        assert await run_all(dsn) == ["a", "b"]
        assert client.get(task_id).result == {"a": "a", "b": "b"}
        assert len(rows(db, "select from pgsched.tasks where parent_id = %s", task_id)) == 4
        assert [one.status for one in client.tree(task_id).children] == ["completed", "completed"]


async def test_repeating_group_runs_its_steps_at_every_tick(dsn: str) -> None:
    with Client(dsn) as client, database(dsn) as db:
        task_id = client.schedule_group(group(*words("a", "b")), every="1h", times=2)
        ran = []
        for tick in (1, 2):
            while client.get(task_id).execution_count < tick:
                make_due(db, task_id)
                ran += await run_all(dsn)
        assert ran == ["a", "b", "a", "b"]
        assert client.get(task_id).status == "completed"
        ticks = rows(db, "select distinct scheduled_for from pgsched.tasks where parent_id = %s", task_id)
        assert len(ticks) == 2
        assert [row["status"] for row in history(db, task_id)] == ["completed", "completed"]
        last = rows(db, "select id from pgsched.tasks where parent_id = %s order by id desc limit 2", task_id)
        assert {one.id for one in client.tree(task_id).children} == {row["id"] for row in last}


# What is refused.


BAD: Mapping[str, tuple[Any, str]] = {
    "no steps": ({}, "payload of a group: steps must be a list of one step or more"),
    "unknown key": (
        {"steps": [{"task_type": "a", "colour": 1}]},
        "payload of a group: step 1: colour is no key of a step",
    ),
    "names": (
        {"steps": [{"task_type": "a"}, {"task_type": "a"}]},
        "payload of a group: steps must have different names, 'a' is there twice",
    ),
    "after": (
        {"steps": [{"task_type": "a", "after": ["b"]}]},
        "payload of a group: step 'a': after names 'b', which is no step",
    ),
    "circle": (
        {"steps": [{"task_type": "a", "after": ["b"]}, {"task_type": "b", "after": ["a"]}]},
        "payload of a group: step 'a' waits for itself",
    ),
    "circle, and one behind it": (
        {
            "steps": [
                {"task_type": "a", "after": ["d"]},
                {"task_type": "b", "after": []},
                {"task_type": "c", "after": ["b", "d"]},
                {"task_type": "d", "after": ["c", "b"]},
            ]
        },
        "payload of a group: step 'c' waits for itself",
    ),
    "circle by orders": (
        {"steps": [{"task_type": "a"}, {"task_type": "b", "after": ["c"]}, {"task_type": "c", "after": ["b"]}]},
        "payload of a group: step 'b' waits for itself",
    ),
}


@pytest.mark.parametrize(("payload", "message"), BAD.values(), ids=BAD)
def test_plan_that_makes_no_sense_is_refused_by_the_database(db: Database, payload: Any, message: str) -> None:
    with pytest.raises(errors.InvalidParameterValue) as caught:
        insert_task(db, GROUP, payload=Jsonb(payload))
    assert caught.value.diag.message_primary == message


def test_circle_is_named_by_the_client(client: Client) -> None:
    plan = group(
        step("say", name="a", after=["c"]), step("say", name="b", after=["a"]), step("say", name="c", after=["b"])
    )
    with pytest.raises(InvalidTask, match=r"^payload of a group: step 'a' waits for itself$"):
        client.schedule_group(plan)


async def test_a_step_may_wait_for_one_that_stands_behind_it(dsn: str) -> None:
    plan = group(step("say", {"word": "x"}, name="a", after=["c"]), *words("b", "c"))
    with Client(dsn) as client:
        client.schedule_group(plan)
        assert await run_all(dsn) == ["b", "c", "a"]


def test_edit_that_breaks_the_plan_is_refused(client: Client) -> None:
    task_id = client.schedule_group(group(*words("a")))
    with pytest.raises(InvalidTask, match="payload of a group: steps must be a list"):
        client.update(task_id, {"steps": []})


# Trees, transactions, the other client.


async def test_tree_shows_how_far_a_group_is(dsn: str) -> None:
    with Client(dsn) as client:
        task_id = client.schedule_group(group(*words("a"), step("fail", name="b")), name="two")
        assert client.tree(task_id).children == []
        async with engine(dsn, registry()) as one:
            await one.work()  # fires
            await one.work()  # a
        tree = client.tree(task_id)
        first, second = tree.children
        assert (tree.name, tree.task_type, tree.status) == ("two", GROUP, "blocked")
        assert (first.name, first.status, second.status) == ("a", "completed", "pending")
        assert second.depends_on == [first.id]
        assert tree.duration is not None
        assert first.duration is not None
        assert 0 <= first.duration <= tree.duration
        await run_all(dsn)
        tree = client.tree(task_id)
        assert [one.status for one in tree.children] == ["completed", "dead"]
        assert (tree.children[1].last_error, tree.status) == ("Discard: no luck", "dead")


def test_group_is_part_of_the_caller_s_transaction(client: Client, dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        client.schedule_group(group(*words("a")), connection=connection)
        connection.rollback()
    assert client.list_tasks() == []


async def test_the_client_for_event_loops_does_the_same(dsn: str) -> None:
    async with AsyncClient(dsn) as client:
        task_id = await client.schedule_group(chain(*words("a", "b")), name="two")
        assert await run_all(dsn) == ["a", "b"]
        assert [one.name for one in (await client.tree(task_id)).children] == ["a", "b"]
