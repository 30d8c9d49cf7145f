"""Every check of the doctor finds the fault that was planted for it, and nothing in a healthy database.

On a server of its own that syncs to disk: what the server is told is planted, too.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import zoneinfo
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from pgsched.client.async_client import AsyncClient
from pgsched.client.client import Client
from pgsched.db import diagnostic_session
from pgsched.db.diagnostic_session import Answers
from pgsched.db.embedded.server import EmbeddedServer
from pgsched.db.migrations.runner import migrate, program_version
from pgsched.db.queries import diagnostics as doctor_commands
from pgsched.domain.errors import DatabaseUnavailable
from pgsched.ops.doctor import doctor, server, tasks
from pgsched.ops.doctor.catalogue import CHECKS, NAMES, OF_ANY_SCHEMA, OF_OUR_SCHEMA
from pgsched.ops.doctor.facts import Facts, questions
from pgsched.ops.doctor.findings import Diagnosis
from pgsched.ops.doctor.workers import TOLD
from tests.support import servers
from tests.support.commands import pgsched
from tests.support.roles import login
from tests.support.tables import add_worker, database, insert_task, set_dead, set_running
from tests.support.waiting import wait_until
from tools.schema_parts import FILE, parts_of

DB = psycopg.Connection[dict[str, Any]]


@pytest.fixture(scope="module")
def careful_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with the settings that the doctor likes, and room for prepared transactions and slots."""
    options = {
        "max_prepared_transactions": "5",
        "wal_level": "logical",
        "max_connections": "60",
        "autovacuum_naptime": "1h",  # what dies here stays dead until it was looked at
    }
    folder = Path(servers.fast_folder() or tmp_path_factory.mktemp("doctor")) / f"pgsched-doctor-{id(options)}"
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        yield stack.enter_context(EmbeddedServer.start(folder / "data", options=options)).dsn


@pytest.fixture(scope="module")
def careful_template(careful_server: str) -> str:
    with psycopg.connect(careful_server, autocommit=True) as connection:
        connection.execute("create database healthy")
    migrate(servers.with_database(careful_server, "healthy"), roles=True)
    with psycopg.connect(servers.with_database(careful_server, "healthy")) as connection:
        connection.execute("delete from pgsched.database_identity")  # else its copies would be taken for copies of it
    return "healthy"


@pytest.fixture
def healthy_dsn(careful_server: str, careful_template: str, database_name: str) -> Iterator[str]:
    with servers.fresh_database(careful_server, f"doctor_{database_name}", template=careful_template) as dsn:
        yield dsn


def look(dsn: str, *checks: str) -> Diagnosis:
    return asyncio.run(doctor.look_async(dsn, checks))


def found(dsn: str, *checks: str) -> dict[str, list[str]]:
    """The objects of what was found, by check."""
    objects: dict[str, list[str]] = {}
    for finding in look(dsn, *checks).findings:
        objects.setdefault(finding.check, []).append(finding.object)
    return objects


def working(db: DB) -> None:
    """A database at work: nothing of it is a fault."""
    add_worker(db, queues=["default", "mail"], task_types=["mail", "report"])
    (worker,) = db.execute("select id from pgsched.workers").fetchall()
    insert_task(db)
    set_running(db, insert_task(db))
    db.execute("update pgsched.tasks set locked_by = %s where status = 'running'", (worker["id"],))
    insert_task(db, depends_on=[insert_task(db)])
    insert_task(db, "report", cron_expression="30 2 * * *", timezone="Europe/Berlin")
    insert_task(db, "report", repeat_interval="15 minutes", timezone="America/New_York")
    insert_task(db, "unknown", queue="slow")
    db.execute("insert into pgsched.queues (name, paused) values ('slow', true)")
    attempts(db, 30, "1 second")


def attempts(db: DB, number: int, late: str, status: str = "completed") -> None:
    """Attempts that began so late, one a task."""
    db.execute(
        """
        with made as (
          insert into pgsched.tasks (task_type, queue, scheduled_for)
          select 'mail', 'default', now() + interval '1 day' from generate_series(1, %s) returning id
        )
        insert into pgsched.executions (task_id, task_type, queue, attempt, fencing_token, scheduled_for, status,
          started_at, finished_at)
        select id, 'mail', 'default', 1, 1, now() - %s::interval, %s, now(), now() from made
        """,
        (number, late, status),
    )


def test_a_healthy_database_has_no_finding(healthy_dsn: str) -> None:
    with database(healthy_dsn) as db:
        working(db)
    diagnosis = look(healthy_dsn)
    assert diagnosis.findings == []
    assert [(one.check, one.state) for one in diagnosis.checks] == [(name, "ok") for name in NAMES]
    assert diagnosis.healthy(strict=True)


