"""Tasks that wait for others: from the clients, by hand, and with a worker that ends what they wait for."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from psycopg import errors

from pgsched.client.async_client import AsyncClient
from pgsched.client.client import Client
from pgsched.domain.errors import Discard, InvalidTask, TransitionRefused
from pgsched.domain.task_spec import TaskSpec
from pgsched.execution.registry import Registry
from tests.support.engine import engine, handlers, nothing, rows
from tests.support.tables import database, insert_task, move_tick, set_completed, set_dead, set_running, task_row

Database = psycopg.Connection[dict[str, Any]]
LATER = datetime(2040, 1, 1, 12, tzinfo=UTC)


async def fail() -> None:
    raise Discard("no luck")


def registry() -> Registry:
    return handlers(mail=nothing, fail=fail)


async def run_all(dsn: str) -> list[int]:
    """Run what is due until nothing is; returns the ids in the order in which they were claimed."""
    ran: list[int] = []
    async with engine(dsn, registry()) as one:
        while tasks := await one.work():
            ran += [task.id for task in tasks]
    return ran


def outcome(client: Client, task_id: int) -> tuple[str, int, str | None]:
    task = client.get(task_id)
    return task.status, task.waiting_for, task.last_error


def edges(db: Database) -> list[tuple[int, int]]:
    found = rows(db, "select upstream_id, task_id from pgsched.dependencies order by 1, 2")
    return [(row["upstream_id"], row["task_id"]) for row in found]


# What waits.


def test_task_that_waits_is_blocked_and_not_due(client: Client, db: Database) -> None:
    first, second = client.schedule("mail"), client.schedule("mail")
    task = client.get(client.schedule("mail", depends_on=[first, second, second]))
    assert (task.status, task.next_run_at, task.waiting_for) == ("blocked", None, 2)
    assert (task.depends_on, task.dependency_mode, task.on_dependency_dead) == (
        [first, second, second],
        "all",
        "cancel",
    )
    assert edges(db) == [(first, task.id), (second, task.id)]


async def test_task_runs_when_the_last_one_it_waits_for_is_completed(dsn: str) -> None:
    with Client(dsn) as client:
        later = client.schedule("mail", delay=3600)
        now = client.schedule("mail")
        last = client.schedule("mail", depends_on=[later, now], priority=10)
        assert await run_all(dsn) == [now]
        assert outcome(client, last) == ("blocked", 1, None)
        client.run_now(later)
        assert await run_all(dsn) == [later, last]
        assert outcome(client, last) == ("completed", 0, None)
    with database(dsn) as db:
        assert edges(db) == []


async def test_any_runs_when_the_first_one_is_completed(dsn: str) -> None:
    with Client(dsn) as client:
        later, now = client.schedule("mail", delay=3600), client.schedule("mail")
        last = client.schedule("mail", depends_on=[later, now], dependency_mode="any")
        assert await run_all(dsn) == [now, last]
        assert client.get(later).status == "pending"
    with database(dsn) as db:
        assert edges(db) == []


async def test_diamond_runs_in_its_order(dsn: str) -> None:
    with Client(dsn) as client:
        top = client.schedule("mail")
        left, right = (client.schedule("mail", depends_on=[top], priority=9) for _ in range(2))
        bottom = client.schedule("mail", depends_on=[left, right], priority=10)
        ran = await run_all(dsn)
    assert (ran[0], sorted(ran[1:3]), ran[3]) == (top, sorted([left, right]), bottom)


async def test_task_with_a_time_waits_for_both(dsn: str) -> None:
    with Client(dsn) as client:
        first = client.schedule("mail")
        task_id = client.schedule("mail", depends_on=[first], at=LATER)
        assert await run_all(dsn) == [first]
        task = client.get(task_id)
        assert (task.status, task.next_run_at) == ("pending", LATER)


def test_what_has_ended_already_is_not_waited_for(client: Client, db: Database) -> None:
    first = client.schedule("mail")
    set_completed(db, first)
    assert outcome(client, client.schedule("mail", depends_on=[first])) == ("pending", 0, None)


@pytest.mark.parametrize("method", ["schedule", "schedule_many"])
def test_what_is_dead_already_follows_the_policy_too(client: Client, db: Database, method: str) -> None:
    first = client.schedule("mail")
    set_dead(db, first)
    if method == "schedule":
        ids = [client.schedule("mail", depends_on=[first], on_dependency_dead=policy) for policy in ("cancel", "run")]
    else:
        ids = client.schedule_many(
            TaskSpec(task_type="mail", depends_on=[first], on_dependency_dead=policy) for policy in ("cancel", "run")
        )
    assert [client.get(one).status for one in ids] == ["cancelled", "pending"]


# What becomes of it when one is dead.


async def test_dead_dependency_cancels_those_behind_it(dsn: str) -> None:
    with Client(dsn) as client:
        first = client.schedule("fail")
        second = client.schedule("mail", depends_on=[first])
        third = client.schedule("mail", depends_on=[second])
        other = client.schedule("mail", depends_on=[second], on_dependency_dead="run")
        assert await run_all(dsn) == [first, other]
        assert outcome(client, second)[::2] == ("cancelled", f"task {first}, which it depends on, is dead")
        assert outcome(client, third)[::2] == ("cancelled", f"task {second}, which it depends on, is cancelled")
        assert client.get(second).completed_at is not None
    with database(dsn) as db:
        assert edges(db) == []


async def test_run_takes_a_dead_one_as_completed(dsn: str) -> None:
    with Client(dsn) as client:
        bad, good = client.schedule("fail"), client.schedule("mail", delay=3600)
        last = client.schedule("mail", depends_on=[bad, good], on_dependency_dead="run")
        await run_all(dsn)
        assert outcome(client, last) == ("blocked", 1, None)
        client.run_now(good)
        await run_all(dsn)
        assert client.get(last).status == "completed"


async def test_wait_waits_for_the_retry_of_a_dead_one(dsn: str) -> None:
    with Client(dsn) as client:
        bad = client.schedule("fail")
        last = client.schedule("mail", depends_on=[bad], on_dependency_dead="wait")
        await run_all(dsn)
        assert outcome(client, last) == ("blocked", 1, None)
        with database(dsn) as db:
            db.execute("update pgsched.tasks set task_type = 'mail' where id = %s", (bad,))
        client.retry(bad)
        assert await run_all(dsn) == [bad, last]


async def test_any_is_cancelled_when_the_last_one_is_dead(dsn: str) -> None:
    with Client(dsn) as client:
        first, second = client.schedule("fail"), client.schedule("fail", delay=3600)
        last = client.schedule("mail", depends_on=[first, second], dependency_mode="any")
        await run_all(dsn)
        assert outcome(client, last) == ("blocked", 1, None)
        client.run_now(second)
        await run_all(dsn)
        assert client.get(last).status == "cancelled"


def test_cancelled_and_deleted_ones_count_as_dead(client: Client, db: Database) -> None:
    cancelled, deleted = client.schedule("mail"), client.schedule("mail")
    behind_cancelled = client.schedule("mail", depends_on=[cancelled])
    behind_deleted = client.schedule("mail", depends_on=[deleted])
    client.cancel(cancelled)
    client.delete(deleted)
    assert outcome(client, behind_cancelled)[::2] == (
        "cancelled",
        f"task {cancelled}, which it depends on, is cancelled",
    )
    assert outcome(client, behind_deleted)[::2] == ("cancelled", f"task {deleted}, which it depends on, is deleted")


def test_purged_dead_are_not_waited_for_any_longer(client: Client, db: Database) -> None:
    first = client.schedule("mail")
    last = client.schedule("mail", depends_on=[first], on_dependency_dead="run")
    set_dead(db, first)  # by hand: nobody is told
    assert client.get(last).status == "blocked"
    assert client.purge_dead(all=True) == 1
    assert client.get(last).status == "pending"


async def test_retried_task_behind_a_dead_one_runs(dsn: str) -> None:
    with Client(dsn) as client:
        bad = client.schedule("fail")
        last = client.schedule("mail", depends_on=[bad])
        await run_all(dsn)
        client.retry(last)
        assert await run_all(dsn) == [last]


async def test_deleted_task_that_waits_leaves_nothing_behind(dsn: str) -> None:
    with Client(dsn) as client, database(dsn) as db:
        first = client.schedule("mail")
        last = client.schedule("mail", depends_on=[first])
        client.delete(last)
        assert edges(db) == []
        assert await run_all(dsn) == [first]


async def test_run_now_of_a_task_that_waits_runs_a_copy(dsn: str) -> None:
    with Client(dsn) as client:
        first = client.schedule("mail", delay=3600)
        last = client.schedule("mail", depends_on=[first])
        copy = client.run_now(last)
        assert await run_all(dsn) == [copy]
        assert client.get(last).status == "blocked"


async def test_the_next_tick_of_a_schedule_is_waited_for(dsn: str) -> None:
    with Client(dsn) as client, database(dsn) as db:
        schedule = client.schedule("mail", every="1h")
        await run_all(dsn)  # its first tick
        waiting = client.schedule("mail", depends_on=[schedule])
        assert outcome(client, waiting) == ("blocked", 1, None)
        move_tick(db, schedule, "now() - interval '1 ms'")
        assert await run_all(dsn) == [schedule, waiting]


# What is refused.


def test_unknown_dependency_is_refused_by_each_face(client: Client, db: Database) -> None:
    for insert in (
        lambda: client.schedule("mail", depends_on=[4711]),
        lambda: client.schedule("mail", depends_on=[4711], idempotency_key="k"),
    ):
        with pytest.raises(InvalidTask, match=r"^depends_on: task 4711 does not exist$"):
            insert()
    with pytest.raises(InvalidTask, match=r"task 1: depends_on: task 4711 does not exist$"):
        client.schedule_many([TaskSpec(task_type="mail"), TaskSpec(task_type="mail", depends_on=[4711])])
    with pytest.raises(errors.InvalidParameterValue, match="depends_on: task 4711 does not exist"):
        insert_task(db, depends_on=[4711])
    assert client.list_tasks() == []


def test_schedule_waits_for_nobody(client: Client, db: Database) -> None:
    first = client.schedule("mail")
    with pytest.raises(errors.InvalidParameterValue, match="depends_on is for one-time tasks, this one is recurring"):
        insert_task(db, cron_expression="@daily", depends_on=[first])
    with pytest.raises(InvalidTask, match="depends_on is for one-time tasks, got cron '@daily' with it"):
        client.schedule("mail", cron="@daily", depends_on=[first])


def test_circle_in_one_statement_is_refused(db: Database) -> None:
    with pytest.raises(errors.InvalidParameterValue, match="depends_on: task 1001 would wait for itself"):
        db.execute("insert into pgsched.tasks (id, task_type, depends_on) values (1001, 'mail', '{1001}')")
    with pytest.raises(errors.InvalidParameterValue, match="would wait for itself"):
        db.execute(
            "insert into pgsched.tasks (id, task_type, depends_on)"
            " values (1001, 'mail', '{1003}'), (1002, 'mail', '{1001}'), (1003, 'mail', '{1002}')"
        )


# Edits.


async def test_dependencies_are_edited_while_the_task_waits(dsn: str) -> None:
    with Client(dsn) as client, database(dsn) as db:
        first, second = client.schedule("mail", delay=3600), client.schedule("mail")
        last = client.schedule("mail", depends_on=[first])
        client.update(last, depends_on=[second], dependency_mode="any", on_dependency_dead="run")
        task = client.get(last)
        assert (task.depends_on, task.dependency_mode, task.on_dependency_dead) == ([second], "any", "run")
        assert edges(db) == [(second, last)]
        assert await run_all(dsn) == [second, last]


@pytest.mark.parametrize("nothing_more", [None, []])
def test_task_whose_dependencies_are_taken_away_is_due(client: Client, nothing_more: Any) -> None:
    last = client.schedule("mail", depends_on=[client.schedule("mail")])
    client.update(last, depends_on=nothing_more)
    task = client.get(last)
    assert (task.status, task.depends_on, task.waiting_for) == ("pending", [], 0)
    assert task.next_run_at is not None


def test_waiting_task_may_be_given_dependencies(client: Client) -> None:
    first, last = client.schedule("mail"), client.schedule("mail")
    client.update(last, depends_on=[first])
    assert outcome(client, last) == ("blocked", 1, None)


def test_edit_that_makes_a_circle_is_refused(client: Client) -> None:
    first = client.schedule("mail")
    second = client.schedule("mail", depends_on=[first])
    third = client.schedule("mail", depends_on=[second])
    with pytest.raises(InvalidTask, match=f"depends_on: task {first} would wait for itself"):
        client.update(first, depends_on=[third])
    assert outcome(client, first) == ("pending", 0, None)


@pytest.mark.parametrize("begin", [set_running, set_completed, set_dead])
def test_dependencies_of_a_task_that_began_are_not_edited(client: Client, db: Database, begin: Any) -> None:
    first, last = client.schedule("mail"), client.schedule("mail")
    begin(db, last)
    with pytest.raises(TransitionRefused, match=f"depends_on of task {last} cannot be changed: it has begun or ended"):
        client.update(last, depends_on=[first])


def test_edit_that_names_a_dead_one_follows_the_policy(client: Client, db: Database) -> None:
    first, last = client.schedule("mail"), client.schedule("mail", delay=3600)
    set_dead(db, first)
    with pytest.raises(InvalidTask, match=f"depends_on: task {first} is dead"):
        client.update(last, depends_on=[first])
    client.update(last, depends_on=[first], on_dependency_dead="wait")
    assert outcome(client, last) == ("blocked", 1, None)
    other = client.schedule("mail", delay=3600)
    client.update(other, depends_on=[first], on_dependency_dead="run")
    assert outcome(client, other) == ("pending", 0, None)


def test_edit_that_names_a_completed_one_does_not_wait_for_it(client: Client, db: Database) -> None:
    first, last = client.schedule("mail"), client.schedule("mail")
    set_completed(db, first)
    client.update(last, depends_on=[first])
    assert outcome(client, last) == ("pending", 0, None)


def test_edit_of_another_option_leaves_the_dependencies(client: Client, db: Database) -> None:
    first = client.schedule("mail")
    last = client.schedule("mail", depends_on=[first], concurrency_key="a")
    client.update(last, priority=9, concurrency_key=None)
    task = client.get(last)
    assert (task.status, task.priority, task.concurrency_key) == ("blocked", 9, None)
    assert edges(db) == [(first, last)]


# Transactions, many at once, the other client.


def test_tasks_of_one_transaction_wait_for_one_another(client: Client, dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        first = client.schedule("mail", connection=connection)
        last = client.schedule("mail", depends_on=[first], connection=connection)
    assert outcome(client, last) == ("blocked", 1, None)


def test_rollback_leaves_nothing_waited_for(client: Client, db: Database, dsn: str) -> None:
    first = client.schedule("mail")
    with psycopg.connect(dsn) as connection:
        client.schedule("mail", depends_on=[first], connection=connection)
        connection.rollback()
    assert (edges(db), task_row(db, first)["observed"]) == ([], False)


async def test_many_at_once_wait_as_one_does(dsn: str) -> None:
    with Client(dsn) as client:
        firsts = client.schedule_many(TaskSpec(task_type="mail") for _ in range(20))
        keyed = [TaskSpec(task_type="mail", depends_on=[one], idempotency_key=f"k{one}") for one in firsts[:2]]
        plain = [TaskSpec(task_type="mail", depends_on=firsts) for _ in range(3)]
        ids = client.schedule_many(keyed + plain)
        assert [client.get(one).waiting_for for one in ids] == [1, 1, 20, 20, 20]
        ran = await run_all(dsn)
        assert sorted(ran[:20]) == sorted(firsts)
        assert sorted(ran[20:]) == sorted(ids)


async def test_the_client_for_event_loops_does_the_same(dsn: str) -> None:
    async with AsyncClient(dsn) as client:
        first = await client.schedule("mail")
        last = await client.schedule("mail", depends_on=[first])
        assert (await client.get(last)).status == "blocked"
        tree = await client.tree(last)
        assert ([one.id for one in tree.upstream], tree.depends_on) == ([first], [first])
        assert await run_all(dsn) == [first, last]


# Trees.


def test_tree_shows_what_is_waited_for_and_who_waits(client: Client, db: Database) -> None:
    top = client.schedule("mail", name="top")
    left, right = (client.schedule("mail", depends_on=[top]) for _ in range(2))
    bottom = client.schedule("mail", depends_on=[left, right])
    after = client.schedule("mail", depends_on=[bottom])
    tree = client.tree(bottom)
    assert [one.id for one in tree.upstream] == [left, right]
    assert [[above.id for above in one.upstream] for one in tree.upstream] == [[top], []]
    assert [one.id for one in tree.dependents] == [after]
    assert (tree.children, tree.status, tree.duration) == ([], "blocked", None)
    assert tree.upstream[0].upstream[0].name == "top"
    down = client.tree(top)
    assert [one.id for one in down.dependents] == [left, right]
    assert [one.id for one in down.dependents[0].dependents] == [bottom]


async def test_tree_tells_how_long_each_took_and_why_one_failed(dsn: str) -> None:
    with Client(dsn) as client:
        first = client.schedule("fail")
        last = client.schedule("mail", depends_on=[first], on_dependency_dead="run")
        await run_all(dsn)
        tree = client.tree(last)
        (upstream,) = tree.upstream
        assert (tree.status, upstream.status, upstream.last_error) == ("completed", "dead", "Discard: no luck")
        assert tree.duration is not None
        assert upstream.duration is not None
        assert 0 <= tree.duration < 60
