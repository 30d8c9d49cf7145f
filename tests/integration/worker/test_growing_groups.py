"""Groups whose steps wait for any of several, that name task types alone, and that grow while they run."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from pgsched import App, Client, Context, Discard, InvalidTask, TaskNotFound, TransitionRefused
from pgsched.client.async_client import AsyncClient
from pgsched.db.migrations.runner import migrate
from pgsched.domain.attempt import GROUP
from pgsched.domain.workflow import chain, group, parallel, step
from pgsched.execution.registry import Registry
from pgsched.testing import call
from pgsched.worker import completer
from tests.support.commands import pgsched
from tests.support.engine import Engine, engine, handlers, history, rows, running_worker, steal_leases
from tests.support.group_steps import drain, named, steps_of
from tests.support.guards import transactional
from tests.support.process_app import SERVE
from tests.support.process_app import app as process_app
from tests.support.roles import login
from tests.support.tables import database, insert_task, task_row
from tests.support.waiting import wait_until_async
from tests.support.web_face import web

pytestmark = pytest.mark.slow

Database = psycopg.Connection[dict[str, Any]]


class Ran:
    """Handlers: ``work`` notes its name, ``broken`` is dead, ``grow`` adds steps."""

    def __init__(self, *more: Any) -> None:
        self.names: list[str] = []
        self.more = more

    async def work(self, ctx: Context) -> str:
        self.names.append(str(ctx.name))
        return str(ctx.name)

    async def broken(self) -> None:
        raise Discard("no luck")

    async def grow(self, ctx: Context) -> str:
        self.names.append(str(ctx.name))
        ctx.add_steps(*self.more)
        return "grown"

    @property
    def registry(self) -> Registry:
        return handlers(work=self.work, broken=self.broken, grow=self.grow, extract=self.work, load=self.work)


# Any of several.


async def test_a_step_begins_with_the_first_of_those_it_waits_for(dsn: str) -> None:
    ran = Ran()
    plan = group(parallel("broken", *named("a")), *named("b", dependency_mode="any"), *named("c"))
    with Client(dsn) as client, database(dsn) as db:
        group_id = client.schedule_group(plan)
        async with engine(dsn, ran.registry) as one:
            await drain(one)
        made = steps_of(db, group_id)
        assert made["b"]["dependency_mode"] == "any"
        assert [row["status"] for row in made.values()] == ["dead", "completed", "completed", "completed"]
    assert ran.names == ["a", "b", "c"]


def test_any_stands_in_the_plan_as_any_language_writes_it(dsn: str, db: Database) -> None:
    steps = [{"task_type": "a"}, {"task_type": "b", "dependency_mode": "any"}]
    assert insert_task(db, GROUP, payload=Jsonb({"steps": steps}))
    steps[1]["dependency_mode"] = "some"
    with pytest.raises(psycopg.errors.CheckViolation):
        insert_task(db, GROUP, payload=Jsonb({"steps": steps}))
    with pytest.raises(InvalidTask, match="dependency_mode must be all or any, got 'some'"):
        group(step("b", dependency_mode="some"))


# Task types alone.


async def test_task_types_and_handlers_alone_are_steps(dsn: str) -> None:
    ran = Ran()
    app = App(dsn=dsn)

    @app.task("load")
    async def load() -> None: ...

    assert group("extract", load) == {"steps": [{"task_type": "extract"}, {"task_type": "load"}]}
    plan = chain(parallel("extract", "work"), load)
    with Client(dsn) as client:
        group_id = client.schedule_group(plan)
        async with engine(dsn, ran.registry) as one:
            await drain(one)
        assert client.get(group_id).result == {name: name for name in ("extract", "work", "load")}
    assert (sorted(ran.names[:2]), ran.names[2:]) == (["extract", "work"], ["load"])


@pytest.mark.parametrize("face", ["sql", "client", "cli", "rest"])
async def test_names_alone_stand_in_plans_of_every_face(dsn: str, db: Database, tmp_path: Path, face: str) -> None:
    ran = Ran()
    plan = {"steps": ["extract", {"task_type": "load"}]}
    if face == "sql":
        group_id = insert_task(db, GROUP, payload=Jsonb(plan))
    elif face == "client":
        async with AsyncClient(dsn) as client:
            group_id = await client.schedule_group(plan)
    elif face == "cli":
        (tmp_path / "plan.json").write_text(json.dumps(plan))
        done = await asyncio.to_thread(pgsched, "group", "add", tmp_path / "plan.json", dsn=dsn)
        group_id = int(done.stdout)
    else:
        async with web(dsn) as http:
            group_id = (await http.post("/api/v1/groups", json=plan)).json()["id"]
    async with engine(dsn, ran.registry) as one:
        await drain(one)
    assert (task_row(db, group_id)["status"], ran.names) == ("completed", ["extract", "load"])


@pytest.mark.parametrize(
    ("steps", "problem"),
    [
        (["a", "a"], "steps must have different names, 'a' is there twice"),
        ([7], "step 1 must be an object"),
        ([""], ""),
    ],
)
def test_names_that_make_no_sense_are_refused(db: Database, steps: list[Any], problem: str) -> None:
    with pytest.raises(psycopg.errors.IntegrityError if not problem else psycopg.errors.DataError) as caught:
        insert_task(db, GROUP, payload=Jsonb({"steps": steps}))
    assert problem in str(caught.value)
    with pytest.raises(InvalidTask):
        group(*steps)


# Steps that a step adds.


@pytest.mark.parametrize("last", [False, True], ids=["others wait", "the last step"])
async def test_a_step_adds_steps_and_the_group_waits_for_them(dsn: str, last: bool) -> None:
    ran = Ran(parallel(*named("n1", "n2")), *named("n3"))
    with Client(dsn) as client, database(dsn) as db:
        group_id = client.schedule_group(group("grow", *([] if last else named("z"))))
        async with engine(dsn, ran.registry) as one:
            await drain(one)
        task = client.get(group_id)
        assert task.status == "completed"
        assert task.result == {"grow": "grown", "n1": "n1", "n2": "n2", "n3": "n3"} | ({} if last else {"z": "z"})
        assert ran.names.index("n3") > max(ran.names.index("n1"), ran.names.index("n2"))
        assert len(client.tree(group_id).children) == (4 if last else 5)
        assert steps_of(db, group_id)["n1"]["depends_on"] == []
        assert rows(db, "select * from pgsched.dependencies") == []


async def test_added_steps_may_wait_for_those_that_are_there(dsn: str) -> None:
    ran = Ran(*named("n", after=["slow", "grow"]))
    over = asyncio.Event()

    async def slow() -> int:
        await over.wait()
        return 7

    registry = ran.registry
    registry.register("slow", slow)
    with Client(dsn) as client, database(dsn) as db:
        group_id = client.schedule_group(group(parallel("grow", "slow")))
        async with engine(dsn, registry) as one:
            await one.work()
            await one.claim()
            await one.run(until=lambda: "n" in steps_of(db, group_id))
            made = steps_of(db, group_id)
            assert (made["n"]["status"], made["n"]["waiting_for"]) == ("blocked", 1)
            over.set()
            await one.run()
            await drain(one)
        assert client.get(group_id).status == "completed"
    assert ran.names == ["grow", "n"]


async def test_a_step_of_an_added_one_adds_more(dsn: str) -> None:
    async def count(ctx: Context, left: int) -> int:
        if left:
            ctx.add_steps(step("count", {"left": left - 1}, name=f"left {left - 1}"))
        return left

    with Client(dsn) as client:
        group_id = client.schedule_group(group(step("count", {"left": 5})))
        async with engine(dsn, handlers(count=count)) as one:
            await drain(one)
        assert client.get(group_id).result == {"count": 5} | {f"left {n}": n for n in range(5)}


async def test_a_failed_attempt_adds_nothing_and_the_next_adds_them_once(dsn: str) -> None:
    seen: list[int] = []

    async def grow(ctx: Context) -> None:
        seen.append(ctx.attempt)
        ctx.add_steps("work")
        if ctx.attempt == 1:
            raise RuntimeError("after that")

    ran = Ran()
    with Client(dsn) as client, database(dsn) as db:
        group_id = client.schedule_group(group(step("grow", backoff_delay=0)))
        async with engine(dsn, handlers(grow=grow, work=ran.work)) as one:
            await one.work()
            await one.work()
            assert list(steps_of(db, group_id)) == ["grow"]
            await drain(one)
        assert client.get(group_id).status == "completed"
    assert (seen, ran.names) == ([1, 2], ["work"])


async def test_a_step_that_was_cut_off_adds_nothing(dsn: str) -> None:
    """Fenced like its finish."""
    ran, begun, over = Ran(), asyncio.Event(), asyncio.Event()

    async def grow(ctx: Context) -> None:
        ctx.add_steps("work")
        begun.set()
        await over.wait()

    with Client(dsn) as client, database(dsn) as db:
        group_id = client.schedule_group(group("grow"))
        async with engine(dsn, handlers(grow=grow, work=ran.work)) as one:
            await one.work()
            await one.claim()
            await one.started()
            await begun.wait()
            steal_leases(db)
            over.set()
            await one.run()
            assert one.counts.fenced == 1
        assert list(steps_of(db, group_id)) == ["grow"]


async def test_a_transactional_step_adds_them_with_its_commit(dsn: str) -> None:
    async def grow(ctx: Context) -> None:
        ctx.add_steps("work")
        await ctx.connection.execute("select 1")

    ran = Ran()
    registry = transactional(grow=grow)
    registry.register("work", ran.work)
    with Client(dsn) as client:
        group_id = client.schedule_group(group("grow"))
        async with engine(dsn, registry) as one:
            await drain(one)
        assert client.get(group_id).status == "completed"
    assert ran.names == ["work"]


async def test_a_step_in_a_thread_and_one_in_a_child_process_add_them_too(dsn: str) -> None:
    def grow(ctx: Context) -> None:
        ctx.add_steps("work")

    ran = Ran()
    with Client(dsn) as client:
        ids = [client.schedule_group(group("grow")) for _ in range(2)]
        async with engine(dsn, handlers(grow=grow, work=ran.work)) as one:
            while client.get(ids[0]).status != "completed":
                await one.work(1)
        client.cancel(ids[1])
        by_child = client.schedule_group(group("grow"))
        async with engine(dsn, process_app.registry, serve=SERVE) as one:
            await drain(one)
        assert client.get(by_child).result == {"grow": None, "echo": {}}


async def test_many_add_steps_to_one_group_at_once(dsn: str) -> None:
    async def grow(ctx: Context) -> None:
        ctx.add_steps(*named(f"{ctx.name}-1", f"{ctx.name}-2"))

    ran = Ran()
    names = [f"g{number}" for number in range(30)]
    with Client(dsn) as client, database(dsn) as db:
        group_id = client.schedule_group(group(parallel(*(step("grow", name=name) for name in names))))
        registry = handlers(grow=grow, work=ran.work)
        async with running_worker(dsn, registry), running_worker(dsn, registry):
            await wait_until_async(lambda: task_row(db, group_id)["status"] == "completed", message="it is completed")
        assert len(steps_of(db, group_id)) == 90
    assert sorted(ran.names) == sorted(f"{name}-{which}" for name in names for which in (1, 2))


async def test_steps_are_added_by_one_statement_each(dsn: str) -> None:
    """Beside other outcomes: a batch that has steps is written alone."""
    ran = Ran(*named("n"))
    with Client(dsn) as client, database(dsn) as db:
        group_id = client.schedule_group(group(parallel(*named("a", "b"), "grow", *named("c"))))
        async with engine(dsn, ran.registry) as one:
            await one.work()
            await one.claim()
            one.worker.executor.feed()
            await one.finished(4)
            sizes = []
            while len(one.completer):
                before = len(one.completer)
                await one.completer.run_once()
                sizes.append(before - len(one.completer))
            await drain(one)
        assert client.get(group_id).status == "completed"
        assert len(steps_of(db, group_id)) == 5
    assert completer.MAX_BATCH > 4
    assert 1 in sizes


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        (named("z"), "steps of group {group}: steps must have different names, 'z' is there twice"),
        (named("n", after=["nobody"]), "steps of group {group}: step 'n': after names 'nobody', which is no step"),
    ],
    ids=["name", "after"],
)
async def test_steps_that_do_not_fit_end_the_step_that_adds_them(dsn: str, more: list[Any], problem: str) -> None:
    ran = Ran(*more)
    with Client(dsn) as client, database(dsn) as db:
        group_id = client.schedule_group(group(*named("z"), "grow"))
        async with engine(dsn, ran.registry) as one:
            await drain(one)
        grown = steps_of(db, group_id)["grow"]
        assert grown["status"] == "dead"
        assert problem.format(group=group_id) in grown["last_error"]
        assert client.get(group_id).status == "dead"
        assert history(db, grown["id"])[-1]["status"] == "failed"


async def test_a_task_of_no_group_cannot_add_steps(dsn: str) -> None:
    with Client(dsn) as client, database(dsn) as db:
        task_id = client.schedule("grow")
        async with engine(dsn, Ran("work").registry) as one:
            await drain(one)
        row = task_row(db, task_id)
        assert row["status"] == "dead"
        assert f"task {task_id} is no step of a group" in row["last_error"]


def test_what_cannot_be_a_step_is_refused_where_it_is_added() -> None:
    app = App()

    @app.task("grow")
    def grow(ctx: Context, fails: bool = False) -> None:
        ctx.add_steps("a", step("b", {"n": 1}))
        ctx.add_steps({"steps": ["c"]})
        if fails:
            raise Discard("no")
        for wrong in (("a",), (), (7,), ("x", {"steps": ["y"]})):
            with pytest.raises(InvalidTask):
                ctx.add_steps(*wrong)  # type: ignore[arg-type]

    said = call(grow)
    assert said.steps == [{"task_type": "a"}, {"task_type": "b", "payload": {"n": 1}}, {"task_type": "c"}]
    assert call(grow, {"fails": True}, raises=False).steps == []


async def test_the_roles_may_do_what_they_are_for(dsn: str, database_name: str) -> None:
    """A worker adds the steps of its handlers, a producer and an operator others; an operator retries."""
    migrate(dsn, roles=True)
    ran = Ran(*named("n"))

    async def broken_once(ctx: Context) -> None:
        if ctx.trigger != "retry":
            raise Discard("once")

    registry = ran.registry
    registry.register("once", broken_once)
    with (
        login(dsn, f"worker_{database_name}", member_of="pgsched_worker") as worker,
        login(dsn, f"producer_{database_name}", member_of="pgsched_producer") as producer,
        login(dsn, f"operator_{database_name}", member_of="pgsched_operator") as operator,
        Client(producer) as client,
        Client(operator) as hand,
    ):
        ids = [client.schedule_group(group("grow", "once", *named("z"))) for _ in range(3)]
        async with engine(worker, registry) as one:
            await one.work()
            client.add_steps(ids[0], *named("p"))
            hand.add_steps(ids[0], *named("o"))
            await drain(one)
            with database(dsn) as db:
                dead = steps_of(db, ids[0])["once"]["id"]
            hand.retry(dead)
            assert len(hand.change_tasks("retry", status=["dead"], parent_id=ids[1]).changed) == 1
            assert hand.retry_dead(all=True) == 1
            await drain(one)
        assert [hand.get(task_id).status for task_id in ids] == ["completed"] * 3
    assert sorted(ran.names) == sorted(["grow", "n", "z"] * 3 + ["p", "o"])


# Steps that somebody else adds.


async def begun_group(one: Engine, client: Client) -> int:
    """A group whose first step has run, and whose second is due."""
    group_id = client.schedule_group(group(*named("a", "b")))
    await one.work()
    await one.work()
    return group_id


@pytest.mark.parametrize("face", ["sql", "client", "async", "cli", "rest"])
async def test_every_face_adds_steps_to_a_group_that_runs(dsn: str, db: Database, tmp_path: Path, face: str) -> None:
    ran = Ran()
    plan: dict[str, Any] = {"steps": ["load", {"task_type": "work", "name": "n", "after": ["load", "b"]}]}
    with Client(dsn) as client:
        async with engine(dsn, ran.registry) as one:
            group_id = await begun_group(one, client)
            if face == "sql":
                (made,) = rows(db, "select pgsched.add_steps(%s, %s) as ids", group_id, Jsonb(plan))
                ids = made["ids"]
            elif face == "client":
                ids = client.add_steps(group_id, "load", step("work", name="n", after=["load", "b"]))
            elif face == "async":
                async with AsyncClient(dsn) as other:
                    ids = await other.add_steps(group_id, plan)
            elif face == "cli":
                (tmp_path / "plan.json").write_text(json.dumps(plan))
                done = await asyncio.to_thread(
                    pgsched, "group", "add-steps", group_id, "--plan", tmp_path / "plan.json", dsn=dsn
                )
                ids = [int(line) for line in done.stdout.split()]
            else:
                async with web(dsn) as http:
                    told = await http.post(f"/api/v1/tasks/{group_id}/steps", json=plan)
                    assert told.status_code == 201
                    ids = told.json()["ids"]
            made_now = steps_of(db, group_id)
            assert ids == [made_now["load"]["id"], made_now["n"]["id"]]
            assert made_now["n"]["depends_on"] == [made_now["b"]["id"], made_now["load"]["id"]]
            await drain(one)
        assert client.get(group_id).result == {name: name for name in ("a", "b", "load", "n")}


async def test_a_group_that_is_to_be_gathered_waits_again(dsn: str) -> None:
    ran = Ran()
    with Client(dsn) as client:
        async with engine(dsn, ran.registry) as one:
            group_id = await begun_group(one, client)
            await one.work()
            assert client.get(group_id).status == "pending"
            client.add_steps(group_id, *named("c"))
            assert client.get(group_id).status == "blocked"
            await drain(one)
        assert client.get(group_id).result == {"a": "a", "b": "b", "c": "c"}


async def test_a_group_that_has_not_begun_or_is_over_is_left_alone(dsn: str) -> None:
    ran = Ran()
    with Client(dsn) as client:
        group_id = client.schedule_group(group(*named("a")))
        with pytest.raises(TransitionRefused, match=f"group {group_id} has not begun: change its plan instead"):
            client.add_steps(group_id, *named("b"))
        async with engine(dsn, ran.registry) as one:
            await drain(one)
        with pytest.raises(TransitionRefused, match=f"group {group_id} is completed: steps can be added while its"):
            client.add_steps(group_id, *named("b"))
        plain = client.schedule("work")
        with pytest.raises(TransitionRefused, match=f"task {plain} is no group"):
            client.add_steps(plain, *named("b"))
        with pytest.raises(TaskNotFound):
            client.add_steps(4711, *named("b"))


async def test_a_group_in_a_group_may_be_there_and_may_grow(dsn: str) -> None:
    ran = Ran(step(GROUP, group(*named("x", "y")), name="more"))
    plan = group(step(GROUP, group("grow"), name="inner"), *named("z"))
    with Client(dsn) as client:
        outer = client.schedule_group(plan)
        async with engine(dsn, ran.registry) as one:
            await one.work()
            client.add_steps(outer, *named("w", after=["inner"]))
            await drain(one)
        assert client.get(outer).result == {
            "inner": {"grow": "grown", "more": {"x": "x", "y": "y"}}, "w": "w", "z": "z"
        }  # fmt: skip
