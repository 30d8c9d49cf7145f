"""Claims of queues with limits: over all workers, per key, per time; and of queues whose rows age."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import psycopg
import pytest

from pgsched import App, Client, RegistrationError
from pgsched.db.sql_files import load_statement
from pgsched.worker import claimer
from tests.support import guards
from tests.support.engine import (
    Engine,
    engine,
    expire_leases,
    handlers,
    history,
    nothing,
    rows,
    running_worker,
)
from tests.support.tables import WORKER, add_worker, database, insert_task, set_completed, set_running, task_row
from tests.support.waiting import wait_until, wait_until_async

Database = psycopg.Connection[dict[str, Any]]


def limit(db: Database, queue: str = "default", **limits: Any) -> None:
    given = ", ".join(f"{name} => %({name})s" for name in limits)
    db.execute(f"select pgsched.limit_queue(%(queue)s, {given})", {"queue": queue, **limits})


def insert_many(db: Database, number: int, **columns: Any) -> None:
    values = {"task_type": "mail"} | columns
    names = ", ".join(values)
    places = ", ".join(f"%({name})s" for name in values)
    db.execute(
        f"insert into pgsched.tasks ({names}) select {places} from generate_series(1, {number})",
        values,
    )


def keys_of(db: Database, ids: list[int]) -> list[str | None]:
    found = {row["id"]: row["concurrency_key"] for row in rows(db, "select id, concurrency_key from pgsched.tasks")}
    return [found[task_id] for task_id in ids]


async def claimed(one: Engine, limit: int = 100) -> list[int]:
    """What a claim brings, at whatever pace it would be asked."""
    one.worker.limited_claims.reserve = lambda finishes: None  # type: ignore[method-assign,misc]  # finishes write, and claim nothing
    ask_now(one)
    return [task.id for task in await one.claim(limit)]


def ask_now(one: Engine) -> None:
    """As if all the time had passed until each queue is asked again."""
    one.worker.claimer._learn_at = 0.0
    one.worker.claimer._shared_at = 0.0
    for line in one.worker.rotation.limited.values():
        line.ready_at = None if line.ready_at is None else 0.0


# So many at once.


def test_no_more_run_at_once_than_the_limit_over_all_workers(dsn: str) -> None:
    asyncio.run(guards.a_limit_of_concurrency_holds_over_all_workers(dsn))


async def test_a_finish_makes_room(dsn: str, db: Database) -> None:
    limit(db, concurrency=2)
    insert_many(db, 5)
    async with engine(dsn) as one, engine(dsn) as other:
        assert len(await claimed(one)) == 2
        assert await claimed(other) == []
        await one.run()
        assert len(await claimed(other)) == 2


@pytest.mark.parametrize("ending", ["cancel", "delete", "expire"])
async def test_whatever_ends_a_run_makes_room(dsn: str, db: Database, ending: str) -> None:
    limit(db, concurrency=1)
    insert_many(db, 2)
    async with engine(dsn) as one, engine(dsn) as other:
        (running,) = await claimed(one)
        assert await claimed(other) == []
        if ending == "cancel":
            db.execute("select pgsched.cancel(%s)", (running,))
        elif ending == "delete":
            db.execute("delete from pgsched.tasks where id = %s", (running,))
        else:
            expire_leases(db)
        assert len(await claimed(other)) == 1
        assert rows(db, "select count(*) as n from pgsched.slots") == [{"n": 1}]


async def test_a_release_makes_room(dsn: str, db: Database) -> None:
    limit(db, concurrency=1)
    insert_many(db, 2)
    async with engine(dsn) as one, engine(dsn) as other:
        await claimed(one)
        await one.worker.ending().give_back(one.leased_tasks.take_waiting())
        assert len(await claimed(other)) == 1


async def test_a_lost_attempt_of_a_limited_queue_is_recorded(dsn: str, db: Database) -> None:
    limit(db, concurrency=1)
    task_id = insert_task(db)
    set_running(db, task_id)
    expire_leases(db)
    async with engine(dsn) as one:
        assert await claimed(one) == [task_id]
    assert [row["status"] for row in history(db, task_id)] == ["lost"]


async def test_what_ran_before_there_was_a_limit_counts(dsn: str, db: Database) -> None:
    insert_many(db, 4)
    async with engine(dsn) as one, engine(dsn) as other:
        assert len(await one.claim(2)) == 2
        limit(db, concurrency=3)
        assert len(await claimed(other)) == 1


async def test_a_limit_that_is_taken_away_holds_nothing_back(dsn: str, db: Database) -> None:
    limit(db, concurrency=1)
    insert_many(db, 5)
    async with engine(dsn) as one:
        assert len(await claimed(one)) == 1
        assert rows(db, "select pgsched.unlimit_queue('default') as had") == [{"had": True}]
        assert len(await claimed(one)) == 4


async def test_a_worker_that_has_not_heard_of_a_limit_takes_nothing(dsn: str, db: Database) -> None:
    insert_many(db, 5)
    async with engine(dsn) as one:
        await one.claim(1)
        limit(db, concurrency=1)
        assert one.worker.rotation.limited == {}
        assert await one.claim() == []


async def test_limits_of_one_queue_leave_others_alone(dsn: str, db: Database) -> None:
    limit(db, "mail", concurrency=1)
    insert_many(db, 3, queue="mail")
    insert_many(db, 3, queue="other")
    async with engine(dsn, queues=("mail", "other")) as one:
        assert len(await claimed(one)) == 4


async def test_a_queue_whose_row_is_locked_holds_up_no_other(dsn: str, db: Database) -> None:
    limit(db, "mail", concurrency=1)
    mail, other = insert_task(db, queue="mail"), insert_task(db, queue="other")
    async with engine(dsn, queues=("mail", "other")) as one:
        with database(dsn) as slow, slow.transaction():
            slow.execute("update pgsched.queues set updated_at = now()")
            assert await claimed(one) == [other]
        assert await claimed(one) == [mail]


async def test_a_paused_queue_with_limits_gives_nothing(dsn: str, db: Database) -> None:
    limit(db, concurrency=2)
    insert_many(db, 2)
    db.execute("update pgsched.queues set paused = true")
    async with engine(dsn) as one:
        assert await claimed(one) == []
        db.execute("update pgsched.queues set paused = false")
        assert len(await claimed(one)) == 2


@pytest.mark.parametrize("ordering", ["fifo", "lifo"])
@pytest.mark.parametrize("limits", [{"concurrency": 3}, {"concurrency_per_key": 3}, {"rate": 3}])
async def test_a_queue_with_limits_keeps_its_order(
    dsn: str, db: Database, ordering: str, limits: dict[str, int]
) -> None:
    limit(db, **limits)
    db.execute("update pgsched.queues set ordering = %s", (ordering,))
    low = [insert_task(db, priority=1, concurrency_key="k") for _ in range(2)]
    high = [insert_task(db, priority=9, concurrency_key="k") for _ in range(2)]
    async with engine(dsn) as one:
        found = await claimed(one)
    assert found == ([*high, low[0]] if ordering == "fifo" else [*high[::-1], low[1]])


async def test_only_rows_with_a_handler_are_claimed_from_a_queue_with_limits(dsn: str, db: Database) -> None:
    limit(db, concurrency=2, concurrency_per_key=1)
    insert_task(db, "unknown", concurrency_key="a")
    known = insert_task(db, concurrency_key="a")
    async with engine(dsn) as one:
        assert await claimed(one) == [known]


async def test_payloads_of_a_queue_with_limits_are_bounded_by_their_size(dsn: str, db: Database) -> None:
    limit(db, concurrency=100)
    db.execute(
        "insert into pgsched.tasks (task_type, payload)"
        " select 'mail', jsonb_build_object('text', repeat('x', 1000000)) from generate_series(1, 40)"
    )
    async with engine(dsn) as one:
        assert 10 <= len(await claimed(one)) <= 18  # 16 MiB of a megabyte each


# So many in a time.


async def test_no_more_start_in_a_time_than_the_rate(dsn: str, db: Database) -> None:
    limit(db, rate=3, per="1 hour")
    insert_many(db, 5)
    async with engine(dsn) as one, engine(dsn) as other:
        assert len(await claimed(one, 2)) == 2
        assert len(await claimed(other)) == 1
        await one.run()
        assert await claimed(other) == []
        line = other.worker.rotation.limited["default"]
        assert line.ready_at is not None
        assert 3590 < line.ready_at - line.asked_at < 3700  # until the first start leaves the window


async def test_what_has_left_the_window_makes_room(dsn: str, db: Database) -> None:
    limit(db, rate=3, per="1 hour")
    insert_many(db, 9)
    async with engine(dsn) as one:
        assert len(await claimed(one)) == 3
        db.execute("update pgsched.starts set at = at - interval '59 minutes', since = since - interval '59 minutes'")
        assert await claimed(one) == []
        db.execute("update pgsched.starts set at = at - interval '2 minutes', since = since - interval '2 minutes'")
        assert len(await claimed(one)) == 3
        db.execute("select pgsched.unlimit_queue('default')")
        limit(db, rate=5, per="1 hour")
        assert len(await claimed(one)) == 2  # three of the five are in the window


async def test_the_log_of_starts_stays_small(dsn: str, db: Database) -> None:
    limit(db, rate=1_000_000, per="1 hour")
    async with engine(dsn) as one:
        for _ in range(30):
            insert_many(db, 3)
            await claimed(one)
    (log,) = rows(db, "select count(*) as n, sum(number) as starts from pgsched.starts")
    assert log["starts"] == 90
    assert log["n"] <= 3  # a row for each 500th of the hour


# Per key.


async def test_no_more_of_a_key_run_at_once_than_its_limit(dsn: str, db: Database) -> None:
    limit(db, concurrency_per_key=2)
    for key in ("a", "b"):
        insert_many(db, 5, concurrency_key=key)
    insert_many(db, 3)
    async with engine(dsn) as one, engine(dsn) as other:
        found = await claimed(one)
        assert sorted(map(str, keys_of(db, found))) == ["None", "None", "None", "a", "a", "b", "b"]
        assert await claimed(other) == []
        set_completed(db, next(task for task in found if keys_of(db, [task]) == ["b"]))
        assert keys_of(db, await claimed(other)) == ["b"]


async def test_keys_take_turns(dsn: str, db: Database) -> None:
    limit(db, concurrency=100, concurrency_per_key=50)
    insert_many(db, 20, concurrency_key="a")
    insert_many(db, 20, concurrency_key="b")
    insert_many(db, 20, concurrency_key="c")
    async with engine(dsn) as one:
        found = [key for _ in range(6) for key in keys_of(db, await claimed(one, 2))]
    assert found == ["a", "b", "c"] * 4


@pytest.mark.parametrize("limits", [{"concurrency_per_key": 1}, {"rate_per_key": 1, "per": "1 hour"}])
async def test_a_key_with_thousands_of_rows_does_not_hide_the_others(
    dsn: str, db: Database, limits: dict[str, Any]
) -> None:
    limit(db, **limits)
    insert_many(db, 3000, concurrency_key="m", priority=9)
    late = [insert_task(db, concurrency_key=key, priority=1) for key in ("a", "z")]
    async with engine(dsn) as one:
        found = await claimed(one)
        assert set(late) < set(found)
        assert sorted(map(str, keys_of(db, found))) == ["a", "m", "z"]
        newer = insert_task(db, concurrency_key="b", priority=1)
        assert await claimed(one) == [newer]


async def test_rows_without_a_key_behind_thousands_with_one_are_found(dsn: str, db: Database) -> None:
    limit(db, concurrency_per_key=1)
    insert_many(db, 3000, concurrency_key="m")
    keyless = insert_task(db)
    found: list[int] = []
    async with engine(dsn) as one:
        for _ in range(5):  # each claim looks at the next thousand
            found += await claimed(one)
    assert keyless in found


async def test_many_keys_are_walked_through_in_several_claims(dsn: str, db: Database) -> None:
    limit(db, concurrency_per_key=1)
    insert_many(db, 600, concurrency_key="zz")
    db.execute(
        "insert into pgsched.tasks (task_type, concurrency_key, scheduled_for)"
        " select 'mail', 'k' || n, now() + interval '1 day' from generate_series(1, 2500) n"
    )
    found: list[int] = []
    async with engine(dsn) as one:
        for _ in range(4):
            found += await claimed(one)
    assert keys_of(db, found) == ["zz"]


async def test_a_rate_per_key_leaves_other_keys_alone(dsn: str, db: Database) -> None:
    limit(db, rate_per_key=2, per="1 hour")
    insert_many(db, 4, concurrency_key="a")
    async with engine(dsn) as one:
        assert keys_of(db, await claimed(one)) == ["a", "a"]
        await one.run()
        insert_many(db, 4, concurrency_key="b")
        assert keys_of(db, await claimed(one)) == ["b", "b"]


async def test_both_limits_hold_together(dsn: str, db: Database) -> None:
    limit(db, concurrency=5, concurrency_per_key=2, rate=4, rate_per_key=1, per="1 hour")
    for key in "abcdef":
        insert_many(db, 3, concurrency_key=key)
    async with engine(dsn) as one:
        assert keys_of(db, await claimed(one)) == ["a", "b", "c", "d"]


# Costs.


def costs(db: Database, **types: int) -> None:
    """What handlers say that their tasks cost."""
    for task_type, cost in types.items():
        db.execute("select pgsched.set_defaults('handler', %s, jsonb_build_object('cost', %s))", (task_type, cost))


def of_two_types() -> Any:
    return handlers(light=nothing, heavy=nothing)


async def test_a_task_counts_by_its_cost(dsn: str, db: Database) -> None:
    limit(db, rate=10, per="1 hour")
    costs(db, heavy=4)
    insert_many(db, 5, task_type="heavy")
    async with engine(dsn, of_two_types()) as one:
        assert len(await claimed(one)) == 2
        assert db.execute("select sum(number) as spent from pgsched.starts").fetchone() == {"spent": 8}
        await one.run()
        assert await claimed(one) == []
        line = one.worker.rotation.limited["default"]
        assert line.ready_at is not None
        assert 3590 < line.ready_at - line.asked_at < 3700  # until the first start leaves the window
        db.execute("update pgsched.starts set at = at - interval '2 hours', since = since - interval '2 hours'")
        assert len(await claimed(one)) == 2


async def test_what_is_cheap_does_not_overtake_what_waits_for_its_cost(dsn: str, db: Database) -> None:
    limit(db, rate=10, per="1 hour")
    costs(db, heavy=6)
    for task_type in ("heavy", "light", "heavy", "light"):
        insert_task(db, task_type)
    async with engine(dsn, of_two_types()) as one:
        assert len(await claimed(one)) == 2
        assert await claimed(one) == []


async def test_what_costs_more_than_the_rate_counts_for_all_of_it(dsn: str, db: Database) -> None:
    limit(db, rate=5, per="1 hour")
    costs(db, heavy=1000)
    insert_task(db, "light")
    insert_task(db, "heavy")
    insert_task(db, "heavy")
    async with engine(dsn, of_two_types()) as one:
        assert len(await claimed(one)) == 1  # the light one: the window must be empty for the other
        db.execute("update pgsched.starts set at = at - interval '2 hours', since = since - interval '2 hours'")
        assert len(await claimed(one)) == 1
        assert await claimed(one) == []


async def test_costs_count_for_each_key(dsn: str, db: Database) -> None:
    limit(db, rate_per_key=10, per="1 hour")
    costs(db, heavy=4)
    insert_many(db, 5, task_type="heavy", concurrency_key="a")
    insert_many(db, 5, task_type="heavy", concurrency_key="b")
    async with engine(dsn, of_two_types()) as one:
        assert sorted(filter(None, keys_of(db, await claimed(one)))) == ["a", "a", "b", "b"]
        assert await claimed(one) == []


async def test_a_cost_is_nothing_in_a_queue_without_a_rate(dsn: str, db: Database) -> None:
    costs(db, heavy=1000)
    insert_many(db, 3, task_type="heavy")
    limit(db, "other", concurrency=2)
    insert_many(db, 3, task_type="heavy", queue="other")
    async with engine(dsn, of_two_types(), queues=("default", "other")) as one:
        assert len(await claimed(one)) == 5


async def test_a_queue_says_a_cost_for_types_that_say_none(dsn: str, db: Database) -> None:
    limit(db, rate=10, per="1 hour")
    db.execute("select pgsched.set_defaults('queue', 'default', '{\"cost\": 5}')")
    costs(db, light=1)
    insert_many(db, 3, task_type="heavy")
    async with engine(dsn, of_two_types()) as one:
        assert len(await claimed(one)) == 2


async def test_the_decorator_says_the_cost(dsn: str, db: Database) -> None:
    app = App(dsn=dsn)
    app.task("heavy", cost=7)(nothing)
    limit(db, rate=10, per="1 hour")
    async with running_worker(dsn, app.registry):
        insert_many(db, 2, task_type="heavy")
        done = "select count(*) as number from pgsched.tasks where status = 'completed'"
        await wait_until_async(lambda: rows(db, done)[0]["number"] >= 1, message="one has run")
    (info,) = Client(dsn).handlers()
    assert info.defaults["cost"] == 7
    assert db.execute("select sum(number) as spent from pgsched.starts").fetchone() == {"spent": 7}


@pytest.mark.parametrize("cost", [0, True, 1_000_001, "5"])
def test_a_senseless_cost_is_refused(cost: Any) -> None:
    with pytest.raises(RegistrationError, match="cost must be a whole number between 1 and 1000000, got"):
        App().task("heavy", cost=cost)(nothing)


# Ageing.


async def test_a_row_that_waits_rises_above_a_higher_priority(dsn: str, db: Database) -> None:
    db.execute("insert into pgsched.queues (name, ageing) values ('default', '10 minutes')")
    fresh = insert_task(db, priority=5)
    old = insert_task(db, priority=1)
    older = insert_task(db, priority=1)
    db.execute("update pgsched.tasks set next_run_at = now() - interval '39 minutes' where id = %s", (old,))
    db.execute("update pgsched.tasks set next_run_at = now() - interval '61 minutes' where id = %s", (older,))
    async with engine(dsn) as one:
        assert await claimed(one) == [older, fresh, old]


async def test_without_ageing_priority_is_all(dsn: str, db: Database) -> None:
    fresh, old = insert_task(db, priority=2), insert_task(db, priority=1)
    db.execute("update pgsched.tasks set next_run_at = now() - interval '10 years' where id = %s", (old,))
    async with engine(dsn) as one:
        assert await claimed(one) == [fresh, old]


async def test_rows_of_a_key_age_too(dsn: str, db: Database) -> None:
    db.execute("insert into pgsched.queues (name, ageing) values ('default', '10 minutes')")
    limit(db, concurrency_per_key=1)
    insert_task(db, priority=5, concurrency_key="a")
    old = insert_task(db, priority=1, concurrency_key="a")
    db.execute("update pgsched.tasks set next_run_at = now() - interval '1 hour' where id = %s", (old,))
    async with engine(dsn) as one:
        assert await claimed(one) == [old]


# The worker's own limit.


async def test_a_worker_takes_no_more_of_a_queue_than_it_was_told(dsn: str, db: Database) -> None:
    insert_many(db, 5, queue="mail")
    insert_many(db, 5, queue="other")
    async with (
        engine(dsn, handlers(mail=nothing), queues=("mail:2", "other")) as one,
        engine(dsn, queues=("mail:2",)) as other,
    ):
        assert len(await claimed(one)) == 7
        assert await claimed(one) == []
        assert len(await claimed(other)) == 2
        await one.run()
        one.worker.limited_claims.look_after_end()
        assert len(await claimed(one)) == 1


# Patterns and weights.


async def test_a_pattern_serves_the_queues_that_match_it(dsn: str, db: Database) -> None:
    ids = [insert_task(db, queue=queue) for queue in ("mail.a", "mail.b", "mailxc", "other", "mail_%")]
    async with engine(dsn, queues=("mail.*",)) as one:
        assert sorted(await claimed(one)) == ids[:2]
    async with engine(dsn, queues=("mail?c", r"mail_%")) as one:
        assert sorted(await claimed(one)) == [ids[2], ids[4]]


async def test_a_queue_that_appears_is_served_by_a_pattern(dsn: str, db: Database) -> None:
    async with engine(dsn, queues=("mail.*",)) as one:
        assert await claimed(one) == []
        task_id = insert_task(db, queue="mail.new")
        assert await claimed(one) == [task_id]


async def test_queues_of_a_pattern_have_their_limits(dsn: str, db: Database) -> None:
    limit(db, "mail.a", concurrency=1)
    insert_many(db, 3, queue="mail.a")
    insert_many(db, 3, queue="mail.b")
    async with engine(dsn, queues=("mail.*:2",)) as one:
        found = await claimed(one)
        queues = [task_row(db, task_id)["queue"] for task_id in found]
        assert sorted(queues) == ["mail.a", "mail.b", "mail.b"]


async def test_queues_come_first_in_proportion_to_their_weights(dsn: str, db: Database) -> None:
    for queue in ("a", "b"):
        insert_many(db, 100, queue=queue)
    async with engine(dsn, queues=("a@3", "b")) as one:
        found = [task_row(db, (await claimed(one, 1))[0])["queue"] for _ in range(40)]
    assert found.count("a") == 30
    assert all("b" in found[start : start + 4] for start in range(0, 40, 4))


async def test_a_queue_with_limits_has_its_turn_beside_one_that_is_never_empty(dsn: str, db: Database) -> None:
    limit(db, "limited", concurrency=5)
    insert_many(db, 20, queue="limited")
    insert_many(db, 20, queue="plain")
    async with engine(dsn, queues=("limited", "plain")) as one:
        found = [task_row(db, (await claimed(one, 1))[0])["queue"] for _ in range(8)]
    assert found.count("limited") == 4


async def test_workers_without_room_do_not_call_one_another_for_ever(dsn: str, db: Database) -> None:
    over = asyncio.Event()

    async def hold() -> None:
        await over.wait()

    limit(db, "limited", concurrency=5)
    insert_many(db, 2, task_type="hold", max_attempts=1)
    add_worker(db, queues=["limited"], task_types=["mail"])
    db.execute("update pgsched.workers set sleeping_until = 'infinity'")
    registry, settings = handlers(hold=hold, mail=nothing), {"concurrency": 1, "queues": ("*",)}
    async with (
        running_worker(dsn, registry, **settings) as one,
        running_worker(dsn, registry, **settings) as another,
        await psycopg.AsyncConnection.connect(dsn, autocommit=True) as ear,
    ):
        await wait_until_async(lambda: one.executor.running == another.executor.running == 1, message="both are full")
        await ear.execute("listen pgsched")
        insert_many(db, 3, queue="limited")
        heard = [notification async for notification in ear.notifies(timeout=0.5)]
        over.set()
    assert 1 <= len(heard) < 10


# How it is done.


def columns_of(statement: str, after: str) -> list[str]:
    """What a statement returns, without the places it comes from."""
    text = statement[statement.rindex(after) + len(after) :].split("\nfrom pgsched")[0]
    text = re.sub(r"--.*", "", text)
    text = text.replace("picked.locked_by is not null as lease_expired", "c.lease_expired")
    text = text.replace("picked.bytes", "c.size::integer as bytes")
    text = text.replace("picked.found > (select count(*) from picked) as cut", "false as cut")
    return text.split()


def test_a_claim_of_a_limited_queue_returns_the_columns_of_any_claim() -> None:
    common = columns_of(load_statement("claim_tasks"), "returning t.id")
    apart = columns_of(load_statement("claim_limited"), "\n  t.id")
    assert apart == common


def test_a_claim_of_a_limited_queue_is_a_hot_update(dsn: str, db: Database) -> None:
    async def claim() -> None:
        async with engine(dsn) as one:
            assert len(await claimed(one)) == 50

    limit(db, concurrency=50, concurrency_per_key=40, rate=100)
    insert_many(db, 25, concurrency_key="a")
    insert_many(db, 25, concurrency_key="b")
    asyncio.run(claim())
    updates = "select n_tup_upd as n, n_tup_hot_upd as hot from pg_stat_user_tables where relname = 'tasks'"
    wait_until(lambda: rows(db, updates)[0]["n"] == 50, message="50 updates are counted")
    assert rows(db, updates)[0]["hot"] >= 40  # a claimed row is larger: the last of a page may not fit


async def test_a_worker_without_limited_queues_claims_with_one_statement(dsn: str, db: Database) -> None:
    insert_many(db, 5)
    async with engine(dsn) as one:
        await one.claim()
        insert_many(db, 5)
        sent: list[str] = []
        execute = one.worker.claim_session.execute

        async def counted(statement: Any, parameters: dict[str, Any]) -> Any:
            sent.append(statement)
            return await execute(statement, parameters)

        one.worker.claim_session.execute = counted  # type: ignore[method-assign]
        assert len(await one.claim()) == 5
        assert sent == [load_statement("claim_tasks")]
        assert claimer.LEARN_IDLE_SECONDS > claimer.LEARN_SECONDS


async def test_a_claim_beside_a_long_backlog_of_one_key_reads_few_blocks(dsn: str, db: Database) -> None:
    db.execute("alter table pgsched.tasks set (autovacuum_enabled = off)")  # no statistics to lean on
    limit(db, concurrency_per_key=2)
    insert_many(db, 50_000, concurrency_key="m")
    insert_task(db, concurrency_key="z")
    db.execute("update pgsched.queues set limits_changed_at = now() - interval '1 hour'")
    db.execute(load_statement("tune_session"))
    parameters = {
        "queues": ["default"],
        "rooms": [20],
        "room": 20,
        "bytes": 2**24,
        "worker": WORKER,
        "lease": 30.0,
        "task_types": ["mail"],
        "context_types": [],
        "set_aside": [],
    }
    explained = db.execute("explain (analyze, buffers, format json) " + load_statement("claim_limited"), parameters)
    row: Any = explained.fetchone()
    plan = row["QUERY PLAN"][0]["Plan"]
    assert plan["Actual Rows"] == 4  # two of the key, one of the other, and the answer
    # 1,554; and 5,380 when one of its statements walks through all of the backlog.
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 3000
