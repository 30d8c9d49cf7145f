"""``pgsched.sql``: one statement, in the transaction of its outcome."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pgsched.builtin import with_builtins
from pgsched.builtin.settings import Builtins
from pgsched.execution.registry import Registry
from tests.support.engine import engine, expire_leases, history, rows
from tests.support.tables import database, insert_task, task_row
from tests.support.waiting import wait_until_async

ALLOWED = with_builtins(Registry(), Builtins(allow_sql=True))


async def ran(dsn: str, statement: Any, params: Any = None) -> dict[str, Any]:
    """The row of a task that was run once."""
    payload = {"statement": statement} | ({} if params is None else {"params": params})
    with database(dsn) as db:
        task_id = insert_task(db, "sql", payload=json.dumps(payload))
        async with engine(dsn, ALLOWED) as one:
            await one.work()
        return task_row(db, task_id)


async def test_statement_runs_with_its_parameters(dsn: str) -> None:
    row = await ran(dsn, "select %s::int + 1 as n, %s || '!' as text", [41, "hello"])
    assert row["result"] == {"rowcount": 1, "rows": [{"n": 42, "text": "hello!"}]}


async def test_parameters_may_have_names(dsn: str) -> None:
    row = await ran(
        dsn, "select %(n)s::int as n, %(o)s as o, %(l)s::int[] as l", {"n": 1, "o": {"a": [1]}, "l": [2, 3]}
    )
    assert row["result"]["rows"] == [{"n": 1, "o": {"a": [1]}, "l": [2, 3]}]


async def test_percent_sign_is_itself_without_parameters(dsn: str) -> None:
    assert (await ran(dsn, "select 'a' like '%a%' as found"))["result"]["rows"] == [{"found": True}]


async def test_values_that_json_does_not_have_are_text(dsn: str) -> None:
    statement = """
        select 1.10::numeric as n, 'NaN'::float8 as nan, '2030-01-02 03:04:05+01'::timestamptz as at,
          '2030-01-02 03:04:05'::timestamp as local, '2030-01-02'::date as day, '\\x00ff'::bytea as bytes,
          '00000000-0000-0000-0000-000000000001'::uuid as uuid, array[1.5::numeric] as list, null as nothing
    """
    assert (await ran(dsn, statement))["result"]["rows"] == [
        {
            "n": "1.10",
            "nan": "NaN",
            "at": "2030-01-02T02:04:05Z",
            "local": "2030-01-02T03:04:05",
            "day": "2030-01-02",
            "bytes": "\\x00ff",
            "uuid": "00000000-0000-0000-0000-000000000001",
            "list": ["1.5"],
            "nothing": None,
        }
    ]


async def test_a_hundred_rows_are_kept_and_all_are_counted(dsn: str) -> None:
    result = (await ran(dsn, "select generate_series(1, 101) as n"))["result"]
    assert (result["rowcount"], len(result["rows"]), result["truncated"]) == (101, 100, True)


async def test_rows_that_are_long_are_fewer(dsn: str) -> None:
    result = (await ran(dsn, "select repeat('x', 100000) as x from generate_series(1, 10)"))["result"]
    assert (result["rowcount"], len(result["rows"]), result["truncated"]) == (10, 2, True)


async def test_statement_that_returns_nothing_tells_its_rows(dsn: str) -> None:
    with database(dsn) as db:
        db.execute("create table things (n int)")
    row = await ran(dsn, "insert into things select generate_series(1, 3)")
    assert row["result"] == {"rowcount": 3, "rows": []}
    with database(dsn) as db:
        assert len(rows(db, "select * from things")) == 3


# The transaction.


async def test_statement_that_fails_leaves_nothing(dsn: str) -> None:
    with database(dsn) as db:
        db.execute("create table things (n int check (n < 3))")
    row = await ran(dsn, "insert into things select generate_series(1, 3)")
    assert (row["status"], row["attempts"]) == ("pending", 1)
    assert "violates check constraint" in row["last_error"]
    with database(dsn) as db:
        assert rows(db, "select * from things") == []


async def test_worker_that_lost_its_lease_writes_nothing(dsn: str) -> None:
    """Two workers run the same task; what the first one wrote is undone, so it is written once."""
    with database(dsn) as db:
        db.execute("create table things (n int)")
        insert_task(db, "sql", payload=json.dumps({"statement": "insert into things values (1)"}))
        async with engine(dsn, ALLOWED) as late, engine(dsn, ALLOWED) as owner:
            await late.claim()
            expire_leases(db)
            await owner.work()
            await late.run()
        assert len(rows(db, "select * from things")) == 1


@pytest.mark.parametrize("statement", ["commit", "rollback", "begin; commit", "select 1; commit; select 2"])
async def test_statement_cannot_end_its_transaction(dsn: str, statement: str) -> None:
    assert (await ran(dsn, statement))["status"] == "pending"  # failed


async def test_several_statements_are_refused(dsn: str) -> None:
    with database(dsn) as db:
        db.execute("create table things (n int)")
    row = await ran(dsn, "insert into things values (1); insert into things values (2)")
    assert "cannot insert multiple commands into a prepared statement" in row["last_error"]
    with database(dsn) as db:
        assert rows(db, "select * from things") == []


@pytest.mark.parametrize(
    ("statement", "params", "said"),
    [
        ("", None, "statement must be text"),
        (5, None, "statement must be text"),
        ("select 1", "x", "params must be a list or an object, got a str"),
    ],
)
async def test_payload_that_makes_no_sense_is_dead_at_once(dsn: str, statement: Any, params: Any, said: str) -> None:
    row = await ran(dsn, statement, params)
    assert row["status"] == "dead"
    assert said in row["last_error"]


async def test_timeout_ends_the_statement(dsn: str) -> None:
    payload = json.dumps({"statement": "select pg_sleep(60)"})
    with database(dsn) as db:
        task_id = insert_task(db, "sql", payload=payload, timeout="300 milliseconds")
        async with engine(dsn, ALLOWED) as one:
            await one.work()
        assert [row["status"] for row in history(db, task_id)] == ["timed_out"]
        running = (
            "select query from pg_stat_activity"
            " where datname = current_database() and query like '%pg_sleep(60)' and state = 'active'"
        )
        await wait_until_async(lambda: not rows(db, running), message="nothing sleeps any more")


# Off by default.


async def test_without_the_operators_word_nothing_is_claimed(dsn: str) -> None:
    with database(dsn) as db:
        task_id = insert_task(db, "pgsched.sql", payload=json.dumps({"statement": "select 1"}))
        async with engine(dsn, with_builtins(Registry(), Builtins())) as one:
            assert await one.claim() == []
        assert task_row(db, task_id)["status"] == "pending"
