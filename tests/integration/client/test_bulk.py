"""Changes to many tasks, a batch in a transaction."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import psycopg
import pytest

from pgsched import AsyncClient, Client, InvalidTask
from pgsched.db.queries import dead_tasks
from tests.support.durable import record_steps
from tests.support.tables import set_dead, task_row

Database = psycopg.Connection[dict[str, Any]]


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_tasks, "BATCH", 2)


def children(client: Client, number: int) -> tuple[int, list[int]]:
    parent = client.schedule("mail", delay=3600)
    return parent, [client.schedule("mail", parent_id=parent, delay=3600) for _ in range(number)]


def statuses(client: Client, ids: list[int]) -> list[str]:
    return [client.get(one).status for one in ids]


def test_children_are_cancelled_batch_by_batch_the_latest_first(client: Client) -> None:
    parent, made = children(client, 5)
    told = list(client.change_in_batches("cancel", batch=2, parent_id=parent))
    assert [(one.looked_at, one.changed) for one in told] == [(2, 2), (4, 4), (5, 5)]
    assert [one.ids for one in told] == [made[3:5], made[1:3], made[:1]]
    assert statuses(client, made) == ["cancelled"] * 5
    assert client.get(parent).status == "pending"


def test_a_cancellation_of_many_reaches_what_depends_on_them(client: Client, db: Database) -> None:
    """Those of which nothing else is to be told are cancelled by one statement; these are not among them."""
    plain, recurring = client.schedule("mail", delay=3600), client.schedule("mail", cron="@daily")
    upstream = client.schedule("mail", delay=3600)
    dependent = client.schedule("mail", depends_on=[upstream])
    run, child = client.schedule("order", delay=3600), client.schedule("mail", delay=3600)
    record_steps(db, run, "ship", kind="child", status="waiting", child_id=child, cancels_child=True)
    fired, copy = client.schedule("mail", delay=3600), client.schedule("mail", delay=3600)
    db.execute("update pgsched.tasks set fired = array[%s]::bigint[] where id = %s", (copy, fired))
    client.set_queue_events("told", True)
    told = client.schedule("mail", queue="told", delay=3600)
    tokens = {one: task_row(db, one)["fencing_token"] for one in (plain, recurring)}
    with psycopg.connect(db.info.dsn, autocommit=True) as listener:
        listener.execute("listen pgsched_events")
        asked = [plain, recurring, upstream, run, fired, told]
        changed = db.execute("select * from pgsched.change_tasks('cancel', %s, false) as id", (asked,))
        assert sorted(row["id"] for row in changed) == sorted(asked)
        assert [json.loads(one.payload)["id"] for one in listener.notifies(timeout=30, stop_after=1)] == [told]
    assert statuses(client, [*asked, dependent, child, copy]) == ["cancelled"] * 9
    alone = client.schedule("mail", delay=3600)
    client.cancel(alone)
    differing = {"id", "created_at", "updated_at", "scheduled_for", "completed_at", "fencing_token", "planned_from"}
    by_itself, among_many = ({**task_row(db, one)} for one in (alone, plain))
    assert {**by_itself, **dict.fromkeys(differing)} == {**among_many, **dict.fromkeys(differing)}
    for one, token in tokens.items():
        row = task_row(db, one)
        assert row["fencing_token"] > token
        assert row["completed_at"] == row["updated_at"]


def test_each_batch_is_a_transaction_of_its_own(client: Client, db: Database) -> None:
    parent, made = children(client, 5)
    told = client.change_in_batches("cancel", batch=2, parent_id=parent)
    next(told)
    assert [task_row(db, one)["status"] for one in made] == ["pending"] * 3 + ["cancelled"] * 2
    moments = {task_row(db, one)["completed_at"] for one in made[3:]}
    next(told)
    assert len(moments | {task_row(db, one)["completed_at"] for one in made[1:3]}) == 2


def test_a_second_call_goes_on_where_the_first_one_was_interrupted(client: Client, db: Database) -> None:
    parent, made = children(client, 5)
    db.execute(
        "create function refuse() returns trigger language plpgsql as $$ begin raise 'not this one'; end $$;"
        "create trigger refuse before update on pgsched.tasks for each row"
        f" when (old.id = {made[1]}) execute function refuse()"
    )
    done = 0
    with pytest.raises(Exception, match="not this one"):  # noqa: PT012
        for one in client.change_in_batches("cancel", batch=2, parent_id=parent):
            done = one.changed
    assert done == 2
    db.execute("drop trigger refuse on pgsched.tasks")
    *_, last = client.change_in_batches("cancel", batch=2, parent_id=parent)
    assert (last.looked_at, last.changed) == (5, 3)
    assert statuses(client, made) == ["cancelled"] * 5


def test_what_fits_no_longer_when_its_batch_comes_is_left_alone(client: Client, db: Database) -> None:
    made = [client.schedule("mail", queue="q") for _ in range(4)]
    for one in made:
        set_dead(db, one)
    told = client.change_in_batches("delete", batch=2, queue=["q"], status=["dead"])
    next(told)
    client.retry(made[0])
    rest = list(told)
    assert rest[-1].changed == 3
    assert client.get(made[0]).status == "pending"


def test_tasks_that_come_meanwhile_are_left_alone(client: Client) -> None:
    for _ in range(4):
        client.schedule("mail", queue="q", every="1h")
    for done in client.change_in_batches("run", batch=2, queue=["q"]):  # each makes a copy in the same queue
        assert done.changed <= 4
    assert done.changed == 4


@pytest.mark.parametrize(
    ("action", "given", "rule"),
    [
        ("cancel", {}, "must have a filter"),
        ("burn", {"queue": ["q"]}, "action must be"),
        ("cancel", {"queue": ["q"], "batch": 1001}, "batch must be between 1 and 1000, got 1001"),
        ("cancel", {"colour": "red"}, "'colour' is no filter of tasks"),
    ],
)
def test_a_senseless_change_is_refused(client: Client, action: str, given: dict[str, Any], rule: str) -> None:
    with pytest.raises(InvalidTask, match=rule):
        next(client.change_in_batches(action, **given))


async def test_changes_in_batches_on_the_event_loop(dsn: str) -> None:
    async with AsyncClient(dsn) as client:
        parent = await client.schedule("mail", delay=60)
        for _ in range(3):
            await client.schedule("mail", parent_id=parent)
        told = [one.changed async for one in client.change_in_batches("cancel", batch=2, parent_id=parent)]
    assert told == [2, 3]


def test_a_change_tells_where_the_next_one_goes_on(client: Client) -> None:
    parent, made = children(client, 5)
    first = client.change_tasks("disable", limit=3, parent_id=parent)
    assert (first.changed, first.more) == (made[2:], True)
    second = client.change_tasks("disable", limit=3, before_id=first.next_before, parent_id=parent)
    assert (second.changed, second.more, second.next_before) == (made[:2], False, None)


# Dead letters.


@pytest.mark.usefixtures("small_batches")
def test_dead_tasks_are_retried_in_batches_those_that_died_first_before_others(client: Client, db: Database) -> None:
    made = [client.schedule("mail") for _ in range(5)]
    for hours, one in enumerate(made):
        set_dead(db, one, ago=f"{hours} hours")
    told: list[int] = []
    assert client.retry_dead(all=True, on_progress=told.append) == 5
    assert told == [2, 4, 5]
    due = [client.get(one).next_run_at for one in reversed(made)]
    assert len(set(due)) == 3  # a transaction each
    assert all(one <= after for one, after in pairwise(due) if one and after)


@pytest.mark.usefixtures("small_batches")
def test_dead_tasks_that_died_at_one_moment_are_all_retried(client: Client, db: Database) -> None:
    made = [client.schedule("mail", queue=queue) for queue in "ababa"]
    db.execute("set pgsched.restoring = on")
    db.execute("update pgsched.tasks set status = 'dead', died_at = '2026-01-01Z', next_run_at = null")
    assert client.retry_dead(queue="a") == 3
    assert client.retry_dead(all=True) == 2
    assert statuses(client, made) == ["pending"] * 5


@pytest.mark.usefixtures("small_batches")
def test_a_purge_passes_over_what_is_kept(client: Client, db: Database) -> None:
    made = [client.schedule("mail") for _ in range(5)]
    for one in made:
        set_dead(db, one, ago="2 days")
    db.execute(f"create table keeps (task bigint references pgsched.tasks); insert into keeps values ({made[0]})")
    told: list[int] = []
    assert client.purge_dead(older_than="1d", on_progress=told.append) == 4
    assert told[-1] == 4
    assert [one.id for one in client.dead()] == made[:1]


@pytest.mark.usefixtures("small_batches")
def test_what_dies_meanwhile_is_not_retried_for_ever(client: Client, db: Database) -> None:
    made = [client.schedule("mail") for _ in range(3)]
    for one in made:
        set_dead(db, one, ago="1 hour")

    def die_again(_number: int) -> None:
        for one in made:
            if client.get(one).status == "pending":
                set_dead(db, one)

    assert client.retry_dead(all=True, on_progress=die_again) == 3


@pytest.mark.usefixtures("small_batches")
def test_within_a_transaction_all_batches_are_part_of_it(client: Client, db: Database) -> None:
    made = [client.schedule("mail") for _ in range(5)]
    for one in made:
        set_dead(db, one)
    with pytest.raises(LookupError), client.transaction() as inside:  # noqa: PT012
        assert inside.retry_dead(all=True) == 5
        raise LookupError
    assert statuses(client, made) == ["dead"] * 5
