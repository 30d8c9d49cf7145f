"""A tenant is moved from one database to another while it works: nothing is lost, and nothing is there twice."""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Callable, Iterator

import pytest
from psycopg.pq import TransactionStatus

from chaos.shards.mover import STEPS as CHANGING_STEPS
from pgsched import (
    Client,
    ConfigError,
    DatabaseUnavailable,
    KeyStayed,
    ShardedClient,
    TaskSpec,
    TenantMoved,
    TenantMoving,
    TransitionRefused,
)
from pgsched.db.database import Database
from pgsched.domain.shards import hashed_shard, shard_key
from pgsched.ops.shards import Move, MoveUnfinished
from tests.support.shards import NAMES, opened, tenant_of, where
from tests.support.tables import database, insert_task, set_completed, set_dead, set_running, task_row
from tests.support.waiting import wait_until

STEPS = ("read the placements", *CHANGING_STEPS)


class Killed(Exception):
    """Stands for a SIGKILL: nothing runs after it."""


@pytest.fixture
def tenant() -> str:
    return tenant_of("a")


@pytest.fixture
def databases(shards: dict[str, str]) -> Iterator[dict[str, Database]]:
    with opened(shards) as found:
        yield found


def killed_at(step: str, occurrence: int = 1) -> Callable[[str], None]:
    left = occurrence

    def before(now: str) -> None:
        nonlocal left
        left -= now == step
        if now == step and not left:
            raise Killed(step)

    return before


def state(dsn: str, tenant: str) -> list[tuple[str, str]]:
    with database(dsn) as connection:
        rows = connection.execute(
            "select state, shard from pgsched.placements where tenant_id = %s", (tenant,)
        ).fetchall()
        return [(row["state"], row["shard"]) for row in rows]


def empty_after(shards: dict[str, str]) -> bool:
    """Whether no task is on its way."""
    for dsn in shards.values():
        with database(dsn) as connection:
            if connection.execute("select from pgsched.departing_tasks").fetchall():
                return False
    return True


def test_what_waits_has_ended_or_is_dead_is_moved_as_it_was(
    shards: dict[str, str], databases: dict[str, Database], tenant: str
) -> None:
    with database(shards["a"]) as a, database(shards["b"]) as b:
        ids = [
            insert_task(a, tenant_id=tenant, task_name="waits", payload='{"deep": [1.50, null]}', idempotency_key="k1"),
            insert_task(a, tenant_id=tenant, task_name="later", scheduled_for="2099-01-01 10:00+02", tags=["x", "y"]),
            insert_task(a, tenant_id=tenant, task_name="daily", cron_expression="0 9 * * *", timezone="Europe/Berlin"),
            insert_task(a, tenant_id=tenant, task_name="hourly", repeat_interval="1 hour 0.5 seconds", repeat_count=9),
            insert_task(a, tenant_id=tenant, task_name="done"),
            insert_task(a, tenant_id=tenant, task_name="dead"),
            insert_task(a, tenant_id=tenant, task_name="paused", enabled=False),
        ]
        set_completed(a, ids[4])
        set_dead(a, ids[5])
        other = insert_task(a, tenant_id="other", task_name="other")
        a.execute("update pgsched.tasks set fencing_token = 5000, attempts = 2 where id = %s", (ids[0],))
        before = [task_row(a, id) for id in ids]
        moved = Move(databases, tenant, "b").run()
        assert (moved.source, moved.target, moved.tasks, moved.staying) == ("a", "b", 7, 0)
        after = b.execute("select * from pgsched.tasks order by id").fetchall()
        assert [row | {"id": 0} for row in after] == [row | {"id": 0} for row in before]
        assert [row["id"] for row in a.execute("select id from pgsched.tasks")] == [other]
        token = b.execute("select nextval('pgsched.fencing_tokens') as token").fetchone()
        assert token is not None
        assert token["token"] > 5000
    assert (state(shards["a"], tenant), state(shards["b"], tenant)) == ([("left", "b")], [("here", "b")])
    assert empty_after(shards)
    assert Move(databases, tenant, "b").run().tasks == 0


