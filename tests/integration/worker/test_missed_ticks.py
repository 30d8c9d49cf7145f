"""Ticks that passed while nothing ran: what runs, what does not, and what the history says of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any

import psycopg
import pytest

from pgsched.domain.attempt import Outcome
from pgsched.execution.context import Context
from tests.support.engine import engine, handlers, history, rows, work_and_send_again
from tests.support.tables import database, insert_task, task_row

DAY = timedelta(days=1)


def five_ticks_missed(db: psycopg.Connection[dict[str, Any]], **columns: Any) -> tuple[int, list[datetime]]:
    """A daily schedule whose worker was away for five ticks, the last some hours ago: its id, those ticks."""
    now: datetime = rows(db, "select now() as now")[0]["now"].astimezone(UTC)
    last = (now - timedelta(hours=3)).replace(minute=0, second=0, microsecond=0)
    ticks = [last - DAY * back for back in (4, 3, 2, 1, 0)]
    task_id = insert_task(db, cron_expression=f"0 {last.hour} * * *", scheduled_for=ticks[0], **columns)
    return task_id, ticks


async def let_it_run(dsn: str, task_id: int) -> list[tuple[datetime, bool]]:
    """Claim and run until the schedule waits for a tick to come; returns (tick, is_catchup) of what ran."""
    ran = []

    def mail(ctx: Context) -> None:
        ran.append((ctx.scheduled_for, ctx.is_catchup))

    async with engine(dsn, handlers(mail=mail)) as one:
        while await one.work():
            pass
        return ran


async def test_once_runs_the_latest_missed_tick(dsn: str) -> None:
    with database(dsn) as db:
        task_id, ticks = five_ticks_missed(db)
        assert await let_it_run(dsn, task_id) == [(ticks[-1], True)]
        assert task_row(db, task_id)["scheduled_for"] > ticks[-1]


async def test_missed_ticks_are_noted_once_when_a_finish_is_sent_again(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with database(dsn) as db:
        _, ticks = five_ticks_missed(db)
        async with engine(dsn) as one:
            await work_and_send_again(one, monkeypatch)
        assert [row["ticks"] for row in rows(db, "select ticks from pgsched.missed_ticks")] == [4]
        assert [row["scheduled_for"] for row in rows(db, "select * from pgsched.executions")] == [ticks[-1]]


async def test_skip_runs_no_missed_tick(dsn: str) -> None:
    with database(dsn) as db:
        task_id, ticks = five_ticks_missed(db, on_missed="skip")
        assert await let_it_run(dsn, task_id) == []
        assert task_row(db, task_id)["scheduled_for"] > ticks[-1]


async def test_all_runs_every_missed_tick_in_turn(dsn: str) -> None:
    with database(dsn) as db:
        task_id, ticks = five_ticks_missed(db, on_missed="all")
        assert await let_it_run(dsn, task_id) == [(tick, True) for tick in ticks]


async def test_all_drops_what_is_older_than_the_catchup_window(dsn: str) -> None:
    with database(dsn) as db:
        task_id, ticks = five_ticks_missed(db, on_missed="all", catchup_window="36 hours")
        assert await let_it_run(dsn, task_id) == [(tick, True) for tick in ticks[-2:]]
        (missed,) = rows(db, "select * from pgsched.missed_ticks")
        assert (missed["reason"], missed["ticks"]) == ("all", 3)


async def test_once_runs_nothing_that_is_older_than_the_catchup_window(dsn: str) -> None:
    with database(dsn) as db:
        task_id, _ = five_ticks_missed(db, catchup_window="1 second")
        assert await let_it_run(dsn, task_id) == []
        (missed,) = rows(db, "select * from pgsched.missed_ticks")
        assert (missed["reason"], missed["ticks"]) == ("once", 5)


@pytest.mark.parametrize(("policy", "dropped"), [("once", 4), ("skip", 5)])
async def test_ticks_that_were_not_run_are_in_the_history(dsn: str, policy: str, dropped: int) -> None:
    with database(dsn) as db:
        task_id, ticks = five_ticks_missed(db, on_missed=policy)
        await let_it_run(dsn, task_id)
        (missed,) = rows(db, "select * from pgsched.missed_ticks where task_id = %s", task_id)
        assert (missed["reason"], missed["ticks"], missed["first_tick"]) == (policy, dropped, ticks[0])
        assert missed["next_tick"] == (ticks[-1] if policy == "once" else task_row(db, task_id)["scheduled_for"])


async def test_ticks_that_were_not_run_are_counted_by_policy(dsn: str) -> None:
    with database(dsn) as db:
        five_ticks_missed(db, on_missed="skip")
        async with engine(dsn) as one:
            await one.work()
            assert one.counts.ticks_missed.at(("mail", "default"))["skip"] == 5


async def test_a_paused_schedule_does_not_fire(dsn: str) -> None:
    with database(dsn) as db:
        five_ticks_missed(db, enabled=False)
        async with engine(dsn) as one:
            assert await one.claim() == []


@pytest.mark.parametrize(("policy", "runs"), [("once", 1), ("skip", 0), ("all", 5)])
async def test_an_enabled_schedule_treats_its_pause_as_time_missed(dsn: str, policy: str, runs: int) -> None:
    with database(dsn) as db:
        task_id, _ = five_ticks_missed(db, enabled=False, on_missed=policy)
        db.execute("select pgsched.enable(%s)", (task_id,))
        assert len(await let_it_run(dsn, task_id)) == runs


async def test_a_tick_on_time_is_no_catch_up(dsn: str) -> None:
    with database(dsn) as db:
        task_id = insert_task(db, repeat_interval="1 day", scheduled_for=datetime.now(UTC))
        assert [late for _, late in await let_it_run(dsn, task_id)] == [False]
        assert rows(db, "select * from pgsched.missed_ticks") == []


async def test_ticks_during_a_run_are_overlapped_and_noted(dsn: str) -> None:
    with database(dsn) as db:
        task_id = insert_task(db, repeat_interval="1 second", scheduled_for=datetime.now(UTC))
        async with engine(dsn) as one:
            (task,) = await one.claim()
            (leased,) = one.leased_tasks.take_waiting()
            begun = monotonic()
            one.completer.conclude(leased, Outcome("completed", begun, begun + 3.5))
            await one.completer.run_once()
        (missed,) = rows(db, "select * from pgsched.missed_ticks")
        assert (missed["reason"], missed["next_tick"]) == ("overlap", task_row(db, task_id)["scheduled_for"])
        assert missed["ticks"] >= 3
        assert task.scheduled_for is not None
        assert missed["first_tick"] == task.scheduled_for + timedelta(seconds=1)


async def test_a_fenced_finish_notes_no_missed_ticks(dsn: str) -> None:
    with database(dsn) as db:
        five_ticks_missed(db, on_missed="skip")
        async with engine(dsn) as late:
            await late.claim()
            db.execute("update pgsched.tasks set fencing_token = fencing_token + 1")
            await late.run()
        assert rows(db, "select * from pgsched.missed_ticks") == []


async def test_a_long_pause_of_a_busy_schedule_is_over_at_once(dsn: str) -> None:
    with database(dsn) as db:
        start = datetime.now(UTC).replace(microsecond=0) - timedelta(days=3650)
        task_id = insert_task(db, cron_expression="* * * * * *", scheduled_for=start)
        ran = await let_it_run(dsn, task_id)
        assert len(ran) >= 1
        assert (
            rows(db, "select ticks from pgsched.missed_ticks order by noted_at")[0]["ticks"] >= 999
        )  # counted no further
        assert history(db, task_id)[0]["scheduled_for"] > start + timedelta(days=3649)
