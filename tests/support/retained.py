"""Finished rows, one run of deleting them, and what its guards promise, as checks that fail without the guard."""

from __future__ import annotations

import threading
from contextlib import suppress
from datetime import timedelta
from typing import Any

import psycopg

from pgsched.db.retention import RetentionStore
from pgsched.domain.errors import PgschedError
from pgsched.domain.interval import Interval
from pgsched.domain.records import Pruned
from pgsched.ops.retention import Pruner, RetentionOverride
from tests.support.engine import rows
from tests.support.tables import database, insert_task, nobody_waits_for_a_row, restoring, set_completed, task_row

Database = psycopg.Connection[dict[str, Any]]
NOW = Interval()
"""An age that every finished task has."""
FORTY_DAYS_AGO = "now() - interval '40 days'"
EVERYTHING = RetentionOverride(completed_older_than=NOW, dead_older_than=NOW)


def never(_seconds: float) -> bool:
    """Pause for nothing, stop for nobody."""
    return False


def prune_now(dsn: str, wish: RetentionOverride = EVERYTHING, **given: Any) -> Pruned:
    """One run, without pauses."""
    store = RetentionStore(dsn)
    try:
        return Pruner(store=store, wait=never, override=wish, **given).run()
    finally:
        store.close()


def finished(db: Database, ago: str = "1 hour", status: str = "completed", **columns: Any) -> int:
    """Insert a task that ended so long ago."""
    row = db.execute("select now() - %s::interval as at", (ago,)).fetchone()
    assert row is not None
    ended = {"died_at" if status == "dead" else "completed_at": row["at"]}
    return insert_task(db, status=status, **ended | columns)


def many_finished(db: Database, number: int) -> None:
    """Insert tasks that have just been completed."""
    with restoring(db):
        db.execute(
            "insert into pgsched.tasks (task_type, status, completed_at)"
            " select 'mail', 'completed', now() from generate_series(1, %s)",
            (number,),
        )


def left(db: Database) -> list[int]:
    """The ids of the tasks that are there."""
    return [row["id"] for row in rows(db, "select id from pgsched.tasks order by id")]


def gone_of(done: Pruned) -> dict[str, tuple[int, int, int]]:
    """By queue, how many were completed, cancelled and dead."""
    return {one.queue: (one.completed, one.cancelled, one.dead) for one in done.queues}


def old_day(db: Database, parent: str = "executions") -> str:
    """Make a partition of a day of forty days ago; returns its name."""
    (row,) = rows(db, f"select date_trunc('day', {FORTY_DAYS_AGO}, 'UTC') as day")
    day = row["day"]
    name = f"{parent}_{day:%Y%m%d}"
    db.execute(
        psycopg.sql.SQL("create table pgsched.{} partition of pgsched.{} for values from ({}) to ({})").format(
            psycopg.sql.Identifier(name), psycopg.sql.Identifier(parent), day, day + timedelta(days=1)
        )
    )
    return name


# What the guards promise.


def a_result_that_is_still_asked_for_stays(dsn: str) -> None:
    """What an unfinished task depends on is not deleted, whatever became of its edge meanwhile."""
    with database(dsn) as db:
        ready, later = insert_task(db), insert_task(db)
        waiting = insert_task(db, depends_on=[ready, later])
        set_completed(db, ready)
        db.execute("select pgsched.settle(array[%s::bigint])", (ready,))
        prune_now(dsn)
        assert left(db) == [ready, later, waiting]


def a_step_of_the_tick_under_way_stays(dsn: str) -> None:
    """A group that is a schedule asks for the steps of this tick when it joins; those of earlier ticks are gone."""
    with database(dsn) as db:
        group = insert_task(
            db, "pgsched.group", repeat_interval="1 hour", payload='{"steps": [{"task_type": "mail", "name": "a"}]}'
        )
        earlier, current = (finished(db, parent_id=group, observed=True) for _ in range(2))
        db.execute(
            "update pgsched.tasks set status = 'blocked', next_run_at = null, waiting_for = 1, fired = %s"
            " where id = %s",
            ([current], group),
        )
        prune_now(dsn)
        assert left(db) == [group, current], f"of {group}, {earlier} and {current}"


def steps_of_a_group_stay_while_one_of_them_goes_on(dsn: str) -> None:
    """A step that was given its attempts again, after the group had ended, keeps its siblings and the group."""
    with database(dsn) as db:
        group = finished(db, task_type="pgsched.group", payload='{"steps": [{"task_type": "mail"}]}')
        done = finished(db, parent_id=group, observed=True)
        again = insert_task(db, parent_id=group, observed=True)
        prune_now(dsn)
        assert left(db) == [group, done, again]


def a_parent_stays_while_a_child_goes_on(dsn: str) -> None:
    """A finished task whose copy still runs is there to be found."""
    with database(dsn) as db:
        parent = finished(db)
        child = insert_task(db, parent_id=parent)
        prune_now(dsn)
        assert left(db) == [parent, child]


def a_schedule_declared_in_code_stays(dsn: str) -> None:
    """A worker would insert it anew, and it would begin again."""
    with database(dsn) as db:
        over = finished(db, repeat_interval="1 minute", repeat_count=1, declared="{}", idempotency_key="digest")
        prune_now(dsn)
        assert left(db) == [over]


def a_row_that_somebody_has_locked_is_passed_by(dsn: str) -> None:
    """Deleting waits for nobody, and takes the others."""
    with database(dsn) as db, database(dsn) as other:
        locked, free = finished(db), finished(db)
        with other.transaction():
            other.execute("select from pgsched.tasks where id = %s for no key update", (locked,))
            with nobody_waits_for_a_row(dsn), suppress(PgschedError):
                prune_now(dsn)
        assert left(db) == [locked], f"{free} could have gone"


def two_do_not_prune_at_once(dsn: str) -> None:
    """Whoever comes while a batch is under way leaves it to that one."""
    with database(dsn) as db, database(dsn) as other:
        first, second = finished(db), finished(db)
        with other.transaction():
            other.execute(
                "select pgsched.pick_prunable('default', false, '-infinity', 0, now() - interval '1 second', 0, 1)"
            )
            assert not prune_now(dsn, patient=False).complete
        assert left(db) == [first, second]


def a_row_that_is_not_finished_is_not_deleted(dsn: str) -> None:
    """Whatever ids somebody gives."""
    with database(dsn) as db:
        waits, done = insert_task(db), finished(db)
        (row,) = rows(db, "select * from pgsched.delete_finished(%s, false)", [waits, done])
        assert row == {"completed": 1, "cancelled": 0, "dead": 0}
        assert left(db) == [waits]


def a_task_that_is_just_being_scheduled_finds_what_it_depends_on(dsn: str) -> None:
    """Between its INSERT and its commit nobody deletes what it depends on; so it is not cancelled by that."""
    with database(dsn) as db, database(dsn) as producer:
        done = finished(db)
        with producer.transaction():
            waiting = insert_task(producer, depends_on=[done])
            pruning = threading.Thread(target=prune_now, args=(dsn,))
            pruning.start()
            pruning.join(10)
        row = task_row(db, waiting)
        assert (row["status"], row["last_error"]) == ("pending", None)
        assert left(db) == [done, waiting]
