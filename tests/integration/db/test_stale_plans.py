"""A session that planned our functions while the tables were empty reads only the rows of the tasks that it touches.

It keeps those plans for as long as it lives, as a session of a pool does. Counted in rows, not in seconds.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from tests.support.tables import insert_task, set_running

Connection = psycopg.Connection[dict[str, Any]]

ROWS = 300
EACH = 150
"""Rows and entries of indexes that may be read for each task; one scan of the tables for each is ROWS of them."""
PLANS = 7
"""A session keeps a plan from the sixth execution on."""
READ = """
    select sum(pg_stat_get_xact_tuples_returned(r.oid) + pg_stat_get_xact_tuples_fetched(r.oid))::bigint as n
    from pg_class r
    where r.oid in ('pgsched.tasks'::regclass, 'pgsched.dependencies'::regclass) or r.oid in (
      select i.indexrelid from pg_index i
      where i.indrelid in ('pgsched.tasks'::regclass, 'pgsched.dependencies'::regclass))
"""


def number(db: Connection, statement: str, *values: object) -> int:
    row = db.execute(statement, values).fetchone()  # type: ignore[arg-type]
    assert row is not None
    return int(next(iter(row.values())))


@contextmanager
def few_rows_read(db: Connection, tasks: int) -> Iterator[None]:
    with db.transaction():
        before = number(db, READ)
        yield
        db.execute("set constraints all immediate")
        read = number(db, READ) - before
    assert read < EACH * tasks + 500, f"{read} rows read for {tasks} tasks"


def insert_many(db: Connection, tasks: int, depends_on: list[int] | None = None) -> list[int]:
    statement = (
        "insert into pgsched.tasks (task_type, depends_on) select 'mail', %s::bigint[]"
        " from generate_series(1, %s) returning id"
    )
    return [row["id"] for row in db.execute(statement, (depends_on or [], tasks)).fetchall()]


def end(db: Connection, ids: list[int], status: str) -> None:
    db.execute(
        "update pgsched.tasks t set status = e.status, next_run_at = null, attempts = 3,"
        " died_at = case when e.status = 'dead' then now() end,"
        " completed_at = case when e.status = 'completed' then now() end"
        " from (select %s as status) e where t.id = any(%s)",
        (status, ids),
    )


def insert_dependents(db: Connection, tasks: int) -> Iterator[None]:
    first = insert_task(db, "first")
    yield
    insert_many(db, tasks, [first])
    assert number(db, "select count(*) from pgsched.dependencies where upstream_id = %s", first) == tasks


def end_with_dependents(db: Connection, tasks: int) -> Iterator[None]:
    first = insert_task(db, "first")
    insert_many(db, tasks, [first])
    yield
    end(db, [first], "completed")
    assert number(db, "select pgsched.settle(array[%s::bigint])", first) == tasks


def delete_waited_for(db: Connection, tasks: int) -> Iterator[None]:
    ids = insert_many(db, tasks)
    for one in ids[:2]:
        insert_task(db, "next", depends_on=[one])
    db.execute("update pgsched.tasks set observed = true where id = any(%s)", (ids,))
    yield
    assert len(change(db, "delete", ids)) == tasks


def insert_group(db: Connection, tasks: int, *, first: int = 0) -> tuple[int, int]:
    steps = [{"task_type": "mail", "name": f"step {n}", "order": int(n >= first)} for n in range(tasks)]
    group = insert_task(db, "pgsched.group", payload=json.dumps({"steps": steps}))
    set_running(db, group)
    return group, number(db, "select fencing_token from pgsched.tasks where id = %s", group)


def fire_group(db: Connection, tasks: int, *, first: int = 0) -> Iterator[None]:
    group, token = insert_group(db, tasks, first=first)
    yield
    assert number(db, "select pgsched.fire_group(%s, %s)", group, token) == tasks


def fire_group_in_stages(db: Connection, tasks: int) -> Iterator[None]:
    return fire_group(db, tasks, first=1)


def cancel_group(db: Connection, tasks: int, *, first: int = 0) -> Iterator[None]:
    group, token = insert_group(db, tasks, first=first)
    db.execute("select pgsched.fire_group(%s, %s)", (group, token))
    yield
    db.execute("select pgsched.cancel(%s)", (group,))
    ended = "select count(*) from pgsched.tasks where (id = %s or parent_id = %s) and status = 'cancelled'"
    assert number(db, ended, group, group) == tasks + 1


def cancel_group_in_stages(db: Connection, tasks: int) -> Iterator[None]:
    return cancel_group(db, tasks, first=1)


def retry_steps(db: Connection, tasks: int) -> Iterator[None]:
    group, token = insert_group(db, tasks)
    db.execute("select pgsched.fire_group(%s, %s)", (group, token))
    steps = [row["id"] for row in db.execute("select id from pgsched.tasks where parent_id = %s", (group,))]
    end(db, steps, "dead")
    db.execute("select pgsched.settle(%s::bigint[])", (steps,))
    yield
    assert len(change(db, "retry", steps)) == tasks


def change(db: Connection, action: str, ids: list[int]) -> list[int]:
    statement = "select id from pgsched.change_tasks(%s, %s::bigint[], false) as id"
    return [row["id"] for row in db.execute(statement, (action, ids)).fetchall()]


def bulk(action: str, *, dead: bool = False) -> Callable[[Connection, int], Iterator[None]]:
    def act(db: Connection, tasks: int) -> Iterator[None]:
        ids = insert_many(db, tasks)
        if dead:
            end(db, ids, "dead")
        yield
        assert len(change(db, action, ids)) == tasks

    return act


def edit_payloads(db: Connection, tasks: int) -> Iterator[None]:
    ids = insert_many(db, tasks)
    yield
    edited = db.execute("select id from pgsched.edit_payloads(%s::bigint[], %s)", (ids, '{"a": 1}'))
    assert edited.rowcount == tasks


def prune(db: Connection, tasks: int) -> Iterator[None]:
    ids = insert_many(db, tasks)
    end(db, ids, "completed")
    yield
    looked = (
        "select (pgsched.pick_prunable('default', false, '-infinity', 0, 'infinity', 9223372036854775807, 1000)).looked"
    )
    assert number(db, looked) == tasks
    assert number(db, "select (pgsched.prune_finished(%s::bigint[], false)).completed", ids) == tasks


@pytest.mark.parametrize(
    "act",
    [
        pytest.param(act, id=name)
        for name, act in {
            "insert dependents": insert_dependents,
            "end with dependents": end_with_dependents,
            "delete what is waited for": delete_waited_for,
            "fire a group": fire_group,
            "fire a group in stages": fire_group_in_stages,
            "cancel a group": cancel_group,
            "cancel a group in stages": cancel_group_in_stages,
            "retry steps": retry_steps,
            "edit payloads": edit_payloads,
            "disable": bulk("disable"),
            "cancel": bulk("cancel"),
            "run": bulk("run"),
            "retry": bulk("retry", dead=True),
            "prune": prune,
        }.items()
    ],
)
def test_plans_of_empty_tables_read_few_rows(db: Connection, act: Callable[[Connection, int], Iterator[None]]) -> None:
    db.execute("vacuum analyze pgsched.tasks, pgsched.dependencies")
    for _ in range(PLANS):
        once(db, act, 2)
        db.execute("delete from pgsched.tasks")
    tasks = act(db, ROWS)
    next(tasks)
    with few_rows_read(db, ROWS):
        next(tasks, None)


def once(db: Connection, act: Callable[[Connection, int], Iterator[None]], tasks: int) -> None:
    for _ in act(db, tasks):
        pass