def test_what_runs_and_families_of_tasks_end_where_they_are(
    shards: dict[str, str], databases: dict[str, Database], tenant: str
) -> None:
    with Client(shards["a"]) as client, database(shards["a"]) as a:
        running = client.schedule("mail", tenant_id=tenant, name="running", idempotency_key="runs")
        set_running(a, running)
        first = client.schedule("mail", tenant_id=tenant, name="first")
        client.schedule("mail", tenant_id=tenant, name="second", depends_on=[first], idempotency_key="waits")
        client.schedule("mail", tenant_id=tenant, name="alone")
        moved = Move(databases, tenant, "b").run()
    assert (moved.tasks, moved.staying) == (1, 3)
    assert where(shards, tenant) == {"a": ["first", "running", "second"], "b": ["alone"], "c": []}
    with (
        Client(shards["b"]) as b,
        pytest.raises(KeyStayed, match=f"'runs' is that of task {running}, which stayed in shard a"),
    ):
        b.schedule("mail", tenant_id=tenant, idempotency_key="runs")
    with ShardedClient(shards) as sharded:
        placed = sharded.schedule("mail", tenant_id=tenant, idempotency_key="runs")
        assert placed == ("a", running)
        assert sharded.schedule("mail", tenant_id=tenant, idempotency_key="free").shard == "b"
    assert Move(databases, tenant, "c").run().source == "b"
    with Client(shards["c"]) as c, pytest.raises(KeyStayed, match="stayed in shard a"):
        c.schedule("mail", tenant_id=tenant, idempotency_key="waits")
    # Back where they are, the keys are guarded by the table itself.
    assert Move(databases, tenant, "a").run().source == "c"
    with Client(shards["a"]) as client:
        assert client.schedule("mail", tenant_id=tenant, idempotency_key="runs") == running


def test_a_move_that_was_killed_is_finished_by_the_next(shards: dict[str, str], databases: dict[str, Database]) -> None:
    names = [f"{n:02}" for n in range(5)]
    in_a = [f"t{n}" for n in range(100) if hashed_shard(NAMES, shard_key(f"t{n}")) == "a"]
    for step, tenant in zip(STEPS, in_a, strict=False):
        with Client(shards["a"]) as client:
            client.schedule_many(
                TaskSpec(task_type="mail", tenant_id=tenant, name=name, idempotency_key=tenant + name) for name in names
            )
        with pytest.raises(Killed, match=step):
            Move(databases, tenant, "b", batch=2, before=killed_at(step)).run()
        moved = Move(databases, tenant, "b", batch=2).run()
        assert (moved.source, moved.target) == ("a", "b")
        assert where(shards, tenant) == {"a": [], "b": names, "c": []}, step
        assert (state(shards["a"], tenant), state(shards["b"], tenant)) == ([("left", "b")], [("here", "b")])
    assert empty_after(shards)


def test_any_history_of_kills_and_targets_keeps_each_task_once(
    shards: dict[str, str], databases: dict[str, Database], tenant: str
) -> None:
    """Tasks are added all the time, moves are killed anywhere, and repeated, in random order."""
    chance = random.Random(21)
    names: list[str] = []
    finished = 0
    with ShardedClient(shards, move_timeout=0) as client:
        target = "b"
        for _ in range(50):
            target = chance.choice((target, target, *NAMES))
            for _ in range(2):
                name = f"{len(names):03}"
                key = name if chance.random() < 0.5 else None
                with contextlib.suppress(TenantMoved, TenantMoving):  # a client waits
                    client.schedule("mail", tenant_id=tenant, name=name, idempotency_key=key)
                    names.append(name)
            before = killed_at(chance.choice(STEPS), chance.choice((1, 2)))
            with contextlib.suppress(Killed, TransitionRefused):
                Move(databases, tenant, target, batch=2, before=before).run()
                finished += 1
        for target in NAMES:  # one of them continues what is under way
            with contextlib.suppress(TransitionRefused):
                Move(databases, tenant, target).run()
        Move(databases, tenant, "c").run()
    assert len(names) > 20
    assert finished > 5
    assert where(shards, tenant) == {"a": [], "b": [], "c": names}
    assert empty_after(shards)


def test_a_mover_that_was_suspended_delivers_nothing_after_another_has_finished(
    shards: dict[str, str], databases: dict[str, Database], tenant: str
) -> None:
    with Client(shards["a"]) as client:
        client.schedule("mail", tenant_id=tenant, name="x")

    def overtake(step: str) -> None:
        if step == "deliver a batch":
            Move(databases, tenant, "b").run()
            Move(databases, tenant, "a").run()
            Move(databases, tenant, "b").run()

    with pytest.raises(TransitionRefused, match=f"the move of tenant {tenant} was finished by another process"):
        Move(databases, tenant, "b", before=overtake).run()
    assert where(shards, tenant) == {"a": [], "b": ["x"], "c": []}


