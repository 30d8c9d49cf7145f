"""A row that cannot be claimed or read costs its neighbours nothing: it is dead or set aside, and they run."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from pgsched import Context, Event
from pgsched.domain.events import Hooks
from pgsched.worker import claims, set_aside
from pgsched.worker.halves import FEW
from pgsched.worker.worker import Worker
from tests.support.engine import engine, expire_leases, handlers, history, rows, running_worker
from tests.support.tables import database, insert_task, refuse_at_commit, refuse_updates, task_row
from tests.support.waiting import wait_until_async

Database = psycopg.Connection[dict[str, Any]]

BAD = "new.payload ? 'bad' and new.status = 'running'"
WORDS = "raise exception 'not in this house'"
QUICK: dict[str, Any] = {"poll_interval": 0.05, "concurrency": 4}


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is set aside is tried again at once, and shown at once."""
    monkeypatch.setattr(set_aside, "FIRST_PAUSE", 0.05)
    monkeypatch.setattr(set_aside, "LONGEST_PAUSE", 0.05)
    monkeypatch.setattr(set_aside, "NOTE_SECONDS", 0.0)


class Mail:
    """Notes what ran."""

    def __init__(self) -> None:
        self.ran: list[int] = []

    async def __call__(self, ctx: Context, **_: Any) -> None:
        self.ran.append(ctx.id)


def insert_bad(db: Database, **columns: Any) -> int:
    """A row that no worker begins before it is leased: what is refused is the lease."""
    return insert_task(db, payload=Jsonb({"bad": 1}), **{"max_attempts": 1} | columns)


