"""Migrations under long transactions and on large tables: who works goes on working."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
import pytest
from psycopg import errors
from psycopg.conninfo import make_conninfo

from pgsched.db.migrations import indexes, lock_wait
from pgsched.db.migrations import runner as module
from pgsched.db.migrations.runner import migrate, program_version
from pgsched.db.sql_files import Migration, migrations
from pgsched.domain.errors import SchemaLocked
from tests.support.tables import database
from tests.support.waiting import wait_until

NEXT = program_version() + 1
COLUMN = Migration(NEXT, "column", "alter table pgsched.tasks add column of_the_test integer;")
INDEX = Migration(
    NEXT, "index", "create index if not exists of_the_test on pgsched.tasks (queue)\n  where queue = 'x';\n"
)
COLUMN_INDEX = "create index if not exists of_the_test on pgsched.tasks (of_the_test);\n"
HISTORY_INDEX = Migration(
    NEXT, "history", "create index if not exists of_the_test on pgsched.executions (queue) where queue = 'x';\n"
)


@pytest.fixture
def with_migration(monkeypatch: pytest.MonkeyPatch) -> Callable[[Migration], None]:
    """Let the program have one more migration; a lock is waited for shortly."""
    monkeypatch.setattr(lock_wait, "LOCK_SECONDS", 0.1)
    monkeypatch.setattr(lock_wait, "FIRST_PAUSE", 0.02)
    monkeypatch.setattr(lock_wait, "LONGEST_PAUSE", 0.05)

    def add(migration: Migration) -> None:
        monkeypatch.setattr(module, "migrations", lambda: (*migrations(), migration))

    return add


def impatient(dsn: str) -> str:
    """Deadlocks are looked for at once: a lock is waited for a second longer than that takes."""
    return make_conninfo(dsn, options="-c deadlock_timeout=10ms")


@contextmanager
def reader(dsn: str) -> Iterator[psycopg.Connection]:
    """A report that has read the tasks and keeps its transaction open."""
    with psycopg.connect(dsn, application_name="report") as connection:
        connection.execute("select count(*) from pgsched.tasks")
        yield connection


@contextmanager
def in_thread(work: Callable[[], object]) -> Iterator[list[BaseException]]:
    failed: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield failed
    finally:
        thread.join(20)
        assert not thread.is_alive()


def test_a_migration_behind_a_long_transaction_lets_everybody_through_and_says_who_has_the_lock(
    dsn: str, with_migration: Callable[[Migration], None]
) -> None:
    with_migration(COLUMN)
    told: list[str] = []
    with reader(dsn) as report, in_thread(lambda: migrate(impatient(dsn), on_wait=told.append)) as failed:
        with psycopg.connect(dsn, autocommit=True, options="-c statement_timeout=4000") as writer:
            for _ in range(2):  # each may wait for one try of the migration, and no longer
                seen = len(told)
                writer.execute("insert into pgsched.tasks (task_type) values ('mail')")
                wait_until(lambda seen=seen: len(told) > seen, message="the migration has tried again")
        assert all("(report, idle in transaction) has had tasks locked for " in line for line in told), told
        report.rollback()
    assert failed == []
    with database(dsn) as db:
        assert db.execute("select max(version) as v from pgsched.migrations").fetchall() == [{"v": NEXT}]
        assert db.execute("select count(of_the_test) as n from pgsched.tasks").fetchall() == [{"n": 0}]


def test_without_a_limit_everybody_would_wait_behind_it(dsn: str) -> None:
    with reader(dsn) as report:
        with psycopg.connect(dsn) as waiting, in_thread(lambda: waiting.execute(COLUMN.sql)) as failed:
            with psycopg.connect(dsn, autocommit=True) as writer:
                waits = """
                    select from pg_locks join pg_database d on d.oid = database
                    where datname = current_database() and relation = 'pgsched.tasks'::regclass and not granted
                    """
                wait_until(lambda: writer.execute(waits).fetchone() is not None, message="the change waits")
                writer.execute("set statement_timeout = 300")
                with pytest.raises(errors.QueryCanceled):
                    writer.execute("insert into pgsched.tasks (task_type) values ('mail')")
            report.rollback()
        assert failed == []


def test_a_migration_that_gets_no_lock_gives_up_and_leaves_the_schema_as_it_was(
    dsn: str, with_migration: Callable[[Migration], None]
) -> None:
    with_migration(COLUMN)
    with reader(dsn), pytest.raises(SchemaLocked, match=r"^the schema could not be changed for 0 s: process \d+ "):
        migrate(impatient(dsn), lock_wait=0)
    with database(dsn) as db:
        assert db.execute("select max(version) as v from pgsched.migrations").fetchall() == [{"v": NEXT - 1}]


def test_an_index_on_a_large_table_is_made_while_others_write(
    dsn: str, with_migration: Callable[[Migration], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    with_migration(INDEX)
    monkeypatch.setattr(indexes, "LARGE_BYTES", 0)
    told: list[str] = []
    with psycopg.connect(dsn) as writing:  # has an open transaction, for whose end an index waits
        writing.execute("insert into pgsched.tasks (task_type) values ('mail')")
        with in_thread(lambda: migrate(dsn, on_wait=told.append)) as failed, database(dsn) as other:
            making = "select from pg_stat_progress_create_index where command = 'CREATE INDEX CONCURRENTLY'"
            wait_until(lambda: other.execute(making).fetchone() is not None, message="the index is being made")
            other.execute("set statement_timeout = 4000")
            other.execute("insert into pgsched.tasks (task_type) values ('mail')")
            writing.commit()
    assert failed == []
    assert told == ["making the index of_the_test on pgsched.tasks, beside whoever works"]
    assert is_valid(dsn) is True


def test_a_column_that_an_index_needs_is_added_before_it_while_others_write(
    dsn: str, with_migration: Callable[[Migration], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    column = "alter table pgsched.tasks add column if not exists of_the_test integer;\n"
    with_migration(Migration(NEXT, "both", column + COLUMN_INDEX))
    monkeypatch.setattr(indexes, "LARGE_BYTES", 0)
    told: list[str] = []
    with psycopg.connect(dsn) as snapshot, database(dsn) as other:
        # Has an open transaction, for whose end an index waits, and nothing of the table locked.
        snapshot.execute("begin isolation level repeatable read")
        snapshot.execute("select from pg_class limit 1")
        with in_thread(lambda: migrate(dsn, on_wait=told.append)) as failed:
            making = "select from pg_stat_progress_create_index where command = 'CREATE INDEX CONCURRENTLY'"
            wait_until(lambda: other.execute(making).fetchone() is not None, message="the index is being made")
            other.execute("set statement_timeout = 4000")
            other.execute("insert into pgsched.tasks (task_type) values ('mail')")
            snapshot.rollback()
    assert failed == []
    assert told == ["making the index of_the_test on pgsched.tasks, beside whoever works"]
    assert is_valid(dsn) is True


def test_an_index_on_a_column_that_the_migration_itself_adds_is_made_by_it(
    dsn: str, with_migration: Callable[[Migration], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    with_migration(Migration(NEXT, "both", COLUMN.sql + "\n" + COLUMN_INDEX))
    monkeypatch.setattr(indexes, "LARGE_BYTES", 0)
    assert migrate(dsn) == [f"{NEXT:04d}_both"]
    assert is_valid(dsn) is True


def test_an_index_on_the_history_is_made_day_by_day_while_others_write(
    dsn: str, with_migration: Callable[[Migration], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    with_migration(HISTORY_INDEX)
    monkeypatch.setattr(indexes, "LARGE_BYTES", 0)
    told: list[str] = []
    with psycopg.connect(dsn) as writing:
        writing.execute("select pgsched.make_partitions(1)")
        insert = (
            "insert into pgsched.executions (task_id, task_type, queue, attempt, fencing_token, status, started_at,"
            " finished_at) values (1, 'mail', 'default', 1, 1, 'completed', now(), now())"
        )
        writing.execute(insert)
        writing.commit()
        writing.execute(insert)  # has an open transaction, for whose end an index waits
        with in_thread(lambda: migrate(dsn, on_wait=told.append)) as failed, database(dsn) as other:
            making = "select from pg_stat_progress_create_index where command = 'CREATE INDEX CONCURRENTLY'"
            wait_until(lambda: other.execute(making).fetchone() is not None, message="the index is being made")
            other.execute("set statement_timeout = 4000")
            other.execute(insert)
            writing.commit()
    assert failed == []
    assert "making the index of_the_test_default on pgsched.executions_default, beside whoever works" in told
    with database(dsn) as db:
        (parts,) = db.execute(
            "select count(*) as parts from pg_inherits where inhparent = 'pgsched.executions'::regclass"
        ).fetchall()
        (attached,) = db.execute(
            "select count(*) as parts from pg_inherits where inhparent = 'pgsched.of_the_test'::regclass"
        ).fetchall()
    assert len(told) == parts["parts"] == attached["parts"] > 1
    assert is_valid(dsn) is True


def test_a_small_table_gets_its_index_in_the_migration(dsn: str, with_migration: Callable[[Migration], None]) -> None:
    with_migration(INDEX)
    told: list[str] = []
    assert migrate(dsn, on_wait=told.append) == [f"{NEXT:04d}_index"]
    assert told == []
    assert is_valid(dsn) is True


def test_an_index_that_was_left_unfinished_is_made_anew(
    dsn: str, with_migration: Callable[[Migration], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    with_migration(INDEX)
    monkeypatch.setattr(indexes, "LARGE_BYTES", 0)
    with psycopg.connect(dsn) as writing, database(dsn) as db:
        writing.execute("insert into pgsched.tasks (task_type) values ('mail')")
        db.execute("set statement_timeout = 300")  # it waits for that transaction
        with pytest.raises(errors.QueryCanceled):
            db.execute("create index concurrently of_the_test on pgsched.tasks (queue) where queue = 'x'")
    assert is_valid(dsn) is False
    migrate(dsn)
    assert is_valid(dsn) is True


def test_several_at_once_make_one_index(
    dsn: str, with_migration: Callable[[Migration], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    with_migration(INDEX)
    monkeypatch.setattr(indexes, "LARGE_BYTES", 0)
    monkeypatch.setattr(indexes, "LOOK_SECONDS", 0.01)
    with in_thread(lambda: migrate(dsn)) as one, in_thread(lambda: migrate(dsn)) as two:
        migrate(dsn)
    assert (one, two) == ([], [])
    assert is_valid(dsn) is True


def is_valid(dsn: str) -> object:
    with database(dsn) as db:
        row = db.execute(
            "select indisvalid from pg_index where indexrelid = to_regclass('pgsched.of_the_test')"
        ).fetchone()
    return row and row["indisvalid"]
