"""retention = '0': a one-time task leaves the table in the transaction that completes it, and its history keeps it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from pgsched import AsyncClient, Client, Context
from pgsched.db.migrations.runner import migrate
from pgsched.domain.attempt import GROUP
from pgsched.domain.errors import TaskNotFound, TransitionRefused
from pgsched.domain.interval import Interval
from pgsched.ops.retention import RetentionOverride
from tests.support.commands import pgsched
from tests.support.engine import Rows, engine, handlers, history, rows, running_worker, work_and_send_again
from tests.support.pages import Page, form_of
from tests.support.retained import prune_now
from tests.support.roles import login
from tests.support.tables import database, insert_task, set_running, task_row
from tests.support.waiting import wait_until_async
from tests.support.web_face import web

Database = psycopg.Connection[dict[str, Any]]


def leaves(db: Database, queue: str = "default", **columns: Any) -> None:
    """Let the completed tasks of a queue leave."""
    db.execute("insert into pgsched.queues (name, retention) values (%s, '0')", (queue,))
    for name, value in columns.items():
        db.execute(
            psycopg.sql.SQL("update pgsched.queues set {} = %s where name = %s").format(psycopg.sql.Identifier(name)),
            (value, queue),
        )


def there(db: Database) -> list[int]:
    """The tasks that are in the table."""
    return [row["id"] for row in rows(db, "select id from pgsched.tasks order by id")]


async def answer(**given: Any) -> dict[str, Any]:
    return {"answer": 42, **given}


async def work(dsn: str, handler: Callable[..., Any] = answer) -> None:
    async with engine(dsn, handlers(mail=handler)) as one:
        await one.work()


# What leaves, and what is left of it.


async def test_a_completed_task_leaves_and_its_history_keeps_it(dsn: str) -> None:
    with database(dsn) as db:
        leaves(db)
        task_id = insert_task(db, payload=Jsonb({"to": "ada", "cc": None}))
        await work(dsn)
        assert there(db) == []
        (run,) = history(db, task_id)
        (departed,) = rows(db, "select * from pgsched.departed_tasks")
    assert (run["status"], run["attempt"], run["result"]) == ("completed", 1, {"answer": 42, "to": "ada", "cc": None})
    assert run["task"] == {"payload": {"to": "ada", "cc": None}}
    assert (departed["id"], departed["status"], departed["payload"]) == (task_id, "completed", run["task"]["payload"])
    assert (departed["attempts"], departed["execution_count"], departed["result"]) == (1, 1, run["result"])


async def test_of_a_task_with_defaults_nothing_is_copied(dsn: str) -> None:
    with database(dsn) as db:
        leaves(db)
        task_id = insert_task(db)
        await work(dsn)
        (run,) = history(db, task_id)
    assert run["task"] == {}


async def test_a_task_that_left_is_shown_as_one_that_stays(dsn: str) -> None:
    columns: dict[str, Any] = {
        "task_name": "welcome",
        "priority": 7,
        "payload": Jsonb({"deep": {"null": None, "list": [1, None]}}),
        "metadata": Jsonb({"by": None, "x": 1}),
        "tags": ["a", "b"],
        "tenant_id": "t",
        "user_id": "u",
        "created_by": "c",
        "scheduled_for": "2020-02-29 12:00+05",
        "timezone": "Europe/Berlin",
        "start_date": "2020-01-01 00:00+00",
        "end_date": "2099-01-01 00:00+00",
        "on_missed": "all",
        "catchup_window": "3 days",
        "overlap": "allow",
        "jitter": "1 millisecond",
        "max_attempts": 9,
        "backoff": "linear",
        "backoff_delay": "1 day 2 hours",
        "backoff_max": "1 month",
        "backoff_factor": 3.5,
        "backoff_jitter": 0.1,
        "timeout": "5 minutes",
        "idempotency_key": "k",
        "concurrency_key": "ck",
        "alert_if_no_success_for": "1 hour",
        "alert_if_running_for": "2 hours",
    }

    async def report(ctx: Context, **_: Any) -> list[Any]:
        ctx.progress({"half": None})
        return [1, None]

    with database(dsn) as db:
        stays = insert_task(db, queue="stays", **columns)
        leaves(db)
        goes = insert_task(db, **columns | {"idempotency_key": "other"})
        async with engine(dsn, handlers(mail=report), queues=("default", "stays")) as one:
            await one.work()
        assert there(db) == [stays]
        with Client(dsn) as client:
            kept, gone = client.get(stays).as_dict(), client.get(goes).as_dict()
            assert client.status(goes).task == client.get(goes)
    own = {"id", "queue", "idempotency_key", "fencing_token", "completed_at", "created_at", "last_run_at", "started_at"}
    own |= {"updated_at", "planned_from"}
    assert {name: value for name, value in gone.items() if name not in own} == {
        name: value for name, value in kept.items() if name not in own
    }
    assert (gone["queue"], gone["idempotency_key"]) == ("default", "other")


async def test_times_of_a_task_that_left_are_its_own(dsn: str) -> None:
    with database(dsn) as db:
        leaves(db)
        plain, delayed = insert_task(db), insert_task(db, scheduled_for="2020-01-01 00:00+00")
        before = {task_id: task_row(db, task_id) for task_id in (plain, delayed)}
        await work(dsn)
        with Client(dsn) as client:
            for task_id in (plain, delayed):
                one, row = client.get(task_id), before[task_id]
                assert (one.scheduled_for, one.created_at) == (row["scheduled_for"], row["created_at"])
                assert one.planned_from == row["planned_from"]
                assert one.completed_at is not None
                assert one.last_run_at is not None
                assert one.last_run_at <= one.completed_at


async def test_settings_for_all_queues_say_it_too(dsn: str) -> None:
    with database(dsn) as db, Client(dsn) as client:
        client.set_settings(retention="0s", allow_short=True)
        client.set_queue("kept", retention="1d")
        client.set_queue("unsaid", ordering="lifo")
        kept, *_ = [insert_task(db, queue=queue) for queue in ("kept", "unsaid", "default")]
        async with engine(dsn, handlers(mail=answer), queues=("kept", "unsaid", "default")) as one:
            await one.work()
        assert there(db) == [kept]


@pytest.mark.parametrize(
    "stays",
    [
        {"repeat_interval": "1 hour", "end_date": "2030-01-01", "start_date": "2020-01-01", "repeat_count": 1},
        {"max_attempts": 1, "task_type": "fail"},
    ],
)
async def test_schedules_and_what_did_not_go_well_stay(dsn: str, stays: dict[str, Any]) -> None:
    async def fail() -> None:
        raise ValueError("no luck")

    with database(dsn) as db:
        leaves(db)
        task_id = insert_task(db, stays.pop("task_type", "mail"), **stays)
        async with engine(dsn, handlers(mail=answer, fail=fail)) as one:
            await one.work()
        assert there(db) == [task_id]
        assert rows(db, "select count(*) as n from pgsched.executions where task is not null") == [{"n": 0}]


async def test_a_failed_attempt_stays_and_the_one_that_went_well_leaves(dsn: str) -> None:
    async def second(ctx: Context) -> None:
        if ctx.attempt == 1:
            raise ValueError("no luck")

    with database(dsn) as db:
        leaves(db)
        task_id = insert_task(db, backoff_delay="0")
        await work(dsn, second)
        assert there(db) == [task_id]
        await work(dsn, second)
        assert there(db) == []
        assert [run["status"] for run in history(db, task_id)] == ["failed", "completed"]
        with Client(dsn) as client:
            one = client.status(task_id)
    assert (one.task.attempts, len(one.executions)) == (2, 2)


async def test_a_queue_that_archives_deletes_later(dsn: str) -> None:
    with database(dsn) as db:
        leaves(db, archive=True)
        task_id = insert_task(db)
        await work(dsn)
        assert there(db) == [task_id]
        prune_now(dsn, RetentionOverride())
        assert there(db) == []
        assert rows(db, "select id, status from pgsched.archived_tasks") == [{"id": task_id, "status": "completed"}]
        with Client(dsn) as client:
            assert client.get(task_id).status == "completed"


async def test_its_idempotency_key_is_free_again(dsn: str) -> None:
    with database(dsn) as db, Client(dsn) as client:
        leaves(db)
        first = client.schedule("mail", idempotency_key="once")
        assert client.schedule("mail", idempotency_key="once") == first
        await work(dsn)
        second = client.schedule("mail", idempotency_key="once")
        assert second != first
        assert (client.get(first).idempotency_key, client.get(second).idempotency_key) == ("once", "once")


# The fence, errors and kills.


async def test_an_owner_that_lost_its_claim_deletes_nothing(dsn: str) -> None:
    with database(dsn) as db:
        leaves(db)
        task_id = insert_task(db)
        async with engine(dsn, handlers(mail=answer)) as one:
            await one.claim()
            await one.started()
            await wait_until_async(lambda: not one.worker.executor.running, message="it has ended")
            db.execute("update pgsched.tasks set fencing_token = fencing_token + 1000")
            while one.completer.busy:
                await one.completer.run_once()
            assert one.worker.counts.fenced == 1
        assert there(db) == [task_id]
        assert history(db, task_id) == []


async def report(ctx: Context) -> None:
    ctx.progress(1)


async def test_a_finish_that_is_sent_twice_is_written_once(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with database(dsn) as db:
        leaves(db)
        task_id = insert_task(db)
        async with engine(dsn, handlers(mail=report)) as one:
            await work_and_send_again(one, monkeypatch)
            assert one.worker.counts.fenced == 0
        assert there(db) == []
        assert len(history(db, task_id)) == 1


@pytest.mark.parametrize("leased", [True, False])
def test_what_is_undone_leaves_the_task(dsn: str, leased: bool) -> None:
    with database(dsn) as db, psycopg.connect(dsn) as worker:
        leaves(db)
        task_id = insert_task(db)
        if leased:
            set_running(db, task_id)
        row = task_row(db, task_id)
        worker.execute("select from pgsched.tasks where id = %s for no key update", (task_id,))
        given = (row["locked_by"], [task_id], [row["fencing_token"]], [1.0], [1.0], ["1"], leased)
        left = worker.execute("select pgsched.leave(%s, %s, %s, %s, %s, %s, %s)", given).fetchall()
        assert left == [(task_id,)]
        worker.rollback()
        assert task_row(db, task_id) == row
        assert history(db, task_id) == []


def test_a_pending_row_leaves_only_for_who_has_locked_it(dsn: str) -> None:
    with database(dsn) as db, psycopg.connect(dsn) as worker:
        leaves(db)
        free, held = insert_task(db), insert_task(db)
        worker.execute("select from pgsched.tasks where id = %s for no key update", (held,))
        given = (None, [free, held], [1, 1], [1.0, 1.0], [1.0, 1.0], None, False)
        assert worker.execute("select pgsched.leave(%s, %s, %s, %s, %s, %s::text[], %s)", given).fetchall() == [(held,)]
        with database(dsn) as other:
            assert other.execute("select pgsched.leave(%s, %s, %s, %s, %s, %s::text[], %s)", given).fetchall() == []


@pytest.mark.parametrize(
    "foreign",
    [
        "create table public.orders (task_id bigint references pgsched.tasks (id))",
        "create trigger see after update on pgsched.tasks for each row execute function public.see()",
        "create trigger keep before delete on pgsched.tasks for each row execute function public.see()",
    ],
)
async def test_what_is_yours_sees_the_task_completed_and_deleted_by_retention(dsn: str, foreign: str) -> None:
    with database(dsn) as db:
        db.execute("create table public.seen (status text)")
        db.execute(
            "create function public.see() returns trigger language plpgsql as $$ begin"
            " if tg_op = 'DELETE' then return old; end if;"
            " insert into public.seen values (new.status); return new; end $$"
        )
        db.execute(foreign)
        leaves(db)
        task_id = insert_task(db)
        await work(dsn)
        assert there(db) == [task_id]
        assert task_row(db, task_id)["status"] == "completed"
        if "see" in foreign and "update" in foreign:
            assert {"status": "completed"} in rows(db, "select status from public.seen")
        prune_now(dsn, RetentionOverride())
        assert there(db) == []
        with Client(dsn) as client:
            assert client.get(task_id).result == {"answer": 42}


async def test_one_that_the_history_refuses_costs_its_neighbours_nothing(dsn: str) -> None:
    with database(dsn) as db:
        db.execute(
            "alter table pgsched.executions add constraint no_bad check (not coalesce(result ? 'bad', false)) not valid"
        )
        leaves(db)
        good = [insert_task(db) for _ in range(5)]
        bad = insert_task(db, payload=Jsonb({"bad": 1}))
        good += [insert_task(db) for _ in range(5)]
        async with running_worker(dsn, handlers(mail=answer)):
            await wait_until_async(lambda: there(db) == [bad], message="the others have left")
            await wait_until_async(lambda: task_row(db, bad)["status"] == "dead", message="it is dead")
        assert all(len(history(db, task_id)) == 1 for task_id in good)
    assert "no_bad" in task_row_error(dsn, bad)


def task_row_error(dsn: str, task_id: int) -> str:
    with database(dsn) as db:
        return str(task_row(db, task_id)["last_error"])


async def test_a_worker_cut_off_from_its_batch_leaves_the_rows_and_they_run_again(dsn: str) -> None:
    runs: dict[int, int] = {}

    async def lose(ctx: Context) -> str:
        runs[ctx.id] = runs.get(ctx.id, 0) + 1
        if task_row(db, ctx.id)["status"] == "pending" and len(lost) < 3:
            lost.add(ctx.id)
            db.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where application_name = 'pgsched lock' and datname = current_database()"
            )
        return "done"

    lost: set[int] = set()
    with database(dsn) as db, database(dsn) as other:
        leaves(other)
        async with running_worker(dsn, handlers(mail=lose), concurrency=10, max_batch=10):
            ids: list[int] = []
            for _ in range(20):
                ids += [insert_task(other) for _ in range(50)]
                await wait_until_async(lambda: there(other) == [], message="all have left")
                if lost:
                    break
        assert lost, "no row was locked"
        done = rows(other, "select task_id, count(*) as n from pgsched.executions where task is not null group by 1")
    assert {row["task_id"]: row["n"] for row in done} == dict.fromkeys(ids, 1)
    assert set(runs) == set(ids)


async def test_locked_rows_leave_in_their_transaction_with_one_attempt_in_the_history(dsn: str) -> None:
    seen: Rows = []

    async def look(ctx: Context) -> None:
        seen.append(task_row(other, ctx.id))

    with database(dsn) as db, database(dsn) as other:
        leaves(db)
        async with running_worker(dsn, handlers(mail=look), concurrency=10, max_batch=10):
            for _ in range(20):
                with db.transaction():
                    ids = [insert_task(db) for _ in range(100)]
                await wait_until_async(lambda: there(db) == [], message="all have left")
                if "pending" in {row["status"] for row in seen}:
                    break
        runs = rows(db, "select task_id, attempt, fencing_token from pgsched.executions where task_id = any(%s)", ids)
    assert "pending" in {row["status"] for row in seen}, "no row was locked"
    assert sorted(run["task_id"] for run in runs) == ids
    assert {run["attempt"] for run in runs} == {1}
    assert all(run["fencing_token"] > 0 for run in runs)


# Who depends on it, or waits for it.


async def test_a_task_that_depends_on_one_that_left_runs_with_its_result(dsn: str) -> None:
    got: list[Any] = []

    async def first(ctx: Context) -> str:
        return f"result of {ctx.id}"

    async def then(ctx: Context) -> None:
        got.append((list(ctx.dependencies), dict(ctx.dependencies), ctx.dependencies["a"]))

    with database(dsn) as db, Client(dsn) as client:
        leaves(db)
        named, plain_one = insert_task(db, "first", task_name="a"), insert_task(db, "first")
        async with engine(dsn, handlers(first=first, then=then)) as one:
            await one.work()
            assert there(db) == []
            after = client.schedule("then", depends_on=[plain_one, named])
            assert task_row(db, after)["status"] == "pending"
            await one.work()
        assert there(db) == []
    results = {plain_one: f"result of {plain_one}", named: f"result of {named}"}
    assert got == [([plain_one, named], results, results[named])]


async def test_one_that_is_waited_for_stays_until_who_waits_has_ended(dsn: str) -> None:
    got: list[Any] = []

    async def then(ctx: Context) -> None:
        got.append(dict(ctx.dependencies))

    with database(dsn) as db, Client(dsn) as client:
        leaves(db)
        first = insert_task(db)
        after = client.schedule("then", depends_on=[first])
        async with engine(dsn, handlers(mail=answer, then=then)) as one:
            await one.work()
            assert task_row(db, first)["status"] == "completed"
            assert task_row(db, after)["status"] == "pending"
            prune_now(dsn, RetentionOverride())
            assert there(db) == [first, after]
            await one.work()
            assert there(db) == [first], "who depends on it has left"
        prune_now(dsn, RetentionOverride())
        assert there(db) == []
        assert (client.get(first).result, client.get(after).depends_on) == ({"answer": 42}, [first])
    assert got == [{first: {"answer": 42}}]


async def test_one_that_waits_for_several_counts_those_that_left(dsn: str) -> None:
    with database(dsn) as db, Client(dsn) as client:
        leaves(db)
        gone = insert_task(db)
        await work(dsn)
        held = insert_task(db, enabled=False)
        every = client.schedule("mail", depends_on=[gone, held])
        some = client.schedule("mail", depends_on=[gone, held], dependency_mode="any")
        assert (task_row(db, every)["status"], task_row(db, every)["waiting_for"]) == ("blocked", 1)
        assert task_row(db, some)["status"] == "pending"
        db.execute("update pgsched.tasks set depends_on = %s where id = %s", ([gone], every))
        assert task_row(db, every)["status"] == "pending"


async def test_what_depends_on_a_task_that_never_was_is_refused_as_before(dsn: str) -> None:
    with database(dsn) as db, Client(dsn) as client:
        leaves(db)
        gone = insert_task(db)
        db.execute("delete from pgsched.tasks where id = %s", (gone,))
        with pytest.raises(Exception, match=f"depends_on: task {gone} does not exist"):
            client.schedule("mail", depends_on=[gone])
        with pytest.raises(TaskNotFound):
            client.get(gone)


async def test_a_finish_does_not_wait_for_who_is_inserting_a_dependent(dsn: str) -> None:
    with database(dsn) as db:
        leaves(db)
        first, other = insert_task(db), insert_task(db)
        async with engine(dsn, handlers(mail=answer)) as one:
            await one.claim()
            with psycopg.connect(dsn) as inserting:
                inserting.execute("insert into pgsched.tasks (task_type, depends_on) values ('then', %s)", ([first],))
                await one.started()
                await wait_until_async(lambda: not one.worker.executor.running, message="both have ended")
                while one.completer.busy:
                    await one.completer.run_once()
                assert there(db) == [first], f"{other} has left"
                assert task_row(db, first)["status"] == "completed"
                inserting.commit()
        (after,) = rows(db, "select status from pgsched.tasks where task_type = 'then'")
    assert after == {"status": "pending"}


async def test_a_locked_row_does_not_wait_for_who_is_inserting_a_dependent(dsn: str) -> None:
    begun: list[int] = []

    async def depend(ctx: Context) -> None:
        if not begun and task_row(db, ctx.id)["status"] == "pending":
            begun.append(ctx.id)
            inserting.execute("insert into pgsched.tasks (task_type, depends_on) values ('then', %s)", ([ctx.id],))

    with database(dsn) as db, database(dsn) as other, psycopg.connect(dsn) as inserting:
        leaves(other)
        async with running_worker(dsn, handlers(mail=depend), concurrency=10, max_batch=10):
            for _ in range(20):
                with other.transaction():
                    for _ in range(100):
                        insert_task(other)
                await wait_until_async(lambda: there(other) == begun, message="all others have left")
                if begun:
                    break
            assert task_row(other, begun[0])["status"] == "completed"
            inserting.commit()
        (after,) = rows(other, "select status from pgsched.tasks where task_type = 'then'")
    assert after == {"status": "pending"}


async def test_whoever_waits_gets_the_result(dsn: str) -> None:
    with database(dsn) as db:
        leaves(db)
        async with AsyncClient(dsn) as client, running_worker(dsn, handlers(mail=answer)):
            for _ in range(3):
                task_id = await client.schedule("mail", {"n": 1})
                assert await client.wait(task_id, timeout=60) == {"answer": 42, "n": 1}
            assert there(db) == []
            assert await client.wait(task_id, timeout=60) == {"answer": 42, "n": 1}, "it has left before the wait"
        with Client(dsn) as sync:
            assert sync.wait(task_id, timeout=60) == {"answer": 42, "n": 1}


async def test_steps_of_a_group_stay_until_it_has_ended(dsn: str) -> None:
    steps = [{"task_type": "mail", "name": name, "payload": {"n": name}} for name in "ab"]
    with database(dsn) as db, Client(dsn) as client:
        leaves(db)
        made: list[int] = []
        group = insert_task(db, GROUP, payload=Jsonb({"steps": steps}))
        async with engine(dsn, handlers(mail=answer)) as one:
            while there(db):
                await one.work()
                prune_now(dsn, RetentionOverride())
                made = made_of(db, group) or made
        assert client.get(group).result == {name: {"answer": 42, "n": name} for name in "ab"}
        assert [client.get(step).parent_id for step in made] == [group, group]


def made_of(db: Database, group: int) -> list[int]:
    return [row["id"] for row in rows(db, "select id from pgsched.tasks where parent_id = %s order by id", group)]


# What may be done to it, by whom.


async def test_what_cannot_be_done_to_a_completed_task_is_refused_of_one_that_left(dsn: str) -> None:
    with database(dsn) as db, Client(dsn) as client:
        leaves(db)
        task_id = insert_task(db)
        await work(dsn)
        with pytest.raises(TransitionRefused, match=f"task {task_id} is completed and cannot be cancelled"):
            client.cancel(task_id)
        with pytest.raises(TransitionRefused, match=f"task {task_id} is completed and cannot be retried"):
            client.retry(task_id)


async def test_a_task_that_left_is_run_again_as_a_copy(dsn: str) -> None:
    with database(dsn) as db, Client(dsn) as client:
        leaves(db)
        task_id = insert_task(db, payload=Jsonb({"n": 7}), priority=9)
        await work(dsn)
        copy = client.run_now(task_id)
        row = task_row(db, copy)
    assert (row["parent_id"], row["payload"], row["priority"]) == (task_id, {"n": 7}, 9)


async def test_a_producer_sees_its_own_and_no_other(dsn: str) -> None:
    migrate(dsn, roles=True)
    with database(dsn) as db, login(dsn, f"shop_{db.info.dbname}", member_of="pgsched_producer") as shop:
        leaves(db)
        other = insert_task(db)
        with Client(shop) as client:
            own = client.schedule("mail", {"mine": True})
            await work(dsn)
            assert there(db) == []
            assert client.wait(own, timeout=60) == {"answer": 42, "mine": True}
            assert client.get(own).payload == {"mine": True}
            assert [run.status for run in client.executions(own)] == ["completed"]
            assert client.executions(other) == []
            with pytest.raises(TaskNotFound):
                client.get(other)


async def test_a_worker_needs_no_right_to_delete(dsn: str) -> None:
    migrate(dsn, roles=True)
    with database(dsn) as db, login(dsn, f"hand_{db.info.dbname}", member_of="pgsched_worker") as hand:
        leaves(db)
        task_id = insert_task(db)
        await work(hand)
        assert there(db) == []
        assert history(db, task_id)[0]["status"] == "completed"
        with psycopg.connect(hand) as session, pytest.raises(psycopg.errors.InsufficientPrivilege):
            session.execute("delete from pgsched.tasks")


# Every face.


async def test_every_face_shows_a_task_that_left(dsn: str) -> None:
    with database(dsn) as db:
        async with web(dsn) as http:
            answered = await http.patch("/api/v1/queues/default/settings", json={"retention": 0})
            assert (answered.status_code, answered.json()["retention"]) == (200, "0 secs"), answered.text
            task_id = insert_task(db, task_name="welcome", payload=Jsonb({"to": "ada"}))
            await work(dsn)
            assert there(db) == []
            told = (await http.get(f"/api/v1/tasks/{task_id}")).json()
            assert (told["status"], told["payload"]) == ("completed", {"to": "ada"})
            assert [run["status"] for run in told["executions"]] == ["completed"]
            tree = (await http.get(f"/api/v1/tasks/{task_id}/tree")).json()
            assert (tree["id"], tree["name"], tree["status"]) == (task_id, "welcome", "completed")
            assert (await http.post(f"/api/v1/tasks/{task_id}/cancel")).status_code == 409
            page = await http.get(f"/tasks/{task_id}")
            assert page.status_code == 200
            assert "welcome" in page.text
            assert "completed" in page.text
            assert "ada" in page.text
            assert (await http.get(f"/tasks/{task_id + 1}")).status_code == 404
        async with AsyncClient(dsn) as client:
            assert (await client.get(task_id)).payload == {"to": "ada"}
            assert (await client.status(task_id)).task.status == "completed"
    shown = pgsched("task", "show", task_id, dsn=dsn)
    assert (shown.code, "welcome" in shown.stdout, "completed" in shown.stdout) == (0, True, True), shown.stderr
    waited = pgsched("task", "wait", task_id, dsn=dsn)
    assert waited.json() == {"answer": 42, "to": "ada"}


@pytest.mark.parametrize("word", ["0", "0s"])
async def test_the_command_and_the_form_say_it(dsn: str, word: str) -> None:
    said = pgsched("queue", "set", "mail", "--retention", word, "--yes", dsn=dsn)
    assert (said.code, "deletes tasks when they are completed" in said.stdout) == (0, True), said.stderr
    assert pgsched("settings", "set", "--retention", word, "--yes", dsn=dsn).code != 0, "of all queues it needs a word"
    async with web(dsn) as http:
        form = form_of(Page((await http.get("/queues/settings?queue=mail")).text))
        assert form["retention"] == "0s"
        for age in ("1d", word):
            answered = await http.post("/queues/settings", data=form | {"queue": "mail", "retention": age})
            assert answered.status_code == 303
    with Client(dsn) as client:
        assert client.queue("mail").retention == Interval()


def test_a_short_age_by_hand_still_needs_the_word(dsn: str) -> None:
    with database(dsn) as db:
        leaves(db)
        with pytest.raises(psycopg.errors.CheckViolation, match="retention_must_be_at_least_1_hour"):
            db.execute("update pgsched.queues set retention = '7'")
        with pytest.raises(psycopg.errors.CheckViolation, match="retention_must_be_at_least_1_hour"):
            db.execute("update pgsched.settings set retention = '0'")
