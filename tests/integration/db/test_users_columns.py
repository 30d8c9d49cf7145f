"""Columns of the users' own on our tables, whatever they are called."""

from __future__ import annotations

import re
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from pgsched import Client
from pgsched.db.sql_files import load_statement, statement_names
from pgsched.domain.task_spec import TaskSpec
from pgsched.domain.workflow import group, step
from tests.support import servers
from tests.support.engine import engine, handlers, rows
from tests.support.retained import Database, finished, left, prune_now
from tests.support.tables import database, insert_task, set_dead, task_row

pytestmark = pytest.mark.slow

TABLES = ("tasks", "executions")
PARAMETER = re.compile(r"%\((\w+)\)s")
TEXT = re.compile(r"'[^']*'")
MADE_OF_NAMES = re.compile(r"\{\w+\}")
"""Statements whose names are put in later. Outside of texts: `'{dead}'` is an array."""


@pytest.fixture
def wide_dsn(server_dsn: str, database_name: str) -> Iterator[str]:
    """The DSN of a fresh database whose tables have a column of each word of our own that is none yet."""
    template = servers.ensure_template(server_dsn, "_columns", then=add_columns)  # half a minute's work, once a run
    with servers.fresh_database(server_dsn, f"{database_name}_columns", template=template) as fresh:
        yield fresh


@pytest.fixture
def db(wide_dsn: str) -> Iterator[Database]:
    """A connection to it."""
    with database(wide_dsn) as connection:
        yield connection


def add_columns(dsn: str) -> None:
    """Give the tables a column of each word of our own that is none yet."""
    with database(dsn) as connection:
        sources = rows(connection, "select prosrc as text from pg_proc where pronamespace = 'pgsched'::regnamespace")
        text = "\n".join([*map(load_statement, statement_names()), *(row["text"] for row in sources)])
        # Words of comments and of texts name nothing, and a table may have 1,600 columns.
        words = set(re.findall(r"\b[a-z][a-z_]{2,}\b", re.sub(r"--.*|'[^']*'", "", text)))
        for table in TABLES:
            taken = {
                row["attname"]
                for row in rows(
                    connection, "select attname from pg_attribute where attrelid = %s::regclass", f"pgsched.{table}"
                )
            }
            connection.execute(
                sql.SQL("alter table pgsched.{} {}").format(
                    sql.Identifier(table),
                    sql.SQL(", ").join(
                        sql.SQL("add column {} text").format(sql.Identifier(word)) for word in sorted(words - taken)
                    ),
                )
            )
        assert {"error", "seconds", "tick", "execution", "new_result", "attempt", "ids", "name", "token"} < words


def problem_of(connection: psycopg.Connection, name: str) -> str | None:
    """Why the server cannot read a statement; None when it can."""
    numbers: dict[str, int] = {}
    text = PARAMETER.sub(lambda found: f"${numbers.setdefault(found[1], len(numbers) + 1)}", load_statement(name))
    done = connection.pgconn.prepare(b"", text.replace("%%", "%").encode())
    state = done.error_field(psycopg.pq.DiagnosticField.SQLSTATE)
    if state is None or state == b"42P18":  # a parameter whose type follows from what is sent
        return None
    return done.get_error_message()


def test_every_statement_can_be_read(wide_dsn: str, db: Database) -> None:
    with psycopg.connect(wide_dsn, autocommit=True) as connection:
        problems = {
            name: problem
            for name in statement_names()
            if not MADE_OF_NAMES.search(TEXT.sub("''", load_statement(name))) and "test_clock" not in name
            if (problem := problem_of(connection, name))
        }
    assert problems == {}


def test_every_variable_of_a_function_is_told_from_a_column(dsn: str) -> None:
    with database(dsn) as connection:
        assert (
            rows(
                connection,
                "select p.proname from pg_proc p join pg_language l on l.oid = p.prolang where l.lanname = 'plpgsql' "
                "and p.pronamespace = 'pgsched'::regnamespace and p.prosrc !~ '#variable_conflict'",
            )
            == []
        )


