"""A task that waits, inserted while the one it waits for ends: whichever commits first, it is released."""

from __future__ import annotations

import threading
from typing import Any

import psycopg
import pytest

from pgsched.db.connection import connect
from pgsched.db.worker.completions import finish_commands
from pgsched.domain.attempt import Finish
from tests.support.sessions import in_background, transaction, wait_until_blocked
from tests.support.tables import WORKER, database, insert_task, set_running, task_row

Connection = psycopg.Connection[Any]


def complete(connection: Connection, task_id: int, *, plain: bool = True) -> None:
    finish = Finish(task_id, 1, "completed", plain=plain, execution="completed", counted=True)
    commands, _ = finish_commands(WORKER, [finish], [], [], 0.0)
    for statement, parameters in commands:
        row = connection.execute(statement, parameters).fetchone()
        assert row is not None
        assert row[0] == 1


def insert_waiting(connection: Connection, *upstream: int) -> int:
    row = connection.execute(
        "insert into pgsched.tasks (task_type, depends_on) values ('mail', %s) returning id", (list(upstream),)
    ).fetchone()
    assert row is not None
    return int(row[0])


def end_before_commit(dsn: str, *, plain: bool = True) -> dict[str, Any]:
    """The upstream ends after the insert and before its commit."""
    with database(dsn) as db, transaction(dsn) as waiting:
        upstream = insert_task(db)
        set_running(db, upstream)
        task_id = insert_waiting(waiting, upstream)
        with connect(dsn) as worker:
            complete(worker, upstream, plain=plain)
        waiting.commit()
        return task_row(db, task_id)


@pytest.mark.parametrize("plain", [True, False], ids=["finish_completed", "finish_tasks"])
def test_an_end_before_the_commit_of_the_insert_is_seen(dsn: str, plain: bool) -> None:
    assert end_before_commit(dsn, plain=plain)["status"] == "pending"


def test_the_end_would_be_missed_without_the_look_at_the_commit(dsn: str) -> None:
    with database(dsn) as db:
        db.execute("alter table pgsched.tasks disable trigger watch")
    assert end_before_commit(dsn)["status"] == "blocked"


@pytest.mark.parametrize("observed", [False, True], ids=["first to wait", "second to wait"])
@pytest.mark.parametrize("plain", [True, False], ids=["finish_completed", "finish_tasks"])
def test_an_end_that_commits_while_the_insert_does_is_seen(dsn: str, plain: bool, observed: bool) -> None:
    with database(dsn) as db, transaction(dsn) as waiting, transaction(dsn) as worker:
        upstream = insert_task(db)
        if observed:
            insert_task(db, depends_on=[upstream])
        set_running(db, upstream)
        task_id = insert_waiting(waiting, upstream)
        complete(worker, upstream, plain=plain)
        committing = in_background(waiting.commit)  # waits for the row that the worker has changed
        wait_until_blocked(db)
        worker.commit()
        committing.join()
        assert task_row(db, task_id)["status"] == "pending"


@pytest.mark.parametrize("plain", [True, False], ids=["finish_completed", "finish_tasks"])
def test_an_insert_that_commits_while_the_end_waits_for_it_is_seen(dsn: str, plain: bool) -> None:
    with database(dsn) as db, transaction(dsn) as waiting, connect(dsn) as worker:
        upstream = insert_task(db)
        set_running(db, upstream)
        task_id = insert_waiting(waiting, upstream)
        waiting.execute("set constraints all immediate")  # what the commit does first
        finishing = in_background(lambda: complete(worker, upstream, plain=plain))
        wait_until_blocked(db)
        waiting.commit()
        finishing.join()
        assert task_row(db, task_id)["status"] == "pending"
        assert task_row(db, upstream)["status"] == "completed"


def test_two_ends_at_once_release_the_one_that_waits_for_both(dsn: str) -> None:
    with database(dsn) as db, transaction(dsn) as first, connect(dsn) as second:
        upstream = [insert_task(db), insert_task(db)]
        for task_id in upstream:
            set_running(db, task_id)
        with connect(dsn) as producer:
            waiting = insert_waiting(producer, *upstream)
        complete(first, upstream[0])
        finishing = in_background(lambda: complete(second, upstream[1]))
        wait_until_blocked(db)
        first.commit()
        finishing.join()
        row = task_row(db, waiting)
        assert (row["status"], row["waiting_for"]) == ("pending", 0)
        assert db.execute("select from pgsched.dependencies").rowcount == 0


def test_nothing_is_stuck_when_inserts_and_ends_cross_at_random(dsn: str) -> None:
    rounds = 150
    with database(dsn) as db:
        ids = [insert_task(db) for _ in range(rounds)]
        for task_id in ids:
            set_running(db, task_id)
        start = threading.Barrier(3)

        def end_all() -> None:
            with connect(dsn) as worker:
                start.wait()
                for task_id in ids:
                    complete(worker, task_id)

        def insert_all() -> None:
            with connect(dsn) as producer:
                start.wait()
                for place, task_id in enumerate(ids):
                    insert_waiting(producer, task_id, ids[-1 - place])

        threads = [in_background(end_all), in_background(insert_all)]
        start.wait()
        for thread in threads:
            thread.join()
        states = db.execute("select status from pgsched.tasks where cardinality(depends_on) > 0").fetchall()
        assert [row["status"] for row in states] == ["pending"] * rounds