def test_a_fresh_database_has_no_finding_on_any_version(dsn: str) -> None:
    assert set(found(dsn)) == {"durability"}, "the tests' own server is not careful"


# What is planted with SQL. Each returns, or gives for a while, the object that the finding must name.

Plant = Callable[[DB], str]


def older_schema(db: DB) -> str:
    db.execute("delete from pgsched.migrations where version = (select max(version) from pgsched.migrations)")
    return "schema pgsched"


def newer_schema(db: DB) -> str:
    db.execute("insert into pgsched.migrations (version, name) values (9000, 'future')")
    return "schema pgsched"


def no_schema(db: DB) -> str:
    db.execute("drop schema pgsched cascade")
    return "schema pgsched"


def missing_index(db: DB) -> str:
    db.execute("drop index pgsched.tasks_due")
    return "tasks_due"


def invalid_index(db: DB) -> str:
    db.execute("update pg_index set indisvalid = false where indexrelid = 'pgsched.tasks_dead'::regclass")
    return "tasks_dead"


def disabled_trigger(db: DB) -> str:
    db.execute("alter table pgsched.tasks disable trigger prepare")
    return "tasks.prepare"


def missing_trigger(db: DB) -> str:
    db.execute("drop trigger wake on pgsched.tasks")
    return "tasks.wake"


def missing_constraint(db: DB) -> str:
    db.execute("alter table pgsched.tasks drop constraint leased_if_and_only_if_running")
    return "tasks.leased_if_and_only_if_running"


def missing_rule_of_a_domain(db: DB) -> str:
    db.execute("alter domain pgsched.priority drop constraint priority_must_be_between_1_and_10")
    return "priority.priority_must_be_between_1_and_10"


def constraint_that_is_not_validated(db: DB) -> str:
    name = "due_if_and_only_if_pending_or_running"
    (rule,) = db.execute("select pg_get_constraintdef(oid) as is from pg_constraint where conname = %s", (name,))
    db.execute(f"alter table pgsched.tasks drop constraint {name}, add constraint {name} {rule['is']} not valid")
    return f"tasks.{name}"


def missing_partition(db: DB) -> str:
    (day,) = db.execute("select to_char(now() at time zone 'UTC', 'YYYYMMDD') as today")
    db.execute(f"drop table pgsched.executions_{day['today']}")
    return "executions"


def row_in_the_default_partition(db: DB) -> str:
    db.execute(
        "insert into pgsched.execution_logs (task_id, fencing_token, attempt, logged_at, level, message) "
        "values (1, 1, 1, '2001-01-01Z', 'info', 'from another time')"
    )
    return "execution_logs_default"


def autovacuum_off_for_a_table(db: DB) -> str:
    db.execute("alter table pgsched.tasks set (autovacuum_enabled = false)")
    return "tasks"


def other_fillfactor(db: DB) -> str:
    db.execute("alter table pgsched.tasks set (fillfactor = 100)")
    return "tasks"


def dead_rows(db: DB) -> str:
    db.execute("insert into pgsched.turns (queue, key) select 'q' || g, 'x' from generate_series(1, 12000) as g")
    db.execute("delete from pgsched.turns")
    db.execute("select pg_stat_force_next_flush()")
    return "turns"


def unknown_type(db: DB) -> str:
    insert_task(db, "unknown", queue="mail")
    add_worker(db, queues=["mail"], task_types=["mail"])
    return "unknown in mail"


def unserved_queue(db: DB) -> str:
    insert_task(db, queue="nobodys")
    add_worker(db, queues=["mail"], task_types=["mail"])
    return "nobodys"


def no_worker(db: DB) -> str:
    insert_task(db)
    return "workers"


def silent_worker(db: DB) -> str:
    add_worker(db, queues=["mail"], task_types=["mail"], silent_for="10 minutes")
    return "host 1"


def forgotten_pause(db: DB) -> str:
    task = insert_task(db, queue="slow")
    db.execute("update pgsched.tasks set next_run_at = now() - interval '2 hours' where id = %s", (task,))
    db.execute("insert into pgsched.queues (name, paused) values ('slow', true)")
    return "slow"


def stalled_schedule(db: DB) -> str:
    task = insert_task(db, cron_expression="0 8 * * *", queue="mail")
    db.execute("update pgsched.tasks set next_run_at = now() - interval '3 minutes' where id = %s", (task,))
    return "mail"


def expired_lease(db: DB) -> str:
    set_running(db, insert_task(db, queue="mail"), lease="-6 minutes")
    return "mail"


def worker_that_is_gone(db: DB) -> str:
    set_running(db, insert_task(db, queue="mail"), lease="1 hour")
    db.execute("update pgsched.tasks set started_at = now() - interval '2 minutes' where status = 'running'")
    return "mail"


