"""pgsched.is_claimable costs nothing: each statement that calls it is planned as if it spelled the expression out."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from psycopg.rows import scalar_row

from pgsched.db.sql_files import load_statement, statement_names
from tests.support.engine import rows
from tests.support.tables import database, insert_task, set_running

CALLERS = [name for name in statement_names() if "pgsched.is_claimable(" in load_statement(name)]


def generic_plan(db: psycopg.Connection[str], statement: str) -> list[str]:
    """The plan of a statement for whatever its parameters may be."""
    names = list(dict.fromkeys(re.findall(r"%\((\w+)\)s", statement)))
    for number, name in enumerate(names, start=1):
        statement = statement.replace(f"%({name})s", f"${number}")
    return db.execute(f"explain (generic_plan, verbose) {statement.replace('%%', '%')}".encode()).fetchall()


@pytest.mark.parametrize("name", CALLERS)
def test_the_planner_inlines_the_call(dsn: str, name: str) -> None:
    statement = load_statement(name)
    with psycopg.connect(dsn, row_factory=scalar_row) as db:
        if db.info.server_version < 160000:
            pytest.skip("PostgreSQL explains generic plans from 16 on")
        db.execute("insert into pgsched.tasks (task_type) select 'mail' from generate_series(1, 1000)")
        db.execute("analyze pgsched.tasks")
        (body,) = db.execute("select prosrc from pg_proc where oid = 'pgsched.is_claimable'::regproc").fetchall()
        expression = f"({body.strip().removeprefix('select ').replace('task.', 't.')})"
        plan = generic_plan(db, statement)
        assert plan == generic_plan(db, statement.replace("pgsched.is_claimable(t)", expression))
        assert not [line for line in plan if "is_claimable" in line]


def test_a_task_is_claimable_while_it_is_due_and_enabled_and_nobody_has_a_lease(dsn: str) -> None:
    with database(dsn) as db:
        due, lost, held, done = (insert_task(db) for _ in range(4))
        insert_task(db, scheduled_for=datetime.now(UTC) + timedelta(hours=1))
        insert_task(db, enabled=False)
        set_running(db, lost, lease="-1 second")
        set_running(db, held)
        db.execute("select pgsched.cancel(%s)", (done,))
        found = rows(db, "select id from pgsched.tasks t where pgsched.is_claimable(t) order by id")
    assert found == [{"id": due}, {"id": lost}]