async def test_tasks_of_every_kind_run_and_end(wide_dsn: str, db: Database) -> None:
    async def fails() -> None:
        raise RuntimeError("no luck")

    async def nothing() -> None:
        pass

    registry = handlers(mail=nothing, fails=fails)
    with Client(wide_dsn) as client:
        plain = client.schedule("mail", idempotency_key="k")
        assert client.schedule("mail", idempotency_key="k") == plain
        after = client.schedule("mail", depends_on=[plain])
        dies = client.schedule("fails", max_attempts=1)
        again = client.schedule("fails", max_attempts=2)
        tick = client.schedule("fails", every="1h", max_attempts=1)
        grouped = client.schedule_group(group(step("mail"), step("mail", name="second")))
        client.set_queue("limited", ordering="fifo")
        client.limit_queue("limited", concurrency_per_key=1, rate_per_key=10, per="1m")
        many = client.schedule_many([TaskSpec(task_type="mail", queue="limited", concurrency_key=k) for k in "aab"])
        async with engine(wide_dsn, registry, queues=("default", "limited")) as one:
            for _ in range(4):
                await one.work()
        for task_id in (plain, after, grouped):
            assert task_row(db, task_id)["status"] == "completed", task_row(db, task_id)["last_error"]
        assert task_row(db, dies)["status"] == "dead"
        assert (task_row(db, again)["status"], task_row(db, again)["attempts"]) == ("pending", 1)
        assert client.get(tick).status == "pending"
        assert [child.status for child in client.list_tasks(parent_id=tick)] == ["dead"]
        assert client.list_tasks(tenant_id="x") == []
        client.update(after, priority=7)
        assert {client.get(task_id).status for task_id in many} <= {"completed", "pending"}
        client.retry(dies)
        client.cancel(dies)
        client.run_now(after)


@pytest.mark.parametrize("archive", [False, True])
def test_finished_tasks_are_deleted_and_archived(wide_dsn: str, db: Database, archive: bool) -> None:
    task_id = finished(db, queue="mail", payload='{"to": "ada"}')
    with Client(wide_dsn) as client:
        client.set_queue("mail", archive=archive)
        done = prune_now(wide_dsn)
        assert (left(db), done.kept) == ([], 0)
        dead = insert_task(db, max_attempts=1)
        set_dead(db, dead)
        assert client.purge_dead(all=True) == 1
    copies = rows(db, "select id, payload from pgsched.archived_tasks")
    assert copies == ([{"id": task_id, "payload": {"to": "ada"}}] if archive else [])


def test_columns_that_are_computed_or_differ_in_type_do_not_stop_the_archive(dsn: str) -> None:
    with database(dsn) as connection, Client(dsn) as client:
        connection.execute("alter table pgsched.tasks add column size int generated always as (length(queue)) stored")
        connection.execute("alter table pgsched.tasks add column note text, add column archived_at text")
        connection.execute("alter table pgsched.archived_tasks add column note integer")
        task_id = finished(connection, queue="mail", note="x")
        client.set_queue("mail", archive=True)
        prune_now(dsn)
        assert rows(connection, "select id, note from pgsched.archived_tasks") == [{"id": task_id, "note": None}]


def test_partitions_are_made_with_columns_of_the_users(wide_dsn: str, db: Database) -> None:
    day = "(now() at time zone 'UTC')::date + 20"
    db.execute(
        "alter table pgsched.executions drop column new_result, "
        "add column computed_by_them int generated always as (1) stored"
    )
    db.execute(
        "insert into pgsched.executions (task_id, task_type, queue, attempt, fencing_token, status, started_at, "
        f"finished_at, seconds) values (1, 'mail', 'default', 1, 1, 'completed', {day}, {day}, 'mine')"  # type: ignore[arg-type]
    )
    (made,) = rows(db, "select pgsched.make_partitions(20) as n")
    assert made["n"] == 13 * 4
    assert rows(
        db, "select seconds as note, tableoid::regclass::text ~ '_default' as lost from pgsched.executions"
    ) == [{"note": "mine", "lost": False}]
