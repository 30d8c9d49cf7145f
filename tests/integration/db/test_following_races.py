"""A tick ends while its follower is made, cancelled or paused: whichever commits first, the other one sees it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from pgsched.db.connection import connect
from pgsched.db.worker.completions import finish_commands
from pgsched.domain.attempt import Finish
from tests.support.sessions import in_background, transaction, wait_until_blocked
from tests.support.tables import WORKER, database, insert_task, set_running, task_row

Connection = psycopg.Connection[Any]
TICK = datetime(2030, 1, 1, tzinfo=UTC)


def a_schedule(db: psycopg.Connection[dict[str, Any]]) -> int:
    """One that runs its tick."""
    schedule = insert_task(db, "load", repeat_interval="1 hour", scheduled_for=TICK, next_run_at=TICK)
    set_running(db, schedule)
    return schedule


def end_tick(connection: Connection, schedule: int) -> None:
    finish = Finish(
        schedule, 1, "pending", execution="completed", tick=TICK, counted=True, next_tick=TICK + timedelta(hours=1)
    )
    commands, _ = finish_commands(WORKER, [finish], [], [], 0.0)
    for statement, parameters in commands:
        row = connection.execute(statement, parameters).fetchone()
        assert row is not None
        assert row[0] == 1


def follow(connection: Connection, schedule: int) -> int:
    row = connection.execute(
        "insert into pgsched.tasks (task_type, depends_on, dependency_mode) values ('tell', %s, 'each') returning id",
        ([schedule],),
    ).fetchone()
    assert row is not None
    return int(row[0])


def runs(db: psycopg.Connection[dict[str, Any]], follower: int) -> list[datetime]:
    found = db.execute(
        "select scheduled_for from pgsched.tasks where parent_id = %s order by 1", (follower,)
    ).fetchall()
    return [row["scheduled_for"] for row in found]


def test_a_tick_that_ends_while_the_follower_commits_is_followed(dsn: str) -> None:
    with database(dsn) as db, transaction(dsn) as making, connect(dsn) as worker:
        schedule = a_schedule(db)
        follower = follow(making, schedule)
        making.execute("set constraints all immediate")  # what the commit does first
        finishing = in_background(lambda: end_tick(worker, schedule))
        wait_until_blocked(db)
        making.commit()
        finishing.join()
        assert runs(db, follower) == [TICK]


def test_a_tick_that_commits_before_the_follower_does_is_not_followed_and_the_next_one_is(dsn: str) -> None:
    with database(dsn) as db, transaction(dsn) as making, transaction(dsn) as worker:
        schedule = a_schedule(db)
        follower = follow(making, schedule)
        end_tick(worker, schedule)
        committing = in_background(making.commit)
        wait_until_blocked(db)
        worker.commit()
        committing.join()
        assert (runs(db, follower), task_row(db, follower)["status"]) == ([], "blocked")
        assert task_row(db, schedule)["observed"]


@pytest.mark.parametrize("verb", ["cancel", "disable"])
def test_a_tick_waits_for_the_end_of_a_change_to_its_follower(dsn: str, verb: str) -> None:
    with database(dsn) as db, transaction(dsn) as changing, connect(dsn) as worker:
        schedule = a_schedule(db)
        follower = insert_task(db, "tell", depends_on=[schedule], dependency_mode="each")
        changing.execute(f"select pgsched.{verb}(%s)", (follower,))  # type: ignore[arg-type]
        finishing = in_background(lambda: end_tick(worker, schedule))
        wait_until_blocked(db)
        changing.commit()
        finishing.join()
        assert runs(db, follower) == []
        assert task_row(db, schedule)["scheduled_for"] == TICK + timedelta(hours=1)


def test_two_ticks_that_end_at_once_do_not_wait_for_each_other(dsn: str) -> None:
    """As children of a schedule that may overlap itself: the follower is locked in share mode."""
    with database(dsn) as db, transaction(dsn) as first, connect(dsn) as second:
        schedule = insert_task(db, "load", repeat_interval="1 hour", overlap="allow")
        follower = insert_task(db, "tell", depends_on=[schedule], dependency_mode="each")
        ticks = [TICK, TICK + timedelta(hours=1)]
        children = [
            insert_task(db, "load", parent_id=schedule, observed=True, scheduled_for=tick, next_run_at=tick,
                        idempotency_key=f"tick:{schedule}:{tick.timestamp()}")
            for tick in ticks
        ]  # fmt: skip
        for connection, child, tick in zip((first, second), children, ticks, strict=True):
            set_running(db, child)
            finish = Finish(child, 1, "completed", plain=True, execution="completed", tick=tick, counted=True)
            commands, _ = finish_commands(WORKER, [finish], [], [], 0.0)
            for statement, parameters in commands:
                connection.execute(statement, parameters)
        assert runs(db, follower) == [ticks[1]]
        first.commit()
        assert runs(db, follower) == ticks
