"""Tasks that follow a schedule (dependency_mode each): one run for each of its ticks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from pgsched.client.async_client import AsyncClient
from pgsched.client.client import Client
from pgsched.db.migrations.runner import migrate
from pgsched.db.sql_files import load_statement
from pgsched.domain.attempt import GROUP
from pgsched.domain.errors import Discard, InvalidTask, TransitionRefused
from pgsched.execution.context import Context
from pgsched.execution.registry import Registry
from pgsched.flow import group, step
from tests.support.engine import Engine, engine, handlers, rows, running_worker, steal_leases, work_and_send_again
from tests.support.group_steps import drain
from tests.support.roles import login
from tests.support.tables import database, insert_task, move_tick, set_completed, set_running, task_row

pytestmark = pytest.mark.slow

Database = psycopg.Connection[dict[str, Any]]
LATER = datetime(2040, 1, 1, 12, tzinfo=UTC)
"""When schedules begin: no tick of theirs comes but those that a test lets come."""


class Ran:
    """Handlers: ``load`` numbers its ticks (one in ``fails`` is dead), ``tell`` notes the tick and what came of it."""

    def __init__(self) -> None:
        self.loads = 0
        self.fails: set[int] = set()
        self.told: list[tuple[datetime | None, list[Any]]] = []

    async def load(self, ctx: Context) -> dict[str, int]:
        self.loads += 1
        if self.loads in self.fails:
            raise Discard(f"load {self.loads} failed")
        return {"load": self.loads}

    async def tell(self, ctx: Context) -> str:
        self.told.append((ctx.scheduled_for, list(ctx.dependencies.values())))
        return f"told {len(self.told)}"

    @property
    def registry(self) -> Registry:
        return handlers(load=self.load, tell=self.tell, late=self.tell)


class House:
    """A database, a client, one worker in the test's process, and what ran."""

    def __init__(self, client: Client, db: Database, one: Engine, ran: Ran) -> None:
        self.client, self.db, self.one, self.ran = client, db, one, ran

    def schedule(self, task_type: str = "load", **options: Any) -> int:
        return self.client.schedule(task_type, every="1h", start=LATER, name="import", **options)

    def follow(self, upstream: int, task_type: str = "tell", **options: Any) -> int:
        return self.client.schedule(task_type, depends_on=[upstream], dependency_mode="each", **options)

    async def tick(self, schedule: int, *, rest: bool = True) -> datetime:
        """Let the next tick have come, and run it; with the ``rest`` also what follows."""
        tick = move_tick(self.db, schedule, f"now() - interval '{30 - 2 * self.ran.loads} seconds'")
        if rest:
            await drain(self.one)
        else:
            await self.one.work()
        return tick

    def runs(self, follower: int) -> list[tuple[datetime, str]]:
        found = rows(
            self.db, "select scheduled_for, status from pgsched.tasks where parent_id = %s order by id", follower
        )
        return [(row["scheduled_for"], row["status"]) for row in found]

    def status(self, task_id: int) -> str:
        return str(task_row(self.db, task_id)["status"])


@asynccontextmanager
async def house(dsn: str) -> AsyncIterator[House]:
    ran = Ran()
    with Client(dsn) as client, database(dsn) as db:
        async with engine(dsn, ran.registry) as one:
            yield House(client, db, one, ran)


# Ticks that are completed.


@pytest.mark.parametrize("overlap", ["skip", "allow"])
async def test_each_completed_tick_is_followed_once_with_its_time_and_its_result(dsn: str, overlap: str) -> None:
    async with house(dsn) as here:
        schedule = here.schedule(overlap=overlap)
        follower = here.follow(schedule)
        ticks = [await here.tick(schedule) for _ in range(3)]
        assert here.ran.told == [(tick, [{"load": number}]) for number, tick in enumerate(ticks, 1)]
        assert here.runs(follower) == [(tick, "completed") for tick in ticks]
        assert here.status(follower) == "blocked"
        assert [one.result for one in here.client.executions(follower)] == ["told 3", "told 2", "told 1"]


