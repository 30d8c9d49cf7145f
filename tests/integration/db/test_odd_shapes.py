"""Wide and long shapes cost what their rows cost: counted in rows and locks, not in seconds."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest

from pgsched.db.sql_files import load_statement
from tests.support.tables import insert_task, set_running

Connection = psycopg.Connection[dict[str, Any]]

READ = """
    select pg_stat_get_xact_tuples_returned(oid) + pg_stat_get_xact_tuples_fetched(oid)
      + (select coalesce(sum(pg_stat_get_xact_tuples_fetched(indexrelid)), 0) from pg_index where indrelid = c.oid) as n
    from pg_class c where oid = %s::regclass
"""
HISTORY_LOCKS = """
    select count(*) as n from pg_locks l join pg_inherits i on i.inhrelid = l.relation
    where l.pid = pg_backend_pid() and i.inhparent = 'pgsched.executions'::regclass
"""


def number(db: Connection, statement: str, *values: object) -> int:
    row = db.execute(statement, values).fetchone()  # type: ignore[arg-type]
    assert row is not None
    return int(next(iter(row.values())))


def rows_of_edges_read(db: Connection) -> int:
    return number(db, "select pg_stat_get_xact_tuples_returned('pgsched.dependencies'::regclass)::bigint as n")


@pytest.fixture
def edges(db: Connection) -> list[int]:
    """2,000 tasks that one other waits for, which the statistics take for few tasks with many dependents each."""
    ids = [
        row["id"]
        for row in db.execute(
            "insert into pgsched.tasks (task_type) select 'mail' from generate_series(1, 2000) returning id"
        ).fetchall()
    ]
    insert_task(db, "join", depends_on=ids)
    return ids


def test_the_end_of_a_task_does_not_read_the_edges_of_others(db: Connection, edges: list[int]) -> None:
    ended = edges[:100]
    db.execute(
        "update pgsched.tasks set status = 'completed', completed_at = now(), next_run_at = null where id = any(%s)",
        (ended,),
    )
    with db.transaction():
        before = rows_of_edges_read(db)
        db.execute("select pgsched.settle(%s::bigint[])", (ended,))
        assert rows_of_edges_read(db) - before == 0  # a sequential scan returns every row of the table
    assert number(db, "select waiting_for from pgsched.tasks where task_type = 'join'") == 1900


def test_neither_a_dependent_nor_an_end_locks_the_history(db: Connection, edges: list[int]) -> None:
    with db.transaction():
        insert_task(db, "next", depends_on=edges[:3])
        db.execute(
            "update pgsched.tasks set status = 'completed', completed_at = now(), next_run_at = null where id = %s",
            (edges[0],),
        )
        db.execute("select pgsched.settle(%s::bigint[])", (edges[:1],))
        assert number(db, HISTORY_LOCKS) == 0


def test_a_dependency_that_has_left_its_row_is_still_found_in_the_history(db: Connection) -> None:
    db.execute(
        "insert into pgsched.executions (task_id, task_type, queue, attempt, fencing_token, scheduled_for, worker_id,"
        " status, started_at, finished_at, duration_ms, task) values (1000000, 'mail', 'default', 1, 1, now(),"
        " gen_random_uuid(), 'completed', now(), now(), 0, '{}')"
    )
    assert number(db, "select pgsched.has_left(1000000)::int") == 1
    assert number(db, "select pgsched.has_left(1000001)::int") == 0
    task = insert_task(db, "next", depends_on=[1_000_000])
    assert number(db, "select count(*) from pgsched.tasks where id = %s and status = 'pending'", task) == 1
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="task 1000001 does not exist"):
        insert_task(db, "next", depends_on=[1_000_001])


STEPS = 60


def failed_group(db: Connection, *, order: bool = False) -> tuple[int, list[int]]:
    """A group whose steps, one beside the other, are all dead; with ``order`` the last step waits for the others."""
    steps = [{"task_type": "mail", "name": f"step {n}", "order": 1} for n in range(STEPS)]
    steps += [{"task_type": "mail", "name": "last", "order": 2}] * order
    group = insert_task(db, "pgsched.group", payload=json.dumps({"steps": steps}))
    set_running(db, group)
    token = number(db, "select fencing_token from pgsched.tasks where id = %s", group)
    db.execute("select pgsched.fire_group(%s, %s)", (group, token))
    fired = [
        row["id"]
        for row in db.execute(
            "select id from pgsched.tasks where parent_id = %s and status = 'pending' order by id", (group,)
        ).fetchall()
    ]
    db.execute(
        "update pgsched.tasks set status = 'dead', died_at = now(), next_run_at = null, attempts = 3"
        " where id = any(%s)",
        (fired,),
    )
    db.execute("select pgsched.settle(%s::bigint[])", (fired,))
    return group, fired


def test_a_retry_of_many_steps_reads_each_of_them_a_few_times(db: Connection) -> None:
    group, fired = failed_group(db)
    db.execute("set enable_seqscan = off")  # as with so many rows that a scan of the table would cost more
    with db.transaction():
        db.execute("select count(*) from pgsched.change_tasks('retry', %s::bigint[], false)", (fired,))
        assert number(db, READ, "pgsched.tasks") < 30 * STEPS  # each for each was 60 * 60 for the locks alone
    row = db.execute("select status, waiting_for from pgsched.tasks where id = %s", (group,)).fetchone()
    assert row == {"status": "blocked", "waiting_for": STEPS}
    assert number(db, "select count(*) from pgsched.dependencies where task_id = %s", group) == STEPS


def test_a_retry_of_many_steps_lets_those_wait_again_that_were_cancelled_with_them(db: Connection) -> None:
    group, fired = failed_group(db, order=True)
    last = "select status from pgsched.tasks where task_name = 'last'"
    assert db.execute(last).fetchone() == {"status": "cancelled"}
    db.execute("select count(*) from pgsched.change_tasks('retry', %s::bigint[], false)", (fired,))
    assert db.execute(last).fetchone() == {"status": "blocked"}
    assert number(db, "select waiting_for from pgsched.tasks where task_name = 'last'") == STEPS
    assert number(db, "select waiting_for from pgsched.tasks where id = %s", group) == STEPS + 1


DEPENDENTS = 400


def test_the_end_of_a_task_does_not_compare_its_dependents_with_each_other(db: Connection) -> None:
    upstream = insert_task(db, "first")
    db.execute(
        "insert into pgsched.tasks (task_type, depends_on) select 'mail', array[%s::bigint]"
        " from generate_series(1, %s)",
        (upstream, DEPENDENTS),
    )
    db.execute(
        "update pgsched.tasks set status = 'completed', completed_at = now(), next_run_at = null where id = %s",
        (upstream,),
    )
    db.execute(load_statement("tune_session"))
    db.execute("load 'auto_explain'")
    for name, value in (
        *(("log_min_duration", "0"), ("log_nested_statements", "on"), ("log_analyze", "on"), ("log_timing", "off")),
        ("log_format", "json"),
    ):
        db.execute("select set_config(%s, %s, false)", (f"auto_explain.{name}", value))
    db.execute("set client_min_messages = log")
    plans: list[str] = []
    db.add_notice_handler(lambda notice: plans.append(notice.message_primary or ""))
    assert number(db, "select pgsched.settle(array[%s::bigint])", upstream) == DEPENDENTS
    read = max(rows_of_plan(json.loads(plan[plan.index("{") :])["Plan"]) for plan in plans if "settled" in plan)
    assert DEPENDENTS < read < 40 * DEPENDENTS  # each with each was 400 * 400


def rows_of_plan(node: dict[str, Any]) -> float:
    """The rows that a node of a plan and those below it returned, and those that it took for nothing."""
    below = node.get("Plans", [])
    own = node["Actual Rows"] + node.get("Rows Removed by Join Filter", 0) + node.get("Rows Removed by Filter", 0)
    return float(own * node["Actual Loops"] + sum(map(rows_of_plan, below)))


def test_a_cancel_of_a_group_writes_each_of_its_rows_once(db: Connection) -> None:
    steps = [{"task_type": "mail", "name": f"step {n}", "order": 1} for n in range(STEPS)]
    group = insert_task(db, "pgsched.group", payload=json.dumps({"steps": steps}))
    set_running(db, group)
    token = number(db, "select fencing_token from pgsched.tasks where id = %s", group)
    db.execute("select pgsched.fire_group(%s, %s)", (group, token))
    written = "select pg_stat_get_xact_tuples_updated('pgsched.tasks'::regclass)"
    with db.transaction():
        before = number(db, written)
        db.execute("select pgsched.cancel(%s)", (group,))
        assert (
            number(db, written) - before == STEPS + 1
        )  # the group for each step: each version passes all earlier ones
    row = db.execute("select status, waiting_for, last_error from pgsched.tasks where id = %s", (group,)).fetchone()
    assert row == {"status": "cancelled", "waiting_for": 0, "last_error": None}
    assert number(db, "select count(*) from pgsched.dependencies") == 0