def end_that_nobody_was_told(db: DB) -> str:
    first = insert_task(db)
    insert_task(db, depends_on=[first])
    db.execute("alter table pgsched.tasks disable trigger touch")
    db.execute(
        "update pgsched.tasks set status = 'completed', next_run_at = null, completed_at = now(), "
        "updated_at = now() - interval '1 hour' where id = %s",
        (first,),
    )
    db.execute("alter table pgsched.tasks enable trigger touch")
    return "dependencies"


def edge_that_was_lost(db: DB) -> str:
    waiting = insert_task(db, depends_on=[insert_task(db)])
    db.execute("delete from pgsched.dependencies")
    db.execute("alter table pgsched.tasks disable trigger touch")
    db.execute("update pgsched.tasks set updated_at = now() - interval '1 hour' where id = %s", (waiting,))
    db.execute("alter table pgsched.tasks enable trigger touch")
    return "dependencies"


def deaths(db: DB) -> str:
    for _ in range(10):
        set_dead(db, insert_task(db, queue="mail"))
    return "mail in mail"


def lost_attempt(db: DB) -> str:
    attempts(db, 1, "0 seconds", "lost")
    return "executions"


def workers_that_are_paused(db: DB) -> str:
    add_worker(db, queues=["default"], task_types=["mail"])
    db.execute("update pgsched.workers set state = 'paused', request = 'pause', requested_by = 'ada'")
    insert_task(db, "mail")
    return "default"


def backlog_that_grows(db: DB) -> str:
    db.execute(
        """
        insert into pgsched.backlogs
        select 'mail', now() - n * interval '1 minute', 1000 - 50 * n, true, now() - interval '5 minutes'
        from generate_series(0, 12) n
        """
    )
    return "mail"


def late_starts(db: DB) -> str:
    attempts(db, 30, "5 minutes")
    return "executions"


def unknown_zone(db: DB) -> str:
    db.execute("insert into pgsched.timezones values ('Mars/Base')")
    insert_task(db, cron_expression="0 8 * * *")
    db.execute("set session_replication_role = replica")
    db.execute("update pgsched.tasks set timezone = 'Mars/Base'")
    db.execute("set session_replication_role = origin")
    return "Mars/Base"


def long_history(db: DB) -> str:
    day = "executions_20010101 partition of pgsched.executions for values from ('2001-01-01Z') to ('2001-01-02Z')"
    db.execute(f"create table pgsched.{day}")
    return "history"


def trigger_of_a_user(db: DB) -> str:
    db.execute("create function audit() returns trigger language plpgsql as 'begin return null; end'")
    db.execute("create trigger audit after update on pgsched.tasks for each row execute function audit()")
    return "tasks.audit"


def check_of_a_user(db: DB) -> str:
    db.execute("alter table pgsched.tasks add constraint tenant check (payload ? 'tenant') not valid")
    return "tasks.tenant"


def rule_of_a_domain_of_a_user(db: DB) -> str:
    db.execute("alter domain pgsched.task_type add constraint lower_case check (value = lower(value))")
    return "task_type.lower_case"


def index_of_a_user(db: DB) -> str:
    db.execute("create unique index results on pgsched.tasks (result)")
    return "tasks.results"


def column_of_a_user(db: DB) -> str:
    db.execute("alter table pgsched.executions add column error_code text")
    return "executions.error_code"


def policy_of_a_user(db: DB) -> str:
    db.execute("create policy tenants on pgsched.tasks using (tenant_id is null)")
    return "tasks.tenants"


def row_security(db: DB) -> str:
    db.execute("alter table pgsched.queues enable row level security")
    return "queues"


def rewrite_rule(db: DB) -> str:
    db.execute("create rule quiet as on insert to pgsched.execution_logs do instead nothing")
    return "execution_logs.quiet"


def foreign_key_of_a_user(db: DB) -> str:
    db.execute("create table orders (task_id bigint references pgsched.tasks)")
    return "orders.orders_task_id_fkey"


def publication_of_all_tables(db: DB) -> str:
    db.execute("create publication changes for all tables")
    return "changes"


def publication_of_tasks(db: DB) -> str:
    db.execute("create table other ()")
    db.execute("create publication changes for table other, pgsched.tasks")
    db.execute("create publication others for table other")
    return "changes"


def event_trigger(db: DB) -> str:
    db.execute("create function ddl() returns event_trigger language plpgsql as 'begin end'")
    db.execute("create event trigger no_tables on ddl_command_end execute function ddl()")
    return "no_tables"


def setting_of_the_database(db: DB) -> str:
    name = db.info.dbname
    db.execute(f"alter database {name} set lock_timeout = '1s'")  # type: ignore[arg-type]
    db.execute(f"alter database {name} set work_mem = '8MB'")  # type: ignore[arg-type]
    return f"{name}: lock_timeout"