def test_a_move_that_was_only_announced_is_withdrawn_by_one_to_another_shard(
    shards: dict[str, str], databases: dict[str, Database], tenant: str
) -> None:
    with pytest.raises(Killed):
        Move(databases, tenant, "b", before=killed_at("close the source")).run()
    assert state(shards["b"], tenant) == [("arriving", "b")]
    Move(databases, tenant, "c").run()
    assert state(shards["b"], tenant) == [("left", "c")]
    with pytest.raises(TenantMoved, match=f"^tenant {tenant} has moved to shard c$"), Client(shards["b"]) as client:
        client.schedule("mail", tenant_id=tenant)
    # And one that stays where it is.
    with pytest.raises(Killed):
        Move(databases, tenant, "a", before=killed_at("close the source")).run()
    Move(databases, tenant, "c").run()
    assert state(shards["a"], tenant) == [("left", "c")]
    assert state(shards["c"], tenant) == [("here", "c")]
    assert Move(databases, tenant, "b").run().source == "c"


def test_two_movers_at_once_share_the_work(shards: dict[str, str], tenant: str) -> None:
    names = [f"{n:03}" for n in range(200)]
    with Client(shards["a"]) as client:
        for name in names:
            client.schedule("mail", tenant_id=tenant, name=name)

    def move() -> None:
        with opened(shards) as own:
            try:
                Move(own, tenant, "b", batch=10).run()
            except TransitionRefused as error:
                assert "finished by another process" in str(error)  # noqa: PT017

    threads = [threading.Thread(target=move) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert where(shards, tenant) == {"a": [], "b": names, "c": []}
    assert state(shards["b"], tenant) == [("here", "b")]


def test_an_insert_that_had_begun_before_is_waited_for_and_moved(
    shards: dict[str, str], databases: dict[str, Database], tenant: str
) -> None:
    with database(shards["a"]) as a, database(shards["a"]) as watcher:
        a.execute("begin")
        insert_task(a, tenant_id=tenant, task_name="open")
        with pytest.raises(MoveUnfinished, match="waits for a transaction that has been open"):
            Move(databases, tenant, "b", timeout=0.2).run()
        mover = threading.Thread(target=Move(databases, tenant, "b").run)
        mover.start()
        wait_until(lambda: state(shards["a"], tenant) == [("leaving", "b")])
        with pytest.raises(TenantMoved), Client(shards["a"]) as client:
            client.schedule("mail", tenant_id=tenant)
        assert watcher.execute("select from pgsched.tasks").fetchall() == []
        a.execute("commit")
        mover.join()
    assert where(shards, tenant) == {"a": [], "b": ["open"], "c": []}


def test_a_row_that_a_worker_has_locked_is_waited_for(
    shards: dict[str, str], databases: dict[str, Database], tenant: str
) -> None:
    with database(shards["a"]) as a:
        id = insert_task(a, tenant_id=tenant, task_name="locked")

        def lock(step: str) -> None:
            if step == "park a batch" and a.info.transaction_status is TransactionStatus.IDLE:
                a.execute("begin")
                a.execute("select from pgsched.tasks where id = %s for no key update", (id,))

        with pytest.raises(MoveUnfinished, match=r"waits for 1 tasks in shard a"):
            Move(databases, tenant, "b", timeout=0.2, before=lock).run()
        a.execute("rollback")
        assert Move(databases, tenant, "b").run().tasks == 1


def test_a_move_is_refused_that_cannot_be_begun(
    shards: dict[str, str], databases: dict[str, Database], tenant: str
) -> None:
    with pytest.raises(ConfigError, match="the target must be one of a, b, c, got 'd'"):
        Move(databases, tenant, "d")
    with pytest.raises(Killed):
        Move(databases, tenant, "b", before=killed_at("reserve keys")).run()
    with pytest.raises(TransitionRefused, match=f"tenant {tenant} is moving to shard b: finish that first"):
        Move(databases, tenant, "c").run()
    down = Database(dsn="postgresql://nobody@127.0.0.1:1/nothing?connect_timeout=1", pool_size=1)
    with pytest.raises(DatabaseUnavailable, match=r"^shard c, and a move needs all of them: "):
        Move(databases | {"c": down}, tenant, "b").run()
    with pytest.raises(ConfigError, match="there is no DSN for shard c"):
        Move({name: databases[name] for name in "ab"}, tenant, "b").run()