async def test_a_run_that_comes_late_has_the_result_of_its_tick_and_not_of_the_last(dsn: str) -> None:
    async with house(dsn) as here:
        schedule = here.schedule()
        here.follow(schedule, queue="slow")
        ticks = [await here.tick(schedule) for _ in range(2)]
        assert here.ran.told == []
        here.db.execute("update pgsched.tasks set queue = 'default' where queue = 'slow' and parent_id is not null")
        await drain(here.one)
        assert sorted(here.ran.told) == [(ticks[0], [{"load": 1}]), (ticks[1], [{"load": 2}])]


async def test_ticks_that_were_folded_into_one_are_followed_by_one_run_for_that(dsn: str) -> None:
    async with house(dsn) as here:
        schedule = here.client.schedule(
            "load", every="1h", on_missed="once", start=datetime.now(UTC) - timedelta(days=1)
        )
        follower = here.follow(schedule)
        move_tick(here.db, schedule, "date_trunc('second', now()) - interval '5 hours'")
        await drain(here.one)
        (ran,) = here.client.executions(schedule)
        assert here.runs(follower) == [(ran.scheduled_for, "completed")]


async def test_an_outcome_that_is_sent_twice_makes_one_run(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with house(dsn) as here:
        schedule = here.client.schedule("load", every="1h", start=datetime.now(UTC) - timedelta(days=1))
        follower = here.follow(schedule)
        move_tick(here.db, schedule, "date_trunc('second', now()) - interval '5 hours'")  # with a note of missed ticks
        await work_and_send_again(here.one, monkeypatch)
        assert len(here.runs(follower)) == 1


async def test_an_attempt_that_was_fenced_is_not_followed(dsn: str) -> None:
    async with house(dsn) as here:
        schedule = here.schedule()
        follower = here.follow(schedule)
        move_tick(here.db, schedule, "now() - interval '1 second'")
        await here.one.claim()
        steal_leases(here.db)
        await here.one.run()
        assert here.one.counts.fenced == 1
        assert here.runs(follower) == []


async def test_the_last_tick_is_followed_and_the_follower_stays(dsn: str) -> None:
    async with house(dsn) as here:
        schedule = here.client.schedule("load", every="1h", start=LATER, times=1)
        follower = here.follow(schedule)
        tick = await here.tick(schedule)
        assert (here.status(schedule), here.runs(follower)) == ("completed", [(tick, "completed")])
        assert here.status(follower) == "blocked"


async def test_a_schedule_that_nobody_follows_makes_no_runs_and_one_that_is_waited_for_neither(dsn: str) -> None:
    async with house(dsn) as here:
        schedule = here.schedule()
        once = here.client.schedule("tell", depends_on=[schedule])
        await here.tick(schedule)
        await here.tick(schedule)
        assert here.status(once) == "completed"
        assert rows(here.db, "select from pgsched.tasks where parent_id is not null") == []


# Ticks that die.


@pytest.mark.parametrize("overlap", ["skip", "allow"])
@pytest.mark.parametrize(
    ("policy", "then", "after_retry"),
    [("cancel", "cancelled", "cancelled"), ("run", "completed", "completed"), ("wait", "blocked", "completed")],
)
async def test_a_tick_that_dies_is_answered_as_on_dependency_dead_says(
    dsn: str, overlap: str, policy: str, then: str, after_retry: str
) -> None:
    async with house(dsn) as here:
        here.ran.fails = {2}
        schedule = here.schedule(overlap=overlap)
        follower = here.follow(schedule, on_dependency_dead=policy)
        ticks = [await here.tick(schedule) for _ in range(3)]
        assert here.runs(follower) == [(ticks[0], "completed"), (ticks[1], then), (ticks[2], "completed")]
        assert here.status(follower) == "blocked"
        (dead,) = here.client.list_tasks(status="dead")
        (second,) = here.client.list_tasks(parent_id=follower)[1:2]
        if policy == "cancel":
            assert second.last_error == f"task {dead.id}, which it depends on, is dead"
        here.client.retry(dead.id)
        await drain(here.one)
        assert [status for _, status in here.runs(follower)] == ["completed", after_retry, "completed"]
        if policy == "wait":
            assert here.ran.told[-1] == (ticks[1], [{"load": 4}])


async def test_a_tick_whose_attempts_are_used_up_by_lost_workers_is_dead_for_who_follows_it(dsn: str) -> None:
    async with house(dsn) as here:
        schedule = here.schedule(max_attempts=1)
        follower = here.follow(schedule)
        tick = move_tick(here.db, schedule, "now() - interval '1 second'")
        set_running(here.db, schedule, lease="-1 second")
        await here.one.work()
        assert here.runs(follower) == [(tick, "cancelled")]


async def test_an_attempt_that_is_retried_is_followed_when_the_tick_is_over(dsn: str) -> None:
    calls = 0

    async def load() -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise RuntimeError("not yet")

    ran = Ran()
    with Client(dsn) as client, database(dsn) as db:
        schedule = client.schedule("load", every="1h", start=LATER, backoff_delay=0)
        follower = client.schedule("tell", depends_on=[schedule], dependency_mode="each")
        async with engine(dsn, handlers(load=load, tell=ran.tell)) as one:
            tick = move_tick(db, schedule, "now() - interval '1 second'")
            await one.work()
            assert rows(db, "select from pgsched.tasks where parent_id = %s", follower) == []
            await drain(one)
    assert [at for at, _ in ran.told] == [tick]


# What is followed, and what follows.


async def test_a_follower_is_followed_in_turn(dsn: str) -> None:
    async with house(dsn) as here:
        schedule = here.schedule()
        follower = here.follow(schedule)
        last = here.follow(follower, "late")
        ticks = [await here.tick(schedule) for _ in range(2)]
        assert here.runs(last) == here.runs(follower) == [(tick, "completed") for tick in ticks]
        assert here.ran.told == [
            (ticks[0], [{"load": 1}]), (ticks[0], ["told 1"]), (ticks[1], [{"load": 2}]), (ticks[1], ["told 3"])
        ]  # fmt: skip


async def test_a_dead_tick_goes_down_the_chain_by_the_policy_of_each(dsn: str) -> None:
    async with house(dsn) as here:
        here.ran.fails = {1}
        schedule = here.schedule()
        follower = here.follow(schedule)
        cancelled, runs = here.follow(follower, "late"), here.follow(follower, "late", on_dependency_dead="run")
        tick = await here.tick(schedule)
        assert here.runs(follower) == here.runs(cancelled) == [(tick, "cancelled")]
        assert here.runs(runs) == [(tick, "completed")]


@pytest.mark.parametrize("overlap", ["skip", "allow"])
async def test_a_group_is_followed_when_it_has_joined_and_a_group_may_follow(dsn: str, overlap: str) -> None:
    async with house(dsn) as here:
        plan = group(step("load", name="a"), step("tell", name="b"))
        schedule = here.client.schedule_group(plan, every="1h", start=LATER, overlap=overlap)
        follower = here.client.schedule_group(
            group(step("tell", name="c")), depends_on=[schedule], dependency_mode="each"
        )
        tick = await here.tick(schedule)
        assert here.runs(follower) == [(tick, "completed")]
        (run,) = here.client.list_tasks(parent_id=follower)
        assert (run.task_type, run.result) == (GROUP, {"c": "told 2"})


async def test_a_run_by_hand_is_no_tick_and_backfilled_ticks_are(dsn: str) -> None:
    async with house(dsn) as here:
        schedule = here.client.schedule("load", every="1h", start=datetime.now(UTC) - timedelta(days=2))
        follower = here.follow(schedule)
        here.client.run_now(schedule)
        await drain(here.one)
        assert (here.ran.loads, here.runs(follower)) == (1, [])
        now = datetime.now(UTC)
        made = here.client.backfill(schedule, now - timedelta(hours=5), now - timedelta(hours=3))
        await drain(here.one)
        ticks = [one.tick for one in made]
        assert len(ticks) == 2
        assert here.runs(follower) == [(tick, "completed") for tick in ticks]


async def test_a_run_by_hand_of_the_follower_runs_once_and_is_no_run_for_a_tick(dsn: str) -> None:
    async with house(dsn) as here:
        schedule = here.schedule()
        follower = here.follow(schedule)
        last = here.follow(follower, "late")
        here.client.run_now(follower)
        await drain(here.one)
        assert [results for _, results in here.ran.told] == [[]]
        assert here.runs(last) == []
        assert here.status(follower) == "blocked"


async def test_a_run_is_as_the_follower_is_when_the_tick_is_over(dsn: str) -> None:
    async with house(dsn) as here:
        schedule = here.schedule()
        follower = here.follow(schedule, max_attempts=9, tags=["a"], queue="other", tenant_id="acme", timeout="9s")
        here.client.update(follower, priority=9, queue="default", payload={})
        await here.tick(schedule, rest=False)
        (run,) = here.client.list_tasks(parent_id=follower)
        task = here.client.get(follower)
        for name in ("task_type", "queue", "priority", "max_attempts", "tags", "tenant_id", "timeout", "payload"):
            assert getattr(run, name) == getattr(task, name), name
        assert (run.schedule_type, run.dependency_mode, run.status) == ("one_time", "all", "pending")


async def test_it_works_with_the_rights_of_each_role_and_a_producer_sees_the_runs(dsn: str, database_name: str) -> None:
    migrate(dsn, roles=True)
    ran = Ran()
    ran.fails = {3, 4}
    with (
        login(dsn, f"worker_{database_name}", member_of="pgsched_worker") as worker,
        login(dsn, f"producer_{database_name}", member_of="pgsched_producer") as producer,
        Client(producer) as client,
        database(dsn) as db,
        database(producer) as own,
    ):
        schedules = [client.schedule("load", every="1h", start=LATER, overlap=overlap) for overlap in ("skip", "allow")]
        followers = [
            client.schedule("tell", depends_on=[one], dependency_mode="each", on_dependency_dead="run")
            for one in schedules
        ]
        client.cancel(followers[0])
        client.retry(followers[0])
        async with engine(worker, ran.registry) as one:
            for _ in range(2):
                for schedule in schedules:
                    move_tick(db, schedule, "now() - interval '1 second'")
                    await drain(one)
        for follower in followers:
            seen = rows(own, "select status from pgsched.visible_tasks where parent_id = %s", follower)
            assert [row["status"] for row in seen] == ["completed"] * 2


# Ends, pauses, edits.


async def test_ticks_that_are_over_while_the_follower_is_paused_are_not_followed(dsn: str) -> None:
    async with house(dsn) as here:
        schedule = here.schedule()
        follower = here.follow(schedule)
        here.client.disable(follower)
        await here.tick(schedule)
        here.client.enable(follower)
        tick = await here.tick(schedule)
        assert here.runs(follower) == [(tick, "completed")]


async def test_a_cancelled_follower_follows_no_more_until_it_is_retried(dsn: str) -> None:
    async with house(dsn) as here:
        schedule = here.schedule()
        follower = here.follow(schedule)
        here.client.cancel(follower)
        await here.tick(schedule)
        assert here.runs(follower) == []
        here.client.retry(follower)
        assert here.status(follower) == "blocked"
        tick = await here.tick(schedule)
        assert here.runs(follower) == [(tick, "completed")]


@pytest.mark.parametrize(
    ("end", "policy", "status"),
    [
        ("cancel", "cancel", "cancelled"), ("cancel", "run", "blocked"), ("cancel", "wait", "blocked"),
        ("delete", "cancel", "cancelled"), ("delete", "run", "cancelled"), ("delete", "wait", "cancelled"),
        ("disable", "cancel", "blocked"),
    ],
)  # fmt: skip
async def test_what_becomes_of_a_follower_when_its_schedule_ends(dsn: str, end: str, policy: str, status: str) -> None:
    async with house(dsn) as here:
        schedule = here.schedule()
        follower = here.follow(schedule, on_dependency_dead=policy)
        last = here.follow(follower, on_dependency_dead=policy)
        getattr(here.client, end)(schedule)
        assert here.status(follower) == status
        goes_too = (end, policy) in {("cancel", "cancel"), ("delete", "cancel")}
        assert here.status(last) == ("cancelled" if goes_too else "blocked")
        if (end, policy) == ("cancel", "wait"):
            here.client.retry(schedule)
            tick = await here.tick(schedule)
            assert here.runs(follower) == [(tick, "completed")]


async def test_a_deleted_follower_follows_no_more(dsn: str) -> None:
    async with house(dsn) as here:
        schedule = here.schedule()
        follower = here.follow(schedule)
        here.client.delete(follower)
        await here.tick(schedule)
        assert (here.ran.told, rows(here.db, "select from pgsched.dependencies")) == ([], [])


async def test_a_follower_may_follow_another_schedule(dsn: str) -> None:
    async with house(dsn) as here:
        first, second = here.schedule(), here.schedule()
        follower = here.follow(first)
        here.client.update(follower, depends_on=[second])
        await here.tick(first)
        tick = await here.tick(second)
        assert here.runs(follower) == [(tick, "completed")]


# What is refused.


def test_what_does_not_follow_one_schedule_is_refused(client: Client, db: Database) -> None:
    schedule, once = client.schedule("load", every="1h"), client.schedule("load")
    for columns, words in (
        ({"depends_on": [once]}, f"dependency_mode each follows a schedule, but task {once} in depends_on is one_time"),
        ({"depends_on": [schedule, once]}, "dependency_mode each needs one task in depends_on, got 2"),
        ({}, "dependency_mode each needs one task in depends_on, got 0"),
        ({"depends_on": [4711]}, "depends_on: task 4711 does not exist"),
        ({"depends_on": [schedule], "scheduled_for": "2040-01-01"}, "scheduled_for must be left out with"),
        ({"depends_on": [schedule], "cron_expression": "0 8 * * *"}, "depends_on is for one-time tasks"),
    ):  # fmt: skip
        with pytest.raises(psycopg.errors.InvalidParameterValue, match=words):
            insert_task(db, "tell", dependency_mode="each", **columns)
    for options, words in (
        ({"depends_on": [schedule, once]}, "dependency_mode each needs one task in depends_on, got 2"),
        ({}, "dependency_mode each needs one task in depends_on, got 0"),
        ({"depends_on": [once]}, "dependency_mode each follows a schedule"),
        ({"depends_on": [schedule], "delay": 3}, "at and delay must be left out with dependency_mode each"),
    ):  # fmt: skip
        with pytest.raises(InvalidTask, match=words):
            client.schedule("tell", dependency_mode="each", **options)  # type: ignore[arg-type]


def test_a_circle_is_refused(client: Client, db: Database) -> None:
    schedule = client.schedule("load", every="1h")
    first = client.schedule("tell", depends_on=[schedule], dependency_mode="each")
    second = client.schedule("tell", depends_on=[first], dependency_mode="each")
    for upstream in (first, second):
        with pytest.raises(InvalidTask, match=f"depends_on: task {first} would wait for itself"):
            client.update(first, depends_on=[upstream])


def test_a_task_neither_begins_nor_ceases_to_follow_by_an_edit(client: Client) -> None:
    schedule = client.schedule("load", every="1h")
    follower = client.schedule("tell", depends_on=[schedule], dependency_mode="each")
    waits = client.schedule("tell", depends_on=[schedule])
    with pytest.raises(TransitionRefused, match=f"mode of task {follower} cannot be changed from each to all"):
        client.update(follower, dependency_mode="all")
    with pytest.raises(TransitionRefused, match=f"mode of task {waits} cannot be changed from all to each"):
        client.update(waits, dependency_mode="each", depends_on=[schedule])
    with pytest.raises(InvalidTask, match="dependency_mode each needs one task in depends_on, got 0"):
        client.update(follower, depends_on=[])


def test_no_step_and_no_default_says_each(client: Client, db: Database) -> None:
    with pytest.raises(InvalidTask, match="dependency_mode must be all or any, got 'each'"):
        group(step("tell", dependency_mode="each"))
    steps = [{"task_type": "load"}, {"task_type": "tell", "dependency_mode": "each"}]
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="step 2: dependency_mode must be all or any"):
        insert_task(db, GROUP, payload=Jsonb({"steps": steps}))
    with pytest.raises(InvalidTask, match="dependency_mode each is an option of single tasks"):
        client.set_queue("mail", defaults={"dependency_mode": "each"})
    with pytest.raises(psycopg.errors.CheckViolation, match="dependency_mode_each_is_for_single_tasks"):
        db.execute("""select pgsched.set_defaults('queue', 'mail', '{"dependency_mode": "each"}')""")