def trouble_of(kind: str) -> Plant:
    """A living worker that tells of a trouble."""

    def plant(db: DB) -> str:
        add_worker(db, queues=["default"], task_types=["mail"])
        told = [
            {
                "kind": kind,
                "object": "mail",
                "since": "2026-01-01T00:00:00Z",
                "stops": kind in ("unwritten_outcomes", "lost_slots"),
                "detail": "it is bad",
            }
        ]
        db.execute("update pgsched.workers set troubles = %s", (Jsonb(told),))
        return "host 1"

    return plant


def refused_outcome(db: DB) -> str:
    add_worker(db, queues=["default"], task_types=["mail"])
    db.execute(
        """
        insert into pgsched.set_aside (worker_id, task_id, task_type, queue, operation, reason, tries, since)
        select id, 1, 'mail', 'default', 'finish', 'not in this house', 2, now() from pgsched.workers
        """
    )
    return "finish in default"


def misfit(db: DB) -> str:
    task_id = insert_task(db, "mail")
    db.execute("insert into pgsched.handlers (task_type, versions) values ('mail', '[{\"version\": \"2\"}]')")
    db.execute("update pgsched.handlers set misfit_at = now(), misfit_task_id = %s", (task_id,))
    error = "payload does not fit handler 'mail', and waits for newer code (version '2'): unexpected argument 'cc'"
    db.execute("update pgsched.tasks set last_error = %s, next_run_at = now() + interval '5 seconds'", (error,))
    return "mail"


def step_that_the_code_forgot(db: DB) -> str:
    run = insert_task(db, "order")
    db.execute(
        "insert into pgsched.durable_runs (task_id, tick_number, began_at, unasked) values (%s, 1, now(), '{pay}')",
        (run,),
    )
    return "order"


def run_that_nobody_wakes(db: DB) -> str:
    run = insert_task(db, "order")
    db.execute("update pgsched.tasks set status = 'blocked', next_run_at = null")
    db.execute(
        "insert into pgsched.durable_runs (task_id, tick_number, began_at, awaits, wakes_at) "
        "values (%s, 1, now(), '{event:approved}', now() - interval '5 minutes')",
        (run,),
    )
    return "order"


def job_without_success(db: DB) -> str:
    job = insert_task(db, "nightly", cron_expression="0 3 * * *", alert_if_no_success_for="1 hour")
    with db.transaction():
        db.execute("set local session_replication_role = replica")
        db.execute("update pgsched.tasks set scheduled_for = now() - interval '2 hours'")
    return f"task {job} (nightly)"


def run_for_hours(db: DB) -> str:
    task_id = insert_task(db, alert_if_running_for="1 hour")
    set_running(db, task_id)
    db.execute("update pgsched.tasks set started_at = now() - interval '2 hours'")
    return f"task {task_id} (mail)"


def copy_of_another_database(db: DB) -> str:
    db.execute("select pgsched.note_database()")
    db.execute("update pgsched.database_identity set system_identifier = 7")
    return "database"


def hold(db: DB) -> str:
    db.execute("select pgsched.hold_database()")
    return "database"


PLANTS: dict[Plant, str] = {
    **{trouble_of(kind): kind for kind in TOLD},
    refused_outcome: "set_aside",
    older_schema: "schema_version",
    newer_schema: "schema_version",
    no_schema: "schema_version",
    copy_of_another_database: "copied_database",
    hold: "copied_database",
    missing_index: "indexes",
    invalid_index: "indexes",
    disabled_trigger: "triggers",
    missing_trigger: "triggers",
    missing_constraint: "constraints",
    missing_rule_of_a_domain: "constraints",
    constraint_that_is_not_validated: "constraints",
    missing_partition: "partitions",
    row_in_the_default_partition: "default_partition",
    autovacuum_off_for_a_table: "autovacuum",
    other_fillfactor: "fillfactor",
    dead_rows: "dead_rows",
    unknown_type: "unknown_types",
    unserved_queue: "unserved_queues",
    no_worker: "no_worker",
    silent_worker: "silent_workers",
    forgotten_pause: "paused_queues",
    stalled_schedule: "stalled_schedules",
    expired_lease: "stuck_running",
    worker_that_is_gone: "orphaned",
    end_that_nobody_was_told: "stuck_blocked",
    edge_that_was_lost: "stuck_blocked",
    misfit: "misfits",
    step_that_the_code_forgot: "durable_runs",
    run_that_nobody_wakes: "durable_runs",
    job_without_success: "silent_tasks",
    run_for_hours: "long_runs",
    deaths: "dead_letters",
    lost_attempt: "lost_attempts",
    late_starts: "late_starts",
    workers_that_are_paused: "idle_workers",
    backlog_that_grows: "growing_backlogs",
    unknown_zone: "timezones",
    long_history: "retention",
    trigger_of_a_user: "foreign_objects",
    check_of_a_user: "foreign_objects",
    rule_of_a_domain_of_a_user: "foreign_objects",
    index_of_a_user: "foreign_objects",
    column_of_a_user: "foreign_objects",
    policy_of_a_user: "foreign_objects",
    row_security: "foreign_objects",
    rewrite_rule: "foreign_objects",
    foreign_key_of_a_user: "foreign_objects",
    publication_of_all_tables: "foreign_objects",
    publication_of_tasks: "foreign_objects",
    event_trigger: "foreign_objects",
    setting_of_the_database: "role_settings",
}