def insert_around(db: Database, good: int = 20, **columns: Any) -> tuple[list[int], int]:
    """Good tasks before and behind a bad one."""
    before = [insert_task(db, **columns) for _ in range(good // 2)]
    bad = insert_bad(db, **columns)
    return before + [insert_task(db, **columns) for _ in range(good - good // 2)], bad


def limit(db: Database, **limits: Any) -> None:
    given = ", ".join(f"{name} => %({name})s" for name in limits)
    db.execute(f"select pgsched.limit_queue('default', {given})", limits)


def statuses(db: Database, ids: list[int]) -> set[str]:
    return {row["status"] for row in rows(db, "select status from pgsched.tasks where id = any(%s)", ids)}


async def completed(db: Database, ids: list[int]) -> None:
    await wait_until_async(
        lambda: statuses(db, ids) == {"completed"}, timeout=20, message="the good ones are completed"
    )


async def ended(db: Database, task_id: int, status: str = "dead") -> dict[str, Any]:
    await wait_until_async(lambda: statuses(db, [task_id]) == {status}, timeout=20, message=f"it is {status}")
    readable = "id, attempts, last_error, died_at, next_run_at"
    return rows(db, f"select {readable} from pgsched.tasks where id = %s", task_id)[0]


async def is_set_aside(db: Database, *ids: int) -> dict[int, dict[str, Any]]:
    def noted() -> dict[int, dict[str, Any]]:
        return {row["task_id"]: row for row in rows(db, "select * from pgsched.set_aside where operation = 'claim'")}

    await wait_until_async(lambda: noted().keys() == set(ids), timeout=20, message="it is shown as set aside")
    return noted()


# What the database refuses.

KINDS = {
    "raise": (WORDS, "not in this house"),
    "data": ("perform 1 / 0", "division by zero"),
    "limits": ("raise exception using errcode = '54000', message = 'too much'", "too much"),
    "internal": ("raise exception using errcode = 'XX001', message = 'missing chunk number 0'", "missing chunk"),
    "undefined": ("perform * from nowhere", "nowhere"),
    "assert": ("assert false, 'never'", "never"),
    "ours": ("raise exception using errcode = 'ZZZZZ', message = 'of ours'", "of ours"),
    "no words": ("raise exception using errcode = 'P0001', message = ''", "cannot be claimed"),
}


@pytest.mark.parametrize("kind", ["before", "after"])
@pytest.mark.parametrize(("then", "words"), KINDS.values(), ids=KINDS)
async def test_a_row_whose_claim_a_trigger_refuses_is_dead_with_its_words(
    dsn: str, db: Database, then: str, words: str, kind: str
) -> None:
    good, bad = insert_around(db)
    refuse_updates(db, BAD, then=then, kind=kind)
    async with running_worker(dsn, handlers(mail=Mail()), **QUICK) as worker:
        await completed(db, good)
        row = await ended(db, bad)
        assert not worker.claims.set_aside
    assert words in row["last_error"]
    assert (row["attempts"], history(db, bad)) == (0, [])
    assert row["died_at"] is not None


@pytest.mark.parametrize("state", ["40001", "40P01", "53100", "57P01", "08006", "25006", "55P03", "57014", "42501"])
async def test_a_row_whose_trigger_raises_errors_of_the_server_is_set_aside(
    dsn: str, db: Database, soon: None, state: str
) -> None:
    good, bad = insert_around(db)
    refuse_updates(db, BAD, then=f"raise exception using errcode = '{state}', message = 'so it says'")
    async with running_worker(dsn, handlers(mail=Mail()), **QUICK):
        await completed(db, good)
        noted = await is_set_aside(db, bad)
        assert noted[bad]["reason"] == "so it says"
        db.execute("drop trigger house_rule on pgsched.tasks")
        await completed(db, [bad])
        await is_set_aside(db)


@pytest.mark.parametrize("state", ["53100", "57P01", "08006"])
async def test_so_is_one_that_is_alone(dsn: str, db: Database, soon: None, state: str) -> None:
    bad = insert_bad(db)
    refuse_updates(db, BAD, then=f"raise exception using errcode = '{state}', message = 'so it says'")
    async with running_worker(dsn, handlers(mail=Mail()), **QUICK):
        await is_set_aside(db, bad)


async def test_a_check_that_an_old_row_breaks_sets_it_aside_until_it_is_mended(
    dsn: str, db: Database, soon: None
) -> None:
    mail = Mail()
    old = insert_task(db)
    db.execute("alter table pgsched.tasks add check (payload ? 'tenant') not valid")
    good = [insert_task(db, payload=Jsonb({"tenant": 1}), priority=p) for p in (9, 5, 5, 1)]
    async with running_worker(dsn, handlers(mail=mail), **QUICK):
        await completed(db, good)
        noted = await is_set_aside(db, old)
        assert "tasks_payload_check" in noted[old]["reason"]
        assert task_row(db, old)["status"] == "pending"
        more = insert_task(db, payload=Jsonb({"tenant": 1}))
        await completed(db, [more])
        db.execute("alter table pgsched.tasks disable trigger user")
        db.execute("""update pgsched.tasks set payload = '{"tenant": 2}' where id = %s""", (old,))
        db.execute("alter table pgsched.tasks enable trigger user")
        await completed(db, [old])
        await is_set_aside(db)
    assert sorted(mail.ran) == sorted([*good, more, old])


async def test_a_row_that_is_set_aside_is_forgotten_when_it_is_gone(dsn: str, db: Database, soon: None) -> None:
    bad = insert_bad(db)
    refuse_updates(db, "old.payload ? 'bad'", kind="before")
    async with running_worker(dsn, handlers(mail=Mail()), **QUICK) as worker:
        await is_set_aside(db, bad)
        db.execute("delete from pgsched.tasks where id = %s", (bad,))
        await is_set_aside(db)
        assert not worker.claims.set_aside


@pytest.mark.parametrize("limited", [False, True])
@pytest.mark.parametrize("for_good", [False, True])
async def test_rows_whose_claim_a_trigger_drops_hold_up_nothing_behind_them(
    dsn: str, db: Database, soon: None, monkeypatch: pytest.MonkeyPatch, limited: bool, for_good: bool
) -> None:
    monkeypatch.setattr(claims, "LOOK_SECONDS", 0.05)
    refuse_updates(db, "new.payload ? 'bad'" if for_good else BAD, then="return null", kind="before")
    if limited:
        limit(db, concurrency=2)
    bad = [insert_bad(db, priority=10) for _ in range(30)]
    good = [insert_task(db) for _ in range(10)]
    async with running_worker(dsn, handlers(mail=Mail()), **QUICK):
        await completed(db, good)
        if for_good:
            noted = await is_set_aside(db, *bad)
            assert all("the update was dropped" in row["reason"] for row in noted.values())
            db.execute("drop trigger house_rule on pgsched.tasks")
            await wait_until_async(lambda: statuses(db, bad) == {"completed"}, timeout=20, message="all are completed")
        else:
            assert "the update was dropped" in (await ended(db, bad[0]))["last_error"]
            await wait_until_async(lambda: statuses(db, bad) == {"dead"}, timeout=20, message="all are dead")


async def test_a_row_refused_at_the_commit_is_found_too(dsn: str, db: Database) -> None:
    good, bad = insert_around(db)
    refuse_at_commit(db, BAD)
    async with running_worker(dsn, handlers(mail=Mail()), **QUICK):
        await completed(db, good)
        assert "late" in (await ended(db, bad))["last_error"]


@pytest.mark.slow
async def test_a_row_that_is_refused_only_beside_others_is_found_by_halves(dsn: str, db: Database, soon: None) -> None:
    """Each may be claimed by itself, but not two at once: whatever the batch, all of them run."""
    ids = [insert_task(db) for _ in range(7)]
    db.execute(
        "create function public.guard() returns trigger language plpgsql as $$ begin "
        "if (select count(*) from changed where status = 'running') > 1 then raise exception 'one at a time'; end if; "
        "return null; end $$"
    )
    db.execute(
        "create trigger house_rule after update on pgsched.tasks referencing new table as changed "
        "for each statement execute function public.guard()"
    )
    async with running_worker(dsn, handlers(mail=Mail()), **QUICK):
        await completed(db, ids)


async def test_a_lost_attempt_that_cannot_be_noted_is_alone_in_its_misery(dsn: str, db: Database) -> None:
    mail = Mail()
    async with engine(dsn, handlers(mail=mail)) as one:
        bad = insert_task(db, task_name="bad")
        await one.claim()
        expire_leases(db)
    db.execute("alter table pgsched.executions add check (task_id <> " + str(bad) + ")")
    good = [insert_task(db) for _ in range(5)]
    async with running_worker(dsn, handlers(mail=mail), **QUICK):
        await completed(db, good)
        assert "executions_task_id_check" in (await ended(db, bad))["last_error"]


async def test_a_lost_attempt_of_a_task_that_cannot_be_claimed_is_in_its_history(dsn: str, db: Database) -> None:
    async with engine(dsn, handlers(mail=Mail())) as one:
        bad = insert_bad(db)
        await one.claim()
        expire_leases(db)
    refuse_updates(db, BAD)
    async with running_worker(dsn, handlers(mail=Mail()), **QUICK):
        await ended(db, bad)
    assert [run["status"] for run in history(db, bad)] == ["lost"]


async def test_when_every_row_is_refused_none_is_dead_and_all_run_when_it_is_mended(
    dsn: str, db: Database, soon: None
) -> None:
    mail = Mail()
    ids = [insert_bad(db) for _ in range(FEW + 5)]
    refuse_updates(db, BAD)
    async with running_worker(dsn, handlers(mail=mail), concurrency=50, poll_interval=0.05):
        await is_set_aside(db, *ids)
        assert statuses(db, ids) == {"pending"}
        db.execute("drop trigger house_rule on pgsched.tasks")
        await completed(db, ids)
    assert sorted(mail.ran) == ids


async def test_a_worker_sets_no_more_aside_than_it_may(
    dsn: str, db: Database, monkeypatch: pytest.MonkeyPatch, soon: None
) -> None:
    monkeypatch.setattr(claims, "MAX_SET_ASIDE", 3)
    monkeypatch.setattr(claims, "FEW", 0)
    ids = [insert_bad(db) for _ in range(8)]
    refuse_updates(db, BAD)
    async with running_worker(dsn, handlers(mail=Mail()), concurrency=1, poll_interval=0.05) as worker:
        await wait_until_async(lambda: worker.counts.database_errors > 0, message="the claim is refused, and said so")
        assert 3 <= len(worker.claims.set_aside) <= 4
        db.execute("drop trigger house_rule on pgsched.tasks")
        await completed(db, ids)


async def test_the_end_of_a_row_that_cannot_be_claimed_is_told(dsn: str, db: Database) -> None:
    told: list[Event] = []
    hooks = Hooks()
    hooks.add("dead", told.append)
    bad = insert_bad(db, queue="mail")
    waits = insert_task(db, queue="mail", depends_on=[bad])
    db.execute("insert into pgsched.queues (name, events) values ('mail', true)")
    refuse_updates(db, BAD)
    with psycopg.connect(dsn, autocommit=True) as ears:
        ears.execute("listen pgsched_events")
        async with running_worker(dsn, handlers(mail=Mail()), hooks=hooks, queues=("mail",), **QUICK) as worker:
            await ended(db, waits, "cancelled")
            await wait_until_async(lambda: bool(told), message="the hook is called")
            assert 'outcome="dead"' in _metrics(worker)
        heard = [note.payload for note in ears.notifies(timeout=1, stop_after=1)]
    assert (told[0].id, told[0].event, told[0].queue) == (bad, "dead", "mail")
    assert "not in this house" in (told[0].error or "")
    assert f'"id" : {bad}' in heard[0]
    assert "not in this house" in heard[0]


def _metrics(worker: Worker) -> str:
    from prometheus_client import generate_latest

    return generate_latest(worker.metrics).decode()


# Queues with limits, and the order last in, first out.

LIMITS: dict[str, dict[str, Any]] = {
    "concurrency": {"concurrency": 3},
    "per key": {"concurrency_per_key": 2},
    "rate": {"rate": 1000},
    "rate per key": {"rate_per_key": 1000},
}


@pytest.mark.parametrize("limits", [*LIMITS.values(), {}], ids=[*LIMITS, "ageing"])
@pytest.mark.parametrize("set_aside_too", [False, True], ids=["dead", "set aside"])
async def test_a_refused_row_of_a_queue_with_limits_holds_up_nothing(
    dsn: str, db: Database, soon: None, limits: dict[str, Any], set_aside_too: bool
) -> None:
    if limits:
        limit(db, **limits)
    else:
        db.execute("insert into pgsched.queues (name, ageing) values ('default', '1 hour')")
    good, bad = insert_around(db, concurrency_key="k")
    refuse_updates(db, "old.payload ? 'bad'" if set_aside_too else BAD)
    async with running_worker(dsn, handlers(mail=Mail()), **QUICK):
        await completed(db, good)
        if set_aside_too:
            await is_set_aside(db, bad)
            db.execute("drop trigger house_rule on pgsched.tasks")
            await completed(db, [bad])
        else:
            await ended(db, bad)


@pytest.mark.parametrize("set_aside_too", [False, True], ids=["dead", "set aside"])
async def test_a_refused_row_of_a_lifo_queue_holds_up_nothing(
    dsn: str, db: Database, soon: None, set_aside_too: bool
) -> None:
    db.execute("insert into pgsched.queues (name, ordering) values ('default', 'lifo')")
    good, bad = insert_around(db)
    refuse_updates(db, "old.payload ? 'bad'" if set_aside_too else BAD)
    async with running_worker(dsn, handlers(mail=Mail()), **QUICK):
        await completed(db, good)
        await (is_set_aside(db, bad) if set_aside_too else ended(db, bad))


@pytest.mark.parametrize("columns", [{"concurrency_key": "k"}, {}], ids=["keyed", "ageing"])
async def test_a_row_that_somebody_has_locked_holds_up_no_other_of_its_queue(
    dsn: str, db: Database, columns: dict[str, Any]
) -> None:
    if columns:
        limit(db, concurrency_per_key=1)
    else:
        db.execute("insert into pgsched.queues (name, ageing) values ('default', '1 hour')")
    locked = insert_task(db, **columns)
    good = [insert_task(db, **columns) for _ in range(3)]
    with database(dsn) as slow, slow.transaction():
        slow.execute("select from pgsched.tasks where id = %s for update", (locked,))
        async with running_worker(dsn, handlers(mail=Mail()), concurrency=1, poll_interval=0.05):
            await completed(db, good)


async def test_locked_rows_of_many_queues_hold_up_no_other_queue(dsn: str, db: Database) -> None:
    names = [f"q{number}" for number in range(20)]
    for name in names:
        db.execute("select pgsched.limit_queue(%s, concurrency => 1)", (name,))
        insert_task(db, queue=name)
    free = insert_task(db, queue="free")
    with database(dsn) as slow, slow.transaction():
        slow.execute("select from pgsched.queues for update")
        async with engine(dsn, queues=("free", *names)) as one:
            began = asyncio.get_running_loop().time()
            assert [task.id for task in await one.claim()] == [free]
            assert asyncio.get_running_loop().time() - began < 10  # and not 30 ms for each of them, again and again


# What cannot be read.

UNREADABLE = {
    "a timestamp beyond the year 9999": "scheduled_for = '20000-01-01'",
    "a timestamp before Christ": "scheduled_for = '0044-03-15 BC'",
    "infinity": "start_date = 'infinity'",
    "due since ever": "next_run_at = '-infinity'",
    "a number of 5,000 digits": "payload = ('{\"n\": ' || repeat('9', 5000) || '}')::jsonb",
    "JSON that is nested too deep": "payload = ('{\"n\": ' || repeat('[', 50000) || repeat(']', 50000) || '}')::jsonb",
    "planned from infinity": "planned_from = 'infinity', schedule_type = 'repeating', repeat_interval = '1 hour'",
    "several": "scheduled_for = '20000-01-01', start_date = '0044-03-15 BC', end_date = 'infinity'",
}


def without_rules(db: Database) -> None:
    """As in a database whose rules somebody has dropped."""
    db.execute("alter table pgsched.tasks disable trigger user")
    db.execute(
        """
        do $$
        declare
          rule record;
        begin
          for rule in
            select t.typname, c.conname from pg_constraint c join pg_type t on t.oid = c.contypid
            where t.typnamespace = 'pgsched'::regnamespace
              and t.typname in ('payload', 'scheduled_for', 'start_date', 'end_date', 'next_run_at')
          loop
            execute format('alter domain pgsched.%I drop constraint %I', rule.typname, rule.conname);
          end loop;
        end $$
        """
    )


@pytest.mark.parametrize("values", UNREADABLE.values(), ids=UNREADABLE)
@pytest.mark.parametrize("limited", [False, True], ids=["common", "apart"])
async def test_a_row_that_cannot_be_read_is_dead_and_its_neighbours_run(
    dsn: str, db: Database, values: str, limited: bool
) -> None:
    if limited:
        limit(db, concurrency=3)
    good, bad = insert_around(db)
    without_rules(db)
    db.execute("set max_stack_depth = '7MB'")
    db.execute(f"update pgsched.tasks set {values} where id = %s", (bad,))
    async with running_worker(dsn, handlers(mail=Mail()), **QUICK) as worker:
        await completed(db, good)
        row = await ended(db, bad)
        assert worker.counts.database_errors == 0
    if values.startswith("next_run_at") and db.info.server_version < 170000:
        assert (
            "cannot be claimed: cannot subtract infinite timestamps" in row["last_error"]
        )  # the server can from 17 on
    else:
        assert "cannot be read" in row["last_error"]
        assert values.partition(" ")[0] in row["last_error"]
    assert row["next_run_at"] is None


async def test_what_a_finish_claimed_and_cannot_be_read_is_dead_and_the_finish_is_written_once(
    dsn: str, db: Database
) -> None:
    """The next task of a queue with limits is claimed in the transaction that ends one."""
    mail = Mail()
    limit(db, concurrency=1)
    ids = [insert_task(db) for _ in range(6)]
    without_rules(db)
    for bad in ids[1::2]:
        db.execute("update pgsched.tasks set scheduled_for = '20000-01-01' where id = %s", (bad,))
    async with running_worker(dsn, handlers(mail=mail), poll_interval=30, concurrency=2) as worker:
        await completed(db, ids[::2])
        for bad in ids[1::2]:
            await ended(db, bad)
        assert worker.counts.fenced == 0
    assert mail.ran == ids[::2]


async def test_a_claim_in_the_transaction_of_a_finish_passes_over_what_is_set_aside(
    dsn: str, db: Database, soon: None
) -> None:
    limit(db, concurrency=1)
    good, bad = insert_around(db)
    refuse_updates(db, "old.payload ? 'bad'", kind="before")
    async with running_worker(dsn, handlers(mail=Mail()), **QUICK):
        await completed(db, good)
        await is_set_aside(db, bad)


async def test_a_dependency_whose_result_cannot_be_read_fails_one_task(dsn: str, db: Database) -> None:
    good = insert_task(db)
    waits = insert_task(db, depends_on=[good], max_attempts=1)
    async with running_worker(dsn, handlers(mail=Mail()), **QUICK):
        await ended(db, waits, "completed")  # readable: the control
    other = insert_task(db)
    waits = insert_task(db, depends_on=[other], max_attempts=1)
    db.execute("alter table pgsched.tasks disable trigger user")
    db.execute(
        "create function public.spoil() returns trigger language plpgsql as $$ begin "
        "if new.status = 'completed' then new.result := repeat('9', 5000)::jsonb; end if; return new; end $$"
    )
    db.execute("create trigger spoil before update on pgsched.tasks for each row execute function public.spoil()")
    async with running_worker(dsn, handlers(mail=Mail()), **QUICK):
        assert "cannot be made" in (await ended(db, waits))["last_error"]


# What else one row must not stop.


async def test_a_row_that_cannot_be_given_back_holds_up_no_other(dsn: str, db: Database) -> None:
    good, bad = insert_around(db, 6)
    async with engine(dsn) as one:
        await one.claim()
        for leased in one.leased_tasks.take_waiting():  # as if the answer had been lost
            one.leased_tasks.drop(leased)
        refuse_updates(db, "old.payload ? 'bad'")
        one.worker.claims.unanswered = True
        again = await one.claim()
        assert {task.id for task in again} == set(good)
        assert task_row(db, bad)["status"] == "running", "its lease runs out"
        assert not one.worker.claims.unanswered


async def test_a_locked_row_that_is_to_be_given_back_holds_up_no_other(dsn: str, db: Database) -> None:
    good, bad = insert_around(db, 6)
    async with engine(dsn) as one:
        await one.claim()
        for leased in one.leased_tasks.take_waiting():
            one.leased_tasks.drop(leased)
        one.worker.claims.unanswered = True
        with database(dsn) as slow, slow.transaction():
            slow.execute("select from pgsched.tasks where id = %s for update", (bad,))
            again = await one.claim()
        assert {task.id for task in again} == set(good)


async def test_a_fault_between_claim_and_start_ends_the_row(
    dsn: str, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pgsched.worker import executor

    judge = executor.judge

    def stumble(task: Any, now: Any, **known: Any) -> Any:
        if task.payload:
            raise OverflowError("date value out of range")
        return judge(task, now, **known)

    monkeypatch.setattr(executor, "judge", stumble)
    good = insert_task(db, repeat_interval="1 hour", repeat_count=1)
    bad = insert_bad(db, repeat_interval="1 hour")
    async with running_worker(dsn, handlers(mail=Mail()), **QUICK):
        await completed(db, [good])
        row = await ended(db, bad)
    assert "OverflowError: date value out of range" in row["last_error"]


async def test_a_worker_that_may_not_sleep_still_claims(dsn: str, db: Database) -> None:
    db.execute(
        "create function public.awake() returns trigger language plpgsql as $$ begin "
        "if new.sleeping_until is not null then raise exception 'no sleep'; end if; return new; end $$"
    )
    db.execute("create trigger awake before update on pgsched.workers for each row execute function public.awake()")
    async with running_worker(dsn, handlers(mail=Mail()), **QUICK) as worker:
        for _ in range(3):
            await completed(db, [insert_task(db)])
        assert worker.counts.database_errors == 0


async def test_late_starts_that_cannot_be_noted_stop_no_claim(dsn: str, db: Database) -> None:
    limit(db, rate=1000)
    db.execute(
        "create function public.punctual() returns trigger language plpgsql as $$ begin "
        "if new.at > old.at and new.number = old.number then raise exception 'too late'; end if; return new; end $$"
    )
    db.execute(
        "create trigger punctual before update on pgsched.starts for each row execute function public.punctual()"
    )

    async def slow() -> None:
        await asyncio.sleep(0.03)

    ids = [insert_task(db) for _ in range(5)]
    async with running_worker(dsn, handlers(mail=slow), concurrency=2, poll_interval=0.05) as worker:
        await completed(db, ids)
        await completed(db, [insert_task(db)])
        assert worker.counts.database_errors == 0


async def test_a_group_that_somebody_has_locked_holds_up_no_other(dsn: str, db: Database) -> None:
    plan = Jsonb({"steps": [{"name": "a", "task_type": "mail"}]})
    locked = [insert_task(db, "pgsched.group", payload=plan, priority=10) for _ in range(3)]
    other = insert_task(db, "pgsched.group", payload=plan)
    async with engine(dsn, concurrency=8) as one:
        await one.claim()
        with database(dsn) as slow, slow.transaction():
            slow.execute("select from pgsched.tasks where id = any(%s) for update", (locked,))
            one.worker.executor.feed()
            await wait_until_async(
                lambda: task_row(db, other)["status"] == "blocked", timeout=20, message="the other group has fired"
            )
