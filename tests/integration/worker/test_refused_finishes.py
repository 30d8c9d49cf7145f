"""An outcome that the database refuses costs its neighbours nothing: it is dead or set aside, and they are written."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import psycopg
import pytest

from pgsched.domain.attempt import Outcome
from pgsched.domain.errors import DatabaseUnavailable
from pgsched.execution.context import Context
from pgsched.worker import completer as finishing
from pgsched.worker.completer import PATIENCE
from pgsched.worker.halves import FEW, MAX_PASSING
from tests.support.engine import Engine, engine, handlers, history, rows, running_worker
from tests.support.guards import age
from tests.support.tables import database, insert_task, refuse_at_commit, refuse_updates, task_row
from tests.support.waiting import wait_until_async

Database = psycopg.Connection[dict[str, Any]]

BAD = "new.payload ? 'bad'"
COMPLETES = f"{BAD} and new.status = 'completed'"
ENDS = f"{BAD} and old.status = 'running' and new.status <> 'running'"


class Mail:
    """Counts how often each task ran."""

    def __init__(self) -> None:
        self.ran: list[int] = []

    async def __call__(self, ctx: Context, **_: Any) -> str:
        self.ran.append(ctx.id)
        return "sent"


def insert(db: Database, good: int, bad: int = 1) -> tuple[list[int], list[int]]:
    """Good tasks around bad ones."""
    before = [insert_task(db) for _ in range(good // 2)]
    worse = [insert_task(db, payload=psycopg.types.json.Jsonb({"bad": 1})) for _ in range(bad)]
    return before + [insert_task(db) for _ in range(good - good // 2)], worse


def statuses(db: Database, ids: list[int]) -> set[str]:
    return {row["status"] for row in rows(db, "select status from pgsched.tasks where id = any(%s)", ids)}


async def work(one: Engine) -> None:
    """Claim, run and write all that can be written."""
    await one.claim()
    await one.started()
    await wait_until_async(lambda: not one.worker.executor.running, message="all have ended")
    while one.completer.busy:
        await one.completer.run_once()


@pytest.mark.parametrize(
    ("then", "words"),
    [
        ("raise exception 'not in this house'", "not in this house"),
        ("perform 1 / 0", "division by zero"),
        ("raise exception using errcode = '54000', message = 'too much'", "too much"),
        ("raise exception using errcode = 'XX001', message = 'missing chunk number 0'", "missing chunk number 0"),
        ("raise exception using errcode = '0A000', message = 'not supported'", "not supported"),
        ("perform * from nowhere", "nowhere"),
        ("raise exception using errcode = 'ZZZZZ', message = 'something of ours'", "something of ours"),
    ],
)
async def test_an_outcome_that_a_trigger_refuses_is_dead_with_its_words(dsn: str, then: str, words: str) -> None:
    mail = Mail()
    with database(dsn) as db:
        good, (bad,) = insert(db, 30)
        refuse_updates(db, COMPLETES, then=then)
        async with engine(dsn, handlers(mail=mail), concurrency=50) as one:
            await work(one)
        assert statuses(db, good) == {"completed"}
        row = task_row(db, bad)
        assert row["status"] == "dead"
        assert words in row["last_error"]
        assert [run["status"] for run in history(db, bad)] == ["failed"]
    assert len(mail.ran) == 31


@pytest.mark.parametrize("state", ["42501", "55006", "57014", "58030", "XX000"])
async def test_an_outcome_refused_for_what_may_pass_is_set_aside_until_it_has(dsn: str, state: str) -> None:
    with database(dsn) as db:
        good, (bad,) = insert(db, 30)
        refuse_updates(db, COMPLETES, then=f"raise exception 'for now' using errcode = '{state}'")
        async with engine(dsn, handlers(mail=Mail()), concurrency=50) as one:
            await work(one)
            assert statuses(db, good) == {"completed"}
            assert one.completer.set_aside.ids == [bad]
            db.execute("drop trigger house_rule on pgsched.tasks")
            one.completer.set_aside.hurry()
            await one.completer.run_once()
        assert statuses(db, [bad]) == {"completed"}


async def test_outcomes_that_are_all_refused_wait_for_the_end_of_it(dsn: str) -> None:
    """A trigger that somebody is about to mend, an extension that fails: no task is to blame."""
    with database(dsn) as db:
        ids, _ = insert(db, FEW + 5, bad=0)
        refuse_updates(db, "new.status = 'completed'")
        async with engine(dsn, handlers(mail=Mail()), concurrency=50) as one:
            await work(one)
            assert statuses(db, ids) == {"running"}
            assert len(one.completer.set_aside) == FEW + 5
            db.execute("drop trigger house_rule on pgsched.tasks")
            one.completer.set_aside.hurry()
            await one.completer.run_once()
        assert statuses(db, ids) == {"completed"}


@pytest.mark.parametrize("stops", [False, True])
async def test_outcomes_that_are_all_refused_for_long_or_at_the_last_are_dead(dsn: str, stops: bool) -> None:
    with database(dsn) as db:
        ids, _ = insert(db, FEW + 5, bad=0)
        refuse_updates(db, "new.status = 'completed'")
        async with engine(dsn, handlers(mail=Mail()), concurrency=50) as one:
            await work(one)
            for _ in range(1 if stops else PATIENCE):
                assert statuses(db, ids) == {"running"}
                one.completer.set_aside.hurry()
                if stops:
                    one.completer.try_all()
                await one.completer.run_once()
        assert statuses(db, ids) == {"dead"}


@pytest.mark.parametrize("state", ["08006", "25006", "40001", "40P01", "53100", "53200", "57P01"])
async def test_an_outcome_that_a_trigger_refuses_as_the_server_would_is_set_aside(dsn: str, state: str) -> None:
    """The first time it is taken for the server's trouble, then for the row's."""
    with database(dsn) as db:
        good, (bad,) = insert(db, 30)
        refuse_updates(db, ENDS, then=f"raise exception 'as if' using errcode = '{state}'")
        async with engine(dsn, handlers(mail=Mail()), concurrency=50) as one:
            with pytest.raises(DatabaseUnavailable, match="as if"):
                await work(one)
            assert statuses(db, good) == {"running"}
            await one.completer.run_once()
            assert statuses(db, good) == {"completed"}
            assert one.completer.set_aside.ids == [bad]


@pytest.mark.parametrize(("state", "most"), [("53100", 5), ("58030", 5), ("XX000", 60)])
async def test_an_outcome_that_a_full_disk_holds_up_is_written_within_5_seconds_of_room(
    dsn: str, state: str, most: float
) -> None:
    """One that a row of its own holds up waits for up to a minute."""
    with database(dsn) as db:
        _good, (bad,) = insert(db, 1)
        refuse_updates(db, ENDS, then=f"raise exception 'as if' using errcode = '{state}'")
        async with engine(dsn, handlers(mail=Mail()), concurrency=5) as one:
            with suppress(DatabaseUnavailable):
                await work(one)
            for _ in range(8):
                one.completer.try_all()
                await one.completer.run_once()
            assert one.completer.set_aside.ids == [bad]
            assert most - 1 < one.completer.set_aside.due_in() <= most
            db.execute("drop trigger house_rule on pgsched.tasks")
            one.completer.try_all()
            await one.completer.run_once()
            assert task_row(db, bad)["status"] == "completed"


@pytest.mark.parametrize(("when", "status"), [(COMPLETES, "dead"), (ENDS, "running")])
async def test_an_outcome_that_a_trigger_drops_is_dead_or_set_aside_and_no_fence(
    dsn: str, when: str, status: str
) -> None:
    mail = Mail()
    with database(dsn) as db:
        good, (bad,) = insert(db, 30)
        refuse_updates(db, when, then="return null", kind="before")
        async with engine(dsn, handlers(mail=mail), concurrency=50) as one:
            await work(one)
            assert statuses(db, good) == {"completed"}
            assert one.completer.set_aside.ids == [bad]
            one.completer.try_all()
            await one.completer.run_once()
            row = task_row(db, bad)
            assert row["status"] == status
            if status == "dead":
                assert "the update was dropped" in row["last_error"]
            else:
                assert one.completer.set_aside.ids == [bad]
                db.execute("drop trigger house_rule on pgsched.tasks")
                one.completer.try_all()
                await one.completer.run_once()
                assert task_row(db, bad)["status"] == "completed"
            assert one.worker.counts.fenced == 0
    assert len(mail.ran) == 31


async def test_an_outcome_refused_at_the_commit_is_found_too(dsn: str) -> None:
    with database(dsn) as db:
        good, (bad,) = insert(db, 30)
        refuse_at_commit(db, COMPLETES)
        async with engine(dsn, handlers(mail=Mail()), concurrency=50) as one:
            await work(one)
        assert statuses(db, good) == {"completed"}
        assert task_row(db, bad)["status"] == "dead"


async def test_an_outcome_that_can_be_written_in_no_way_is_set_aside_and_written_when_it_can_be(dsn: str) -> None:
    mail = Mail()
    with database(dsn) as db:
        good, (bad,) = insert(db, 30)
        refuse_updates(db, ENDS)
        async with running_worker(dsn, handlers(mail=mail), concurrency=50) as worker:
            await wait_until_async(lambda: statuses(db, good) == {"completed"}, message="the others are written")
            listed = "select task_id, task_type, operation, reason from pgsched.set_aside"
            await wait_until_async(lambda: rows(db, listed) != [], message="it is shown")
            assert rows(db, listed) == [
                {"task_id": bad, "task_type": "mail", "operation": "finish", "reason": "not in this house"}
            ]
            assert task_row(db, bad)["status"] == "running"
            late = insert_task(db)
            await wait_until_async(lambda: statuses(db, [late]) == {"completed"}, message="the worker goes on")
            db.execute("drop trigger house_rule on pgsched.tasks")
            worker.completer.try_all()
            await wait_until_async(lambda: statuses(db, [bad]) == {"completed"}, message="it is written")
            await wait_until_async(lambda: rows(db, listed) == [], message="it is shown no more")
    assert mail.ran.count(bad) == 1


async def test_a_row_that_somebody_has_locked_holds_up_no_other(dsn: str) -> None:
    mail = Mail()
    with database(dsn) as db, database(dsn) as other:
        good, (locked,) = insert(db, 30)
        async with engine(dsn, handlers(mail=mail), concurrency=50) as one:
            await one.claim()
            with other.transaction():
                other.execute("select from pgsched.tasks where id = %s for update", (locked,))
                await one.started()
                await one.finished(31)
                while one.completer.busy:
                    await one.completer.run_once()
                assert statuses(db, good) == {"completed"}
                assert statuses(db, [locked]) == {"running"}
                assert one.completer.set_aside.ids == [locked]
            one.completer.try_all()
            await one.completer.run_once()
        assert statuses(db, [locked]) == {"completed"}
    assert mail.ran.count(locked) == 1


@pytest.mark.slow
async def test_a_lock_on_the_whole_table_sets_few_aside_and_is_waited_for(dsn: str) -> None:
    with database(dsn) as db, database(dsn) as other:
        good, _ = insert(db, 40, bad=0)
        async with engine(dsn, handlers(mail=Mail()), concurrency=50) as one:
            await one.claim()
            await one.started()
            await one.finished(40)
            with other.transaction():
                other.execute("lock table pgsched.executions in exclusive mode")
                with pytest.raises(DatabaseUnavailable):
                    await one.completer.run_once()
                assert len(one.completer.set_aside) == MAX_PASSING
            one.completer.try_all()
            await one.completer.run_once()
        assert statuses(db, good) == {"completed"}


@pytest.mark.parametrize("result", ['"\ud800"', "not json", '"\\u0000"'])
async def test_a_result_that_the_database_cannot_hold_is_found_too(dsn: str, result: str) -> None:
    with database(dsn) as db:
        good, (bad,) = insert(db, 10)
        async with engine(dsn, handlers(mail=Mail()), concurrency=50) as one:
            await one.claim()
            for leased in one.leased_tasks.take_waiting():
                value = result if leased.task.id == bad else '"fine"'
                one.completer.conclude(leased, Outcome("completed", 0.0, 0.0, result=value))
            await one.completer.run_once()
        assert statuses(db, good) == {"completed"}
        assert statuses(db, [bad]) == {"dead"}


async def test_what_follows_a_run_at_the_end_of_the_calendar_stops_no_other(dsn: str) -> None:
    with database(dsn) as db:
        good, _ = insert(db, 10, bad=0)
        last = insert_task(db, repeat_interval="1 day", start_date="9999-12-30 23:59:59+00")
        db.execute("update pgsched.tasks set next_run_at = now() where id = %s", (last,))
        async with engine(dsn, handlers(mail=Mail()), concurrency=50) as one:
            await work(one)
        assert statuses(db, good) == {"completed"}
        assert statuses(db, [last]) <= {"dead", "completed"}


async def test_what_an_attempt_tells_does_not_cost_it_its_outcome(dsn: str) -> None:
    async def talk(ctx: Context, **_: Any) -> str:
        ctx.log("a line that a user's rule refuses")
        ctx.progress(1)
        return "done"

    with database(dsn) as db:
        good, _ = insert(db, 10, bad=0)
        told = insert_task(db, "talk")
        db.execute("alter table pgsched.execution_logs add check (message not like '%%rule refuses%%')")
        async with engine(dsn, handlers(mail=Mail(), talk=talk), concurrency=50) as one:
            await work(one)
        assert statuses(db, [*good, told]) == {"completed"}
        assert task_row(db, told)["result"] == "done"
        assert rows(db, "select * from pgsched.execution_logs") == []


async def test_large_results_are_written_in_several_statements(dsn: str) -> None:
    async def large() -> str:
        return "x" * 1_000_000

    with database(dsn) as db:
        good, _ = insert(db, 40, bad=0)
        async with engine(dsn, handlers(mail=large), concurrency=50) as one:
            await one.claim()
            await one.started()
            await one.finished(40)
            while one.completer.busy:
                await one.completer.run_once()
        assert statuses(db, good) == {"completed"}
        (found,) = rows(db, "select count(distinct xmin::text) as n from pgsched.tasks")
        assert found["n"] >= 40 * 1_000_000 / finishing.MAX_BYTES


async def test_nothing_more_is_claimed_while_outcomes_cannot_be_written(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finishing, "MAX_SET_ASIDE", 20)
    monkeypatch.setattr(finishing, "MAX_UNWRITTEN", 20)
    mail = Mail()
    with database(dsn) as db:
        refuse_updates(db, "new.status in ('completed', 'dead')")
        ids, _ = insert(db, 80, bad=0)
        async with running_worker(dsn, handlers(mail=mail), concurrency=5, max_batch=10) as worker:
            await wait_until_async(lambda: worker.completer.behind, message="the worker stops claiming")
            await wait_until_async(
                lambda: len(worker.completer.set_aside) == len(mail.ran), timeout=30, message="what was claimed has run"
            )
            assert len(mail.ran) < 80
            db.execute("drop trigger house_rule on pgsched.tasks")
            worker.completer.try_all()
            await wait_until_async(lambda: statuses(db, ids) == {"completed"}, timeout=30, message="all are written")
    assert sorted(mail.ran) == sorted(ids), "each ran once"


async def test_a_lease_that_cannot_be_renewed_costs_no_other_its_own(dsn: str) -> None:
    with database(dsn) as db:
        good, _ = insert(db, 20)
        async with engine(dsn, concurrency=50) as one:
            await one.claim()
            lost: list[int] = []
            one.worker.heartbeat.on_lost = lambda leased_tasks: lost.extend(leased.task.id for leased in leased_tasks)
            refuse_updates(db, BAD)
            age(one.leased_tasks)
            db.execute("update pgsched.tasks set locked_until = now() + '1 second' where not payload ? 'bad'")
            one.worker.heartbeat.run_once()
            renewed = "select count(*) as n from pgsched.tasks where locked_until > now() + '10 s' and id = any(%s)"
            (found,) = rows(db, renewed, good)
            assert (found["n"], lost) == (20, [])
            db.execute("drop trigger house_rule on pgsched.tasks")


async def test_a_row_that_cannot_be_given_back_costs_no_other(dsn: str) -> None:
    with database(dsn) as db:
        good, (bad,) = insert(db, 20)
        refuse_updates(db, "new.payload ? 'bad' and new.status = 'pending'")
        async with engine(dsn, concurrency=50) as one:
            await one.claim()
            await one.worker.ending().give_back(one.leased_tasks.take_waiting())
        assert statuses(db, good) == {"pending"}
        assert statuses(db, [bad]) == {"running"}


async def test_progress_that_is_refused_costs_no_other_its_own(dsn: str) -> None:
    go_on = asyncio.Event()

    async def show(ctx: Context, **_: Any) -> None:
        ctx.progress({"at": ctx.id})
        await go_on.wait()

    with database(dsn) as db:
        good, (bad,) = insert(db, 10)
        refuse_updates(db, f"{BAD} and new.progress is not null and new.status = 'running'")
        async with engine(dsn, handlers(mail=show), concurrency=50) as one:
            await one.claim()
            await one.started()
            shown = "select id from pgsched.tasks where progress is not null order by id"
            await one.worker.reporter.run_once()
            assert [row["id"] for row in rows(db, shown)] == sorted(good)
            db.execute("drop trigger house_rule on pgsched.tasks")
            await one.worker.reporter.run_once()
            assert [row["id"] for row in rows(db, shown)] == sorted([*good, bad])
            go_on.set()
            await one.run()


@pytest.mark.slow
async def test_progress_of_a_row_that_somebody_has_locked_keeps_no_other_waiting(dsn: str) -> None:
    go_on = asyncio.Event()

    async def show(ctx: Context, **_: Any) -> None:
        ctx.progress({"at": ctx.id})
        await go_on.wait()

    with database(dsn) as db, database(dsn) as other:
        good, (locked,) = insert(db, 10)
        async with engine(dsn, handlers(mail=show), concurrency=50) as one:
            await one.claim()
            await one.started()
            with other.transaction():
                other.execute("select from pgsched.tasks where id = %s for update", (locked,))
                await one.worker.reporter.run_once()
                shown = rows(db, "select id from pgsched.tasks where progress is not null order by id")
                assert [row["id"] for row in shown] == sorted(good)
            go_on.set()
            await one.run()


async def test_an_old_outcome_does_not_land_on_a_new_task_of_the_same_id_and_token(dsn: str) -> None:
    with database(dsn) as db:
        insert_task(db)
        async with engine(dsn) as old, engine(dsn) as new:
            await old.claim()
            await old.started()
            await old.finished()
            db.execute("truncate pgsched.tasks restart identity cascade")
            task_id = insert_task(db)
            (task,) = await new.claim()
            assert (task.id, task.fencing_token) == (task_id, 1)
            await old.completer.run_once()
            assert statuses(db, [task_id]) == {"running"}
            assert old.counts.fenced == 1


async def test_not_even_of_the_same_worker(dsn: str) -> None:
    with database(dsn) as db:
        insert_task(db, payload=psycopg.types.json.Jsonb({"to": "old"}))
        async with engine(dsn) as one:
            await one.claim()
            await one.started()
            await one.finished()
            db.execute("truncate pgsched.tasks restart identity cascade")
            task_id = insert_task(db)
            await one.claim()
            await one.completer.run_once()
            assert statuses(db, [task_id]) == {"running"}
            await one.run()
        assert statuses(db, [task_id]) == {"completed"}


async def write_beside_a_slow_outcome(one: Engine) -> None:
    """Run what is due, and write it: the whole batch waits in vain, then each outcome is written by itself."""
    one.worker.finish_session.timeout = one.completer.slow.usual_limit = 0.5
    await one.claim()
    await one.started()
    await wait_until_async(lambda: not one.worker.executor.running, message="all have ended")
    with pytest.raises(DatabaseUnavailable, match="no answer within"):
        await one.completer.run_once()
    await one.completer.run_once()


async def test_an_outcome_that_takes_too_long_does_not_hold_up_the_others(dsn: str) -> None:
    with database(dsn) as db:
        good, (bad,) = insert(db, 10)
        refused = insert_task(db, payload=psycopg.types.json.Jsonb({"bad": 2}))
        slow = "if new.payload ->> 'bad' = '1' then perform pg_sleep(60); else raise 'no'; end if"
        refuse_updates(db, COMPLETES, then=slow)
        async with engine(dsn, handlers(mail=Mail()), concurrency=20) as one:
            await write_beside_a_slow_outcome(one)
            assert statuses(db, good) == {"completed"}
            assert one.completer.set_aside.ids == [bad]
            assert task_row(db, refused)["status"] == "dead"
            later = insert_task(db)
            await work(one)
            assert task_row(db, later)["status"] == "completed"
            one.completer.try_all()
            await one.completer.run_once()
            await wait_until_async(lambda: one.completer.set_aside.tries(bad) == 2, message="it was tried again")
            db.execute("drop trigger house_rule on pgsched.tasks")
            one.completer.try_all()
            await one.completer.run_once()
            await wait_until_async(lambda: not one.completer.set_aside, message="it was written")
        assert task_row(db, bad)["status"] == "completed"


@pytest.mark.slow
async def test_an_outcome_that_takes_long_gets_more_time_while_the_others_are_written(dsn: str) -> None:
    with database(dsn) as db:
        refused = insert_task(db, payload=psycopg.types.json.Jsonb({"bad": 2}))
        good, (slow,) = insert(db, 10)
        refuse_updates(
            db, COMPLETES, then="if new.payload ->> 'bad' = '2' then raise 'no'; end if; perform pg_sleep(1.2)"
        )
        async with engine(dsn, handlers(mail=Mail()), concurrency=20) as one:
            await write_beside_a_slow_outcome(one)
            assert statuses(db, good) == {"completed"}
            leased_until = task_row(db, slow)["locked_until"]

            one.completer.try_all()
            await one.completer.run_once()
            await wait_until_async(lambda: is_writing_slowly(db), message="the slow outcome is being written")
            later = insert_task(db)
            await work(one)
            assert task_row(db, later)["status"] == "completed"
            assert task_row(db, slow)["locked_until"] > leased_until  # no heartbeat can renew a row that is locked

            while one.completer.set_aside:
                await wait_until_async(lambda: not one.completer.slow.busy, message="the attempt has ended")
                one.completer.try_all()
                await one.completer.run_once()
        assert task_row(db, refused)["status"] == "dead"
        assert task_row(db, slow)["status"] == "completed"
        assert [run["status"] for run in history(db, slow)] == ["completed"]


def is_writing_slowly(db: Database) -> bool:
    sleeping = "select from pg_stat_activity where wait_event = 'PgSleep' and application_name = 'pgsched slow finish'"
    return bool(rows(db, sleeping))