@pytest.mark.parametrize(("plant", "check"), PLANTS.items(), ids=lambda one: getattr(one, "__name__", one))
def test_a_planted_fault_is_found_by_its_check(healthy_dsn: str, plant: Plant, check: str) -> None:
    with database(healthy_dsn) as db:
        named = plant(db)
    diagnosis = look(healthy_dsn)
    findings = [one for one in diagnosis.findings if one.check == check]
    assert [one.object for one in findings] == [named], diagnosis.findings
    assert findings[0].severity in next(one.severities for one in CHECKS if one.name == check)
    assert {one.state for one in diagnosis.checks if one.check == check} == {"found"}


def test_without_the_look_at_the_front_three_faults_are_not_found(
    healthy_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control of the plants: what finds them is the check and nothing else."""
    with database(healthy_dsn) as db:
        for plant in (stalled_schedule, expired_lease, worker_that_is_gone):
            plant(db)
    assert {"stalled_schedules", "stuck_running", "orphaned"} <= set(found(healthy_dsn))
    monkeypatch.setattr(doctor_commands, "FRONT", 0)
    assert not {"stalled_schedules", "stuck_running", "orphaned"} & set(found(healthy_dsn))


# What the server, the clocks and the way to it do.


@contextmanager
def server_setting(dsn: str, name: str, value: str) -> Iterator[None]:
    """A setting of the whole server, until the end of a ``with``."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"alter system set {name} = {value}")
        connection.execute("select pg_reload_conf()")
        try:
            wait_until(lambda: _setting(dsn, name) == value, message=f"{name} is {value}")
            yield
        finally:
            connection.execute(f"alter system reset {name}")
            connection.execute("select pg_reload_conf()")
            wait_until(lambda: _setting(dsn, name) != value, message=f"{name} is as before")


def _setting(dsn: str, name: str) -> str:
    with psycopg.connect(dsn) as connection:
        row = connection.execute("select current_setting(%s)", (name,)).fetchone()
    assert row is not None
    return str(row[0])


@pytest.mark.parametrize(
    ("name", "check", "named"),
    [
        ("fsync", "durability", "fsync"),
        ("full_page_writes", "durability", "full_page_writes"),
        ("synchronous_commit", "durability", "synchronous_commit"),
        ("autovacuum", "autovacuum", "server"),
    ],
)
def test_a_setting_of_the_server_is_found(healthy_dsn: str, name: str, check: str, named: str) -> None:
    with server_setting(healthy_dsn, name, "off"):
        assert found(healthy_dsn) == {check: [named]}
    assert found(healthy_dsn) == {}


def test_a_database_that_takes_no_writes_is_found(healthy_dsn: str) -> None:
    with database(healthy_dsn) as db:
        name = psycopg.conninfo.conninfo_to_dict(healthy_dsn)["dbname"]
        db.execute(f"alter database {name} set default_transaction_read_only = on")
    assert found(healthy_dsn) == {
        "read_only": ["server"],
        "role_settings": [f"{name}: default_transaction_read_only"],
    }


@pytest.mark.parametrize(
    ("statement", "held"),
    [
        ("select from pgsched.tasks for update", "rows of tasks"),
        ("lock pgsched.executions in share mode", "executions (ShareLock)"),
        ("select pg_advisory_xact_lock(hashtext('pgsched.make_partitions'))", "an advisory lock"),
        ("select pg_advisory_xact_lock(hashtextextended('pgsched.prune', 0))", "an advisory lock"),
    ],
)
def test_a_lock_that_others_hold_is_found(
    healthy_dsn: str, monkeypatch: pytest.MonkeyPatch, statement: str, held: str
) -> None:
    monkeypatch.setattr(doctor_commands, "HELD_SECONDS", 0.0)
    with psycopg.connect(healthy_dsn, application_name="somebody") as holder:
        holder.execute(statement)  # type: ignore[arg-type]
        (finding,) = look(healthy_dsn, "held_locks").findings
        assert finding.object == str(holder.info.backend_pid)
        assert "somebody" in finding.problem
        assert finding.problem.endswith(f"holds {held}")


@pytest.mark.parametrize(
    ("name", "statement"),
    [
        ("pgsched finish", "select from pgsched.tasks for update"),
        ("somebody", "insert into pgsched.tasks (task_type) values ('mail')"),
        ("somebody", "select from pgsched.tasks"),
        ("somebody", "select pg_advisory_xact_lock(7)"),
    ],
)
def test_what_is_in_nobodys_way_is_no_held_lock(
    healthy_dsn: str, monkeypatch: pytest.MonkeyPatch, name: str, statement: str
) -> None:
    monkeypatch.setattr(doctor_commands, "HELD_SECONDS", 0.0)
    with psycopg.connect(healthy_dsn, application_name=name) as holder:
        holder.execute(statement)  # type: ignore[arg-type]
        assert look(healthy_dsn, "held_locks").findings == []


@pytest.mark.parametrize(
    ("statement", "held"),
    [
        ("select from pgsched.tasks for update", "rows of tasks"),
        ("update pgsched.queues set updated_at = now()", "rows of queues"),
        ("lock pgsched.executions in share mode", "executions (ShareLock)"),
    ],
)
def test_locks_of_a_prepared_transaction_are_found_at_once(
    healthy_dsn: str, monkeypatch: pytest.MonkeyPatch, statement: str, held: str
) -> None:
    monkeypatch.setattr(doctor_commands, "HELD_SECONDS", 0.0)
    with database(healthy_dsn) as db:
        db.execute("begin")
        db.execute(statement)  # type: ignore[arg-type]
        db.execute("prepare transaction 'it''s left'")
        try:
            (finding,) = look(healthy_dsn, "held_locks").findings
        finally:
            db.execute("rollback prepared 'it''s left'")
    assert finding.object == "it's left"
    assert finding.problem.endswith(f"holds {held}")
    assert finding.advice.startswith("rollback prepared 'it''s left'")


def test_rows_that_an_idle_session_has_changed_are_found(healthy_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_commands, "HELD_SECONDS", 0.0)
    with psycopg.connect(healthy_dsn) as holder:
        holder.execute("update pgsched.tasks set tags = tags")
        assert look(healthy_dsn, "held_locks").findings == [], "it has been idle for less than a minute"
        monkeypatch.setattr(doctor_commands, "IDLE_SECONDS", 0.0)
        (finding,) = look(healthy_dsn, "held_locks").findings
        assert finding.object == str(holder.info.backend_pid)
        assert finding.problem.endswith("holds rows of tasks")


def test_old_and_prepared_transactions_and_a_forgotten_slot_are_found(
    healthy_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with psycopg.connect(healthy_dsn) as idle, database(healthy_dsn) as db:
        pid = idle.execute("select pg_backend_pid()").fetchone()
        db.execute("begin")
        db.execute("create table x ()")
        db.execute("prepare transaction 'it''s forgotten'")
        db.execute("select pg_create_physical_replication_slot('forgotten', true)")
        try:
            assert found(healthy_dsn) == {"replication_slots": ["forgotten"]}, "the others are young"
            monkeypatch.setattr(doctor_commands, "OLD_SECONDS", 0.0)
            diagnosis = look(healthy_dsn, "old_transactions", "prepared_transactions")
        finally:
            db.execute("select pg_drop_replication_slot('forgotten')")
            db.execute("rollback prepared 'it''s forgotten'")
    assert {one.check: one.object for one in diagnosis.findings} == {
        "old_transactions": f"pid {pid[0] if pid else 0}",
        "prepared_transactions": "it's forgotten",
    }
    advice = {one.check: one.advice for one in diagnosis.findings}
    assert "rollback prepared 'it''s forgotten'" in advice["prepared_transactions"]


def test_few_free_connection_slots_are_found(healthy_dsn: str) -> None:
    with ExitStack() as stack:
        for _ in range(48):
            stack.enter_context(psycopg.connect(healthy_dsn))
        (finding,) = look(healthy_dsn, "connections").findings
    assert finding.severity == "warning"
    assert "of 57 connection slots" in finding.problem


def test_a_notification_queue_that_fills_is_found(healthy_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # A tenth of the queue are 800 MB: here the threshold comes to the queue.
    monkeypatch.setattr(server, "QUEUE_SOON", 1e-9)
    assert found(healthy_dsn, "notification_queue") == {}
    with psycopg.connect(healthy_dsn, autocommit=True) as listener, database(healthy_dsn) as db:
        listener.execute("listen x")
        listener.execute("begin")
        listener.execute("select 1")
        for _ in range(10):
            db.execute("select pg_notify('x', repeat('y', 7000) || g::text) from generate_series(1, 20) as g")
        assert found(healthy_dsn, "notification_queue") == {"notification_queue": ["server"]}
        pid = listener.info.backend_pid

        def named() -> bool:  # once its transaction is a second old
            (finding,) = look(healthy_dsn, "notification_queue").findings
            return f"pid {pid} (" in finding.problem and finding.advice == f"select pg_terminate_backend({pid});"

        wait_until(named, message="the oldest transaction is named")


def test_a_clock_that_is_wrong_is_found(healthy_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Late(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Late:
            return cls.fromtimestamp(datetime.now(UTC).timestamp() - 90, tz)

    monkeypatch.setattr(diagnostic_session, "datetime", Late)
    (finding,) = look(healthy_dsn).findings
    assert (finding.check, finding.severity) == ("clock_skew", "warning")
    assert finding.problem.startswith("its clock is 90.0 s behind"), finding


def test_offsets_on_which_python_and_postgresql_disagree_are_found(
    healthy_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with database(healthy_dsn) as db:
        insert_task(db, cron_expression="0 8 1 1 *", timezone="Europe/Berlin", start_date="2100-01-01Z")
    assert found(healthy_dsn, "timezones") == {}
    monkeypatch.setattr(tasks, "load_zone", lambda name: zoneinfo.ZoneInfo("Asia/Tokyo"))
    (finding,) = look(healthy_dsn, "timezones").findings
    assert (finding.check, finding.severity, finding.object) == ("timezones", "warning", "Europe/Berlin")


# What this role or this moment does not show.


def test_what_a_role_may_not_see_is_said(healthy_dsn: str) -> None:
    with login(healthy_dsn, "doctor_nobody") as nobody:
        diagnosis = look(nobody)
    assert {one.severity for one in diagnosis.findings} == {"hint"}
    objects = {one.object for one in diagnosis.findings}
    assert {"old_transactions", "schema_version", "no_worker", "stuck_running"} <= objects
    states = {one.check: one.state for one in diagnosis.checks}
    assert states["no_worker"] == "unseen"
    assert states["durability"] == "ok"


@pytest.mark.parametrize("role", ["pgsched_viewer", "pgsched_operator", "pgsched_worker"])
def test_members_of_our_roles_see_all_but_the_sessions_of_others(healthy_dsn: str, role: str) -> None:
    with login(healthy_dsn, f"doctor_{role}", member_of=role) as member:
        (finding,) = look(member).findings
        assert (finding.check, finding.severity, finding.object) == ("unseen", "hint", "old_transactions")
        with database(healthy_dsn) as db:
            db.execute(f"grant pg_read_all_stats to doctor_{role}")
        assert look(member).findings == []
        if role != "pgsched_worker":
            assert json.loads(pgsched("top", "--json", dsn=member).stdout)["findings"] is None, "nobody has looked yet"


def test_a_check_that_fails_becomes_a_finding_and_the_others_are_made(
    healthy_dsn: str,
) -> None:
    with database(healthy_dsn) as db:
        set_dead(db, insert_task(db))
        db.execute("drop table pgsched.dependencies cascade")
    objects = found(healthy_dsn)
    assert objects["dead_letters"] == ["mail in default"]
    assert objects["unseen"] == ["stuck_blocked"]


def test_a_question_that_takes_too_long_is_given_up_and_said(healthy_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnostic_session, "QUESTION_SECONDS", 0.2)
    with psycopg.connect(healthy_dsn) as other:
        other.execute("lock table pgsched.queues in access exclusive mode")
        diagnosis = look(healthy_dsn)
    assert {one.check for one in diagnosis.findings} == {"unseen"}
    assert {"paused_queues", "stuck_running"} <= {one.object for one in diagnosis.findings}
    assert {one.severity for one in diagnosis.findings} == {"warning"}
    assert not diagnosis.healthy(strict=True)


def test_a_database_that_is_not_there_is_an_error(healthy_dsn: str) -> None:
    with pytest.raises(DatabaseUnavailable, match="cannot connect"):
        look(servers.with_database(healthy_dsn, "nothing_here"))


def test_a_look_changes_nothing(healthy_dsn: str) -> None:
    """Its transactions are read-only: what a question would write is refused, and becomes a finding."""
    command = doctor_commands.examinations([])["dead"]._replace(statement="delete from pgsched.queues returning name")
    answers = asyncio.run(diagnostic_session.ask(healthy_dsn, {"dead": command}, name="test"))
    assert "read-only transaction" in answers.found["dead"].reason


# The faces.


def test_the_command_ends_with_1_on_errors_and_with_strict_on_warnings(healthy_dsn: str) -> None:
    fine = pgsched("doctor", dsn=healthy_dsn)
    assert (fine.code, fine.stderr) == (0, "")
    assert f"all healthy; {len(NAMES)} checks" in fine.stdout
    assert all(name in fine.stdout for name in NAMES)
    with database(healthy_dsn) as db:
        silent_worker(db)
    assert pgsched("doctor", dsn=healthy_dsn).code == 0
    assert pgsched("doctor", "--strict", dsn=healthy_dsn).code == 1
    assert pgsched("doctor", "--strict", "--check", "indexes", dsn=healthy_dsn).code == 0
    with database(healthy_dsn) as db:
        missing_index(db)
    ended = pgsched("doctor", dsn=healthy_dsn)
    assert ended.code == 1
    assert "indexes (tasks_due): CREATE INDEX tasks_due" in ended.stdout
    assert "1 error, 1 warning; " in ended.stdout
    said = json.loads(pgsched("doctor", "--json", dsn=healthy_dsn).stdout)
    assert said["healthy"] is False
    assert [one["check"] for one in said["findings"]] == ["indexes", "silent_workers"]
    assert pgsched("doctor", "--check", "nonsense", dsn=healthy_dsn).code == 2


def test_the_advice_for_a_missing_index_a_trigger_and_a_constraint_mends_them(healthy_dsn: str) -> None:
    with database(healthy_dsn) as db:
        plants = (missing_index, disabled_trigger, missing_trigger, missing_constraint, missing_rule_of_a_domain)
        for plant in (*plants, constraint_that_is_not_validated, missing_partition, other_fillfactor):
            plant(db)
        for finding in look(healthy_dsn).findings:
            db.execute(finding.advice)
    assert look(healthy_dsn).findings == []


def test_clients_give_the_same_diagnosis(healthy_dsn: str) -> None:
    with database(healthy_dsn) as db:
        missing_index(db)

    async def ask() -> Diagnosis:
        async with AsyncClient(healthy_dsn) as client:
            return await client.doctor()

    with Client(healthy_dsn) as client:
        assert client.doctor() == asyncio.run(ask()) == look(healthy_dsn)
        assert [one.check for one in client.doctor(checks=["indexes"]).checks] == ["indexes"]


# The list of what the schema is made of, and of the checks.


def test_expected_parts_are_what_the_migrations_make(careful_server: str, careful_template: str) -> None:
    present = parts_of(servers.with_database(careful_server, careful_template))
    assert json.loads(FILE.read_text()) == present, "python -m tools.schema_parts"


def test_every_check_has_one_judgement(healthy_dsn: str) -> None:
    assert set(OF_ANY_SCHEMA) | set(OF_OUR_SCHEMA) == set(NAMES)
    assert len(NAMES) == len(set(NAMES)) == len(OF_ANY_SCHEMA) + len(OF_OUR_SCHEMA)
    planted = set(PLANTS.values()) | {
        "read_only", "durability", "old_transactions", "prepared_transactions", "replication_slots", "connections",
        "notification_queue", "clock_skew", "held_locks", "unseen",
    }  # fmt: skip
    assert set(NAMES) - planted == {"server_version", "pooler", "wraparound"}, "those by facts alone, below"


@pytest.mark.parametrize(
    ("fact", "changes", "expected"),
    [
        ("server", {"version": 130_020}, ("server_version", "warning")),
        ("server", {"version": 190_000}, ("server_version", "warning")),
        ("server", {"standby": True}, ("read_only", "error")),
        ("server", {"connections": 60}, ("connections", "error")),
        ("server", {"notification_queue": 0.6}, ("notification_queue", "error")),
        ("server", {"xid_age": 900_000_000}, ("wraparound", "warning")),
        ("server", {"xid_age": 1_600_000_000}, ("wraparound", "error")),
        ("version", {"version": 9000}, ("schema_version", "hint")),
        ("version", {"version": 9000, "works_with": 9000}, ("schema_version", "error")),
    ],
)
def test_facts_that_cannot_be_planted_are_judged(
    healthy_dsn: str, fact: str, changes: dict[str, Any], expected: tuple[str, str]
) -> None:
    answers = asyncio.run(diagnostic_session.ask(healthy_dsn, questions(datetime.now(UTC)), name="test"))
    answers = answers._replace(found={**answers.found, fact: replace(answers.found[fact], **changes)})
    diagnosis = doctor.judge(Facts(answers, program_version=program_version(), now=datetime.now(UTC)))
    assert [(one.check, one.severity) for one in diagnosis.findings] == [expected]


def test_a_pooler_is_a_hint() -> None:
    answers = Answers({}, pooled=True, skew=timedelta(), place="")
    diagnosis = doctor.judge(Facts(answers, program_version=1, now=datetime.now(UTC)), ["pooler"])
    assert [(one.check, one.severity) for one in diagnosis.findings] == [("pooler", "hint")]