# What is seen of it.


def test_the_status_of_a_follower_says_what_it_follows(client: Client) -> None:
    schedule = client.schedule("load", every="1h")
    follower = client.schedule("tell", depends_on=[schedule], dependency_mode="each")
    status = client.status(follower)
    assert (status.schedule, status.next_runs) == (f"after each completed tick of task {schedule}", [])


async def test_a_follower_is_silent_until_a_run_of_it_is_completed(dsn: str) -> None:
    async with house(dsn) as here:
        schedule = here.schedule()
        follower = here.follow(schedule, alert_if_no_success_for="1h")
        here.db.execute(
            "update pgsched.tasks set scheduled_for = now() - interval '2 hours' where id = %s", (follower,)
        )

        def is_silent() -> bool:
            (row,) = rows(here.db, "select is_silent from pgsched.watched_tasks where task_id = %s", follower)
            return bool(row["is_silent"])

        assert is_silent()
        await here.tick(schedule)
        assert not is_silent()


async def test_of_a_follower_the_next_run_is_waited_for(dsn: str) -> None:
    async def load() -> str:
        return "loaded"

    async def tell(ctx: Context) -> list[str]:
        return list(ctx.dependencies.values())

    async with (
        AsyncClient(dsn) as client,
        running_worker(dsn, handlers(load=load, tell=tell), poll_interval=0.1),
    ):
        schedule = await client.schedule("load", every="200ms", start=datetime.now(UTC), on_missed="skip")
        follower = await client.schedule("tell", depends_on=[schedule], dependency_mode="each")
        assert await client.wait(follower, timeout=20) == ["loaded"]

        def by_sql() -> Any:
            with database(dsn) as db:
                (row,) = rows(db, "select pgsched.wait(%s, '20 s') as result", follower)
            return row["result"]

        assert await asyncio.to_thread(by_sql) == ["loaded"]


def test_a_late_dependent_of_a_tick_makes_no_run_that_was_deleted(client: Client, db: Database) -> None:
    """A task that depends on a tick long after it ended tells its end once more, but not to who follows."""
    schedule = client.schedule("load", every="1h", overlap="allow")
    follower = client.schedule("tell", depends_on=[schedule], dependency_mode="each")
    tick = insert_task(
        db, "load", parent_id=schedule, idempotency_key=f"tick:{schedule}:1", scheduled_for="2030-01-01", overlap="skip"
    )
    set_completed(db, tick)
    client.schedule("tell", depends_on=[tick])
    assert client.list_tasks(parent_id=follower) == []


def test_the_doctor_takes_a_follower_of_a_schedule_that_is_over_for_healthy(client: Client, db: Database) -> None:
    schedule = client.schedule("load", every="1h")
    follower = client.schedule("tell", depends_on=[schedule], dependency_mode="each")
    set_completed(db, schedule)
    db.execute("update pgsched.tasks set updated_at = now() - interval '1 hour'")
    (found,) = db.execute(load_statement("examine_blocked"), {"cap": 100}).fetchall()
    assert (found["number"], task_row(db, follower)["status"]) == (0, "blocked")
