"""Rows that say of themselves what only a run of them can say are refused; those of pgsched's own ways go on."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.support.tables import database, insert_task, restoring, set_completed, task_row

FOREIGN = {
    "attempts": 2,
    "completed_at": "2026-01-01Z",
    "died_at": "2026-01-01Z",
    "execution_count": 1,
    "fencing_token": 7,
    "fired": [1],
    "last_error": "no",
    "last_run_at": "2026-01-01Z",
    "locked_by": "00000000-0000-0000-0000-000000000001",
    "locked_until": "2026-01-01Z",
    "progress": "{}",
    "result": "{}",
    "revision": 1,
    "started_at": "2026-01-01Z",
    "unbegun_token": 7,
    "waiting_for": 1,
}


def insert(connection: psycopg.Connection[dict[str, Any]], **columns: Any) -> None:
    names = psycopg.sql.SQL(", ").join(map(psycopg.sql.Identifier, columns))
    values = psycopg.sql.SQL(", ").join(map(psycopg.sql.Literal, columns.values()))
    connection.execute(psycopg.sql.SQL("insert into pgsched.tasks ({}) values ({})").format(names, values))


@pytest.mark.parametrize("status", ["running", "blocked", "completed", "dead", "cancelled"])
def test_status_of_a_new_task_is_not_for_whoever_inserts_it(dsn: str, status: str) -> None:
    columns: dict[str, Any] = {"task_type": "mail", "status": status}
    columns |= {"running": {"next_run_at": "2026-01-01Z"}, "dead": {"died_at": "2026-01-01Z"}}.get(status, {})
    columns |= {"depends_on": [1]} if status == "blocked" else {}
    with database(dsn) as connection:
        insert(connection, task_type="mail")
        with pytest.raises(psycopg.errors.InvalidParameterValue) as refused:
            insert(connection, **columns)
    diag = refused.value.diag
    assert diag.message_primary == f"status is set by pgsched and must be left out of an INSERT, got {status}"
    assert (diag.column_name, diag.table_name) == ("status", "tasks")
    assert diag.message_hint is not None
    assert "set pgsched.restoring = on" in diag.message_hint


@pytest.mark.parametrize("column", FOREIGN)
def test_column_that_pgsched_sets_is_refused(dsn: str, column: str) -> None:
    with database(dsn) as connection:
        with pytest.raises(psycopg.errors.InvalidParameterValue) as refused:
            insert(connection, task_type="mail", **{column: FOREIGN[column]})
        assert refused.value.diag.column_name == column
        rows = f"copy pgsched.tasks (task_type, {column}) from stdin".encode()
        with (
            pytest.raises(psycopg.errors.InvalidParameterValue),
            connection.cursor() as cursor,
            cursor.copy(rows) as copy,
        ):
            copy.write_row(("mail", FOREIGN[column]))
        assert connection.execute("select from pgsched.tasks").fetchall() == []


def test_every_column_is_either_for_everybody_or_refused(dsn: str) -> None:
    """A later column must be put on one of the two sides."""
    with database(dsn) as connection:
        rows = connection.execute(
            "select attname as name from pg_attribute where attrelid = 'pgsched.tasks'::regclass and attnum > 0"
            " and not attisdropped"
        ).fetchall()
    anybody = {
        *("id", "task_type", "task_name", "queue", "priority", "payload", "metadata", "tags", "parent_id", "enabled"),
        *("tenant_id", "user_id", "created_by", "schedule_type", "scheduled_for", "cron_expression", "timezone"),
        *("start_date", "end_date", "repeat_interval", "repeat_count", "on_missed", "catchup_window", "overlap"),
        *("jitter", "max_attempts", "backoff", "backoff_delay", "backoff_max", "timeout", "idempotency_key"),
        *("depends_on", "dependency_mode", "on_dependency_dead", "concurrency_key", "backoff_factor", "backoff_jitter"),
        *("alert_if_no_success_for", "alert_if_running_for", "expires_at"),
    }
    ours = {
        "declared",
        "early_ticks",
        "planned_from",
        "created_at",
        "updated_at",
        "next_run_at",
        "observed",
        "inserted_by",
        "judged_from",
    }
    assert {row["name"] for row in rows} == anybody | ours | {"status"} | FOREIGN.keys()


def test_task_that_waits_for_others_is_blocked_by_naming_them(dsn: str) -> None:
    with database(dsn) as connection:
        first = insert_task(connection)
        assert task_row(connection, insert_task(connection, depends_on=[first]))["status"] == "blocked"


def test_dead_tick_needs_its_schedule(dsn: str) -> None:
    """As the finish of a schedule inserts it, in this version and in earlier ones."""
    tick = {"task_type": "mail", "status": "dead", "died_at": "2026-01-01Z", "attempts": 3, "last_error": "no luck"}
    with database(dsn) as connection:
        schedule = insert_task(connection, repeat_interval="1 hour")
        insert(connection, **tick, parent_id=schedule, last_run_at="2026-01-01Z")
        for parent in (schedule + 1000, None):
            with pytest.raises(psycopg.errors.InvalidParameterValue, match="status is set by pgsched"):
                insert(connection, **tick, parent_id=parent)
        with pytest.raises(psycopg.errors.InvalidParameterValue, match="result is set by pgsched"):
            insert(connection, **tick, parent_id=schedule, result="{}")


def test_session_that_restores_rows_inserts_them_as_they_were(dsn: str) -> None:
    with database(dsn) as connection:
        task_id = insert_task(connection)
        set_completed(connection, task_id)
        was = task_row(connection, task_id)
        connection.execute("create table kept as select * from pgsched.tasks")
        connection.execute("delete from pgsched.tasks")
        with pytest.raises(psycopg.errors.InvalidParameterValue, match="status is set by pgsched"):
            connection.execute("insert into pgsched.tasks select * from kept")
        with restoring(connection):
            connection.execute("insert into pgsched.tasks select * from kept")
        assert task_row(connection, task_id) == was


@pytest.mark.parametrize(
    ("change", "constraint"),
    [
        ("status = 'completed', next_run_at = null", "completed_at_if_and_only_if_completed_or_cancelled"),
        ("status = 'cancelled', next_run_at = null", "completed_at_if_and_only_if_completed_or_cancelled"),
        ("completed_at = now()", "completed_at_if_and_only_if_completed_or_cancelled"),
        ("status = 'completed', completed_at = now()", "due_if_and_only_if_pending_or_running"),
        ("status = 'running'", "leased_if_and_only_if_running"),
        ("status = 'dead', next_run_at = null", "died_at_if_and_only_if_dead"),
        ("next_run_at = null", "due_if_and_only_if_pending_or_running"),
    ],
)
def test_task_is_not_put_into_a_state_that_it_cannot_be_in(dsn: str, change: str, constraint: str) -> None:
    with database(dsn) as connection:
        insert_task(connection)
        with pytest.raises(psycopg.errors.CheckViolation) as refused:
            connection.execute(f"update pgsched.tasks set {change}".encode())
    assert refused.value.diag.constraint_name == constraint


@pytest.mark.parametrize("table", ["settings", "queues"])
@pytest.mark.parametrize("column", ["retention", "dead_retention"])
def test_retention_in_sql_is_an_hour_unless_it_is_said(dsn: str, table: str, column: str) -> None:
    with database(dsn) as connection:
        connection.execute("insert into pgsched.queues (name) values ('mail')")
        leaves = (table, column) == ("queues", "retention")
        for short in ("7", "59 minutes", *(() if leaves else ("0",))):
            with pytest.raises(psycopg.errors.CheckViolation) as refused:
                connection.execute(f"update pgsched.{table} set {column} = '{short}'".encode())
            assert refused.value.diag.constraint_name == f"{column}_must_be_at_least_1_hour_unless_allow_short"
        if leaves:  # 0 has no unit
            connection.execute(f"update pgsched.{table} set {column} = '0'".encode())
        connection.execute(f"update pgsched.{table} set {column} = '7', allow_short = true".encode())
        connection.execute(f"update pgsched.{table} set {column} = '1 hour', allow_short = false".encode())
