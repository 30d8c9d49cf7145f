"""What is written of an attempt: outcome, history and next run, in one transaction, behind the fence."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from pgsched.db.worker import completions
from pgsched.domain.attempt import Outcome
from pgsched.domain.errors import DatabaseUnavailable, Discard, Retry
from pgsched.execution.context import Context
from tests.support.engine import Engine, engine, handlers, history, make_due, rows
from tests.support.tables import database, insert_task, move_tick, task_row


async def fail() -> None:
    raise ValueError("no luck")


async def answer() -> dict[str, int]:
    return {"answer": 42}


async def work(dsn: str, handler: Any = answer) -> None:
    async with engine(dsn, handlers(mail=handler)) as one:
        await one.work()


async def test_a_completed_task_shows_its_result(dsn: str) -> None:
    with database(dsn) as db:
        task_id = insert_task(db)
        await work(dsn)
        row = task_row(db, task_id)
    assert (row["status"], row["result"], row["execution_count"]) == ("completed", {"answer": 42}, 1)
    assert (row["next_run_at"], row["locked_by"], row["locked_until"]) == (None, None, None)
    assert row["started_at"] <= row["last_run_at"] <= row["completed_at"]


async def test_an_attempt_that_went_well_is_in_the_history(dsn: str) -> None:
    with database(dsn) as db:
        task_id = insert_task(db, queue="mail")
        async with engine(dsn, handlers(mail=answer), queues=("mail",)) as one:
            await one.work()
        (run,) = history(db, task_id)
        row = task_row(db, task_id)
    assert (run["status"], run["attempt"], run["fencing_token"], run["queue"]) == ("completed", 1, 1, "mail")
    assert (run["worker_id"], run["result"]) == (one.worker.identity.id, {"answer": 42})
    assert run["scheduled_for"] == row["scheduled_for"]
    assert run["finished_at"] - run["started_at"] <= timedelta(milliseconds=run["duration_ms"] + 1)


async def test_a_failed_attempt_is_tried_again_after_its_backoff(dsn: str) -> None:
    with database(dsn) as db:
        task_id = insert_task(db, backoff="fixed", backoff_delay="100 seconds", backoff_max="1 hour")
        await work(dsn, fail)
        row = task_row(db, task_id)
        (now,) = rows(db, "select now() as now")
        (run,) = history(db, task_id)
    assert (row["status"], row["attempts"], row["execution_count"]) == ("pending", 1, 0)
    assert timedelta(seconds=79) < row["next_run_at"] - now["now"] <= timedelta(seconds=120)
    assert row["last_error"].startswith("ValueError: no luck")
    assert (run["status"], run["error"]) == ("failed", row["last_error"])


async def test_a_retry_asked_for_by_the_handler_waits_as_long_as_it_said(dsn: str) -> None:
    async def later() -> None:
        raise Retry(1000)

    with database(dsn) as db:
        task_id = insert_task(db)
        await work(dsn, later)
        due_in = rows(db, "select next_run_at - now() as due_in from pgsched.tasks where id = %s", task_id)
    assert timedelta(seconds=980) < due_in[0]["due_in"] <= timedelta(seconds=1000)


async def test_after_its_last_attempt_a_task_is_dead(dsn: str) -> None:
    with database(dsn) as db:
        task_id = insert_task(db, max_attempts=2)
        for _ in range(2):
            make_due(db, task_id)
            await work(dsn, fail)
        row = task_row(db, task_id)
        runs = history(db, task_id)
    assert (row["status"], row["attempts"], row["next_run_at"]) == ("dead", 2, None)
    assert row["died_at"] is not None
    assert [(run["status"], run["attempt"]) for run in runs] == [("failed", 1), ("failed", 2)]


async def test_a_discarded_task_is_dead_at_once(dsn: str) -> None:
    async def never() -> None:
        raise Discard("no such address")

    with database(dsn) as db:
        task_id = insert_task(db)
        await work(dsn, never)
        row = task_row(db, task_id)
    assert (row["status"], row["last_error"]) == ("dead", "Discard: no such address")


async def test_a_payload_that_does_not_fit_is_dead_at_once_and_names_the_argument(dsn: str) -> None:
    with database(dsn) as db:
        task_id = insert_task(db, payload='{"adress": "a@b.c"}')
        await work(dsn)
        row = task_row(db, task_id)
    assert row["status"] == "dead"
    assert "unexpected argument 'adress'" in row["last_error"]


async def test_a_success_after_a_failure_clears_the_error(dsn: str) -> None:
    with database(dsn) as db:
        task_id = insert_task(db)
        await work(dsn, fail)
        make_due(db, task_id)
        await work(dsn)
        row = task_row(db, task_id)
    assert (row["status"], row["last_error"], row["attempts"]) == ("completed", None, 2)


# Schedules.


async def test_a_tick_that_died_is_kept_as_a_dead_child_and_the_schedule_goes_on(dsn: str) -> None:
    with database(dsn) as db:
        task_id = insert_task(
            db, cron_expression="0 0 1 1 *", max_attempts=1, payload='{"k": 1}', priority=9, tags=["t"]
        )
        tick = move_tick(db, task_id, "date_trunc('second', now())")

        async def bad(k: int) -> None:
            raise ValueError("no luck")

        await work(dsn, bad)
        row = task_row(db, task_id)
        (child,) = rows(db, "select * from pgsched.tasks where parent_id = %s", task_id)
    assert (row["status"], row["attempts"], row["execution_count"]) == ("pending", 0, 1)
    assert row["scheduled_for"] > tick
    assert (child["status"], child["schedule_type"], child["scheduled_for"]) == ("dead", "one_time", tick)
    assert (child["payload"], child["priority"], child["tags"]) == ({"k": 1}, 9, ["t"])
    assert (child["attempts"], child["max_attempts"]) == (1, 1)
    assert child["last_error"].startswith("ValueError: no luck")


async def test_a_dead_child_can_be_retried(dsn: str) -> None:
    with database(dsn) as db:
        task_id = insert_task(db, repeat_interval="1 day", max_attempts=1)
        await work(dsn, fail)
        (child,) = rows(db, "select id from pgsched.tasks where parent_id = %s", task_id)
        db.execute("select pgsched.retry(%s)", (child["id"],))
        await work(dsn)
        assert task_row(db, child["id"])["status"] == "completed"


async def test_the_last_repetition_completes_the_task(dsn: str) -> None:
    with database(dsn) as db:
        task_id = insert_task(db, repeat_interval="1 hour", repeat_count=2)
        for _ in range(2):
            make_due(db, task_id)
            await work(dsn)
        row = task_row(db, task_id)
    assert (row["status"], row["execution_count"], row["next_run_at"]) == ("completed", 2, None)


async def test_outcome_history_and_next_run_are_one_transaction(dsn: str) -> None:
    with database(dsn) as db:
        task_id = insert_task(db, repeat_interval="1 hour")
        await work(dsn)
        row, (run,) = task_row(db, task_id), history(db, task_id)
        assert row["status"] == "pending"
        assert rows(db, "select t.xmin::text = e.xmin::text as same from pgsched.tasks t, pgsched.executions e") == [
            {"same": True}
        ]
    assert run["scheduled_for"] < row["scheduled_for"]


async def test_a_schedule_edited_while_it_runs_is_planned_again_and_not_overwritten(dsn: str) -> None:
    with database(dsn) as db:
        task_id = insert_task(db, cron_expression="0 0 1 1 *")
        move_tick(db, task_id, "date_trunc('second', now())")
        async with engine(dsn, handlers(mail=answer)) as one:
            await one.claim()
            db.execute("update pgsched.tasks set cron_expression = '0 0 2 2 *'")
            await one.run()
        row = task_row(db, task_id)
        assert len(history(db, task_id)) == 1
    assert (row["status"], row["execution_count"], row["next_run_at"]) == ("pending", 1, row["scheduled_for"])
    assert (row["scheduled_for"].month, row["scheduled_for"].day) == (2, 2)


async def test_a_payload_edited_while_it_runs_is_kept(dsn: str) -> None:
    with database(dsn) as db:
        task_id = insert_task(db, repeat_interval="1 hour")
        async with engine(dsn, handlers(mail=answer)) as one:
            await one.work()
            make_due(db, task_id)
            await one.claim()
            db.execute("update pgsched.tasks set payload = '{\"new\": true}', priority = 7")
            await one.run()
        row = task_row(db, task_id)
    assert (row["payload"], row["priority"], row["status"]) == ({"new": True}, 7, "pending")


# The fence and lost answers.


async def held_and_ended(one: Engine, **outcome: Any) -> int:
    """Claim one row and let its attempt end well; returns its id."""
    (task,) = await one.claim()
    leased = one.leased_tasks.get(task.id)
    assert leased is not None
    one.leased_tasks.take_waiting()
    one.completer.conclude(leased, Outcome("completed", 0.0, 0.0, **outcome))
    return task.id


async def test_a_finish_after_a_cancel_is_fenced(dsn: str) -> None:
    with database(dsn) as db:
        task_id = insert_task(db)
        async with engine(dsn) as one:
            await held_and_ended(one)
            db.execute("select pgsched.cancel(%s)", (task_id,))
            await one.completer.run_once()
            assert one.counts.fenced == 1
        assert task_row(db, task_id)["status"] == "cancelled"
        assert [run["status"] for run in history(db, task_id)] == ["cancelled"]


async def test_a_finish_of_a_deleted_row_is_fenced(dsn: str) -> None:
    with database(dsn) as db:
        insert_task(db)
        async with engine(dsn) as one:
            await held_and_ended(one)
            db.execute("delete from pgsched.tasks")
            await one.completer.run_once()
            assert (one.counts.fenced, len(one.completer), len(one.leased_tasks)) == (1, 0, 0)


async def test_a_finish_repeated_after_its_answer_was_lost_is_written_once_and_not_fenced(
    dsn: str, monkeypatch: Any
) -> None:
    write = completions.write

    async def lose_the_answer(*arguments: Any) -> int:
        monkeypatch.setattr(completions, "write", write)
        await write(*arguments)
        raise DatabaseUnavailable("the connection broke after the commit")

    with database(dsn) as db:
        task_id = insert_task(db)
        async with engine(dsn) as one:
            await held_and_ended(one)
            monkeypatch.setattr(completions, "write", lose_the_answer)
            with pytest.raises(DatabaseUnavailable):
                await one.completer.run_once()
            assert len(one.completer) == 1
            await one.completer.run_once()
            assert (one.counts.fenced, len(one.completer), len(one.leased_tasks)) == (0, 0, 0)
        assert task_row(db, task_id)["execution_count"] == 1
        assert len(history(db, task_id)) == 1


async def test_a_finish_that_is_fenced_is_not_taken_for_one_that_passes_beside_it_at_the_repetition(
    dsn: str, monkeypatch: Any
) -> None:
    """As after a failover that lost one of two claims: the history shows what has passed just now, too."""

    async def never_arrive(*_arguments: Any) -> int:
        monkeypatch.undo()
        raise DatabaseUnavailable("the primary is gone")

    with database(dsn) as db:
        lost, kept = insert_task(db), insert_task(db)
        async with engine(dsn) as one:
            told: list[int] = []
            one.completer.writer.on_written = lambda written: told.extend(finish.id for _, finish in written)
            for task in await one.claim():
                leased = one.leased_tasks.get(task.id)
                assert leased is not None
                one.completer.conclude(leased, Outcome("completed", 0.0, 0.0))
            one.leased_tasks.take_waiting()
            monkeypatch.setattr(completions, "write", never_arrive)
            with pytest.raises(DatabaseUnavailable):
                await one.completer.run_once()
            db.execute(
                "update pgsched.tasks set status = 'pending', locked_by = null, locked_until = null where id = %s",
                (lost,),
            )
            await one.completer.run_once()
            assert (told, one.counts.fenced, len(one.completer)) == ([kept], 1, 0)
        assert [task_row(db, task_id)["status"] for task_id in (lost, kept)] == ["pending", "completed"]


async def test_a_finish_that_never_arrived_is_written_by_the_next_tick(dsn: str) -> None:
    with database(dsn) as db:
        task_id = insert_task(db)
        async with engine(dsn) as one:
            await one.work()  # opens the connection
            make_due(db, insert_task(db))
            await held_and_ended(one)
            db.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity "
                "where application_name = 'pgsched finish' and datname = current_database()"
            )
            failures = 0
            while len(one.completer):
                try:
                    await one.completer.run_once()
                except DatabaseUnavailable:
                    failures += 1
            assert failures == 1
        assert rows(db, "select distinct status from pgsched.tasks") == [{"status": "completed"}]
        assert task_row(db, task_id)["status"] == "completed"


async def test_a_result_that_the_database_refuses_does_not_harm_its_neighbours(dsn: str) -> None:
    with database(dsn) as db:
        ids = [insert_task(db) for _ in range(3)]
        async with engine(dsn) as one:
            await one.claim()
            one.leased_tasks.take_waiting()
            for task_id in ids:
                leased = one.leased_tasks.get(task_id)
                assert leased is not None
                result = '"\\u0000"' if task_id == ids[1] else '"fine"'
                one.completer.conclude(leased, Outcome("completed", 0.0, 0.0, result=result))
            await one.completer.run_once()
            assert (len(one.completer), one.counts.fenced) == (0, 0)
        assert [task_row(db, task_id)["status"] for task_id in ids] == ["completed", "dead", "completed"]
        assert "cannot be stored" in task_row(db, ids[1])["last_error"]
        assert [len(history(db, task_id)) for task_id in ids] == [1, 1, 1]


async def test_log_lines_are_written_with_the_outcome_or_not_at_all(dsn: str) -> None:
    async def talk(context: Context) -> None:
        context.log("done")

    with database(dsn) as db:
        task_id = insert_task(db)
        async with engine(dsn, handlers(mail=talk)) as one:
            await one.claim()
            await one.started()
            await one.finished()
            db.execute("alter table pgsched.executions add constraint no_more check (false) not valid")
            await one.completer.run_once()
            assert rows(db, "select * from pgsched.execution_logs") == []
            db.execute("alter table pgsched.executions drop constraint no_more")
            one.completer.try_all()
            await one.completer.run_once()
        assert [line["message"] for line in rows(db, "select message from pgsched.execution_logs")] == ["done"]
        assert task_row(db, task_id)["status"] == "completed"


async def test_many_finishes_go_out_together(dsn: str) -> None:
    with database(dsn) as db:
        ids = [insert_task(db) for _ in range(40)]
        async with engine(dsn, concurrency=40) as one:
            await one.claim()
            await one.started()
            await one.finished(40)
            await one.completer.run_once()
            assert len(one.completer) == 0
        assert rows(db, "select count(distinct xmin::text) as n from pgsched.tasks") == [{"n": 1}]
        assert len(ids) == 40
