"""A new major version of PostgreSQL under the tasks: nothing is lost and nothing runs twice, leases or not.

docs/upgrades.md says to operators what is done here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from chaos.fleet import Fleet, insert, open_gate, wait_for_completed, wait_for_handlers, wait_until_done, workers
from chaos.invariants import ALWAYS, AT_THE_END, SCHEDULES, broken_rules
from tests.support.clusters import Cluster, cluster, programs_of
from tests.support.commands import pgsched
from tests.support.processes import PgschedRunner
from tests.support.servers import with_database
from tests.support.tables import database
from tests.support.waiting import wait_until

pytestmark = pytest.mark.long
WORKERS = ("--concurrency", "10", "--lease", "3", "--poll-interval", "0.5")
OLD, NEW = "pg14", "pg18"


@pytest.fixture
def server() -> Iterator[Cluster]:
    with cluster() as made:
        yield made


@pytest.fixture
def dsn(server: Cluster) -> str:
    """Of a database on the old server, with tables for the effects of handlers, its schema owned by pgsched's role."""
    server.initialise(programs_of(OLD))
    server.start(programs_of(OLD))
    with database(server.dsn) as db:
        db.execute("create database app")
    dsn = with_database(server.dsn, "app")
    assert pgsched("migrate", "--roles", dsn=dsn).code == 0
    with database(dsn) as db:
        db.execute("create table accounts (id int primary key, balance bigint not null)")
        db.execute("create table transfers (task_id bigint not null, amount bigint not null)")
        db.execute("insert into accounts select number, 0 from generate_series(1, 10) as number")
    return dsn


@pytest.fixture
def run(dsn: str, tmp_path: Path) -> Iterator[PgschedRunner]:
    runner = PgschedRunner(folder=tmp_path, dsn=dsn)
    yield runner
    runner.kill_all()


def fill(db: psycopg.Connection[dict[str, Any]]) -> list[int]:
    """Insert brief tasks, transfers between accounts, and a schedule that ticks all the time; returns the ids."""
    ids = insert(db, 1_500, "brief", "brief_plain")
    rows = db.execute(
        """
        insert into pgsched.tasks (task_type, payload)
        select case when n % 2 = 0 then 'transfer' else 'transfer_plain' end,
          jsonb_build_object('source', 1 + n % 10, 'target', 1 + (n + 3) % 10, 'amount', n)
        from generate_series(1, 200) as n
        returning id
        """
    ).fetchall()
    db.execute("""insert into pgsched.tasks (task_type, payload, repeat_interval)
                  values ('pause', '{"seconds": 0}', '300 milliseconds')""")
    return ids + [row["id"] for row in rows]


def check(db: psycopg.Connection[dict[str, Any]], ids: list[int]) -> None:
    """End the schedule; then every task has completed once, and every transfer was made once."""
    db.execute("update pgsched.tasks set end_date = now() where repeat_interval is not null")
    wait_until_done(db)
    assert not broken_rules(db, ALWAYS | AT_THE_END | SCHEDULES, dict.fromkeys(ids, "completed"))
    made = db.execute("select count(*) as n, count(distinct task_id) as tasks from transfers").fetchone()
    assert made == {"n": 200, "tasks": 200}
    assert db.execute("select sum(balance) as total from accounts").fetchone() == {"total": 0}


OF_THE_DATABASE = {
    *(
        "schema_version",
        "server_version",
        "read_only",
        "copied_database",
        "indexes",
        "triggers",
        "constraints",
        "partitions",
    ),
    *("default_partition", "fillfactor", "autovacuum", "wraparound", "timezones", "foreign_objects", "role_settings"),
    *("stuck_running", "orphaned", "stuck_blocked", "misfits", "durable_runs", "dead_letters"),
}
"""What the doctor says of workers is left out: they were killed, or had no server for a while."""


def assert_healthy(dsn: str) -> None:
    """The doctor looked at the database, its schema and its tasks, and found no fault."""
    examined = json.loads(pgsched("doctor", "--json", dsn=dsn).stdout)
    states = {one["check"]: one["state"] for one in examined["checks"]}
    assert {name: states.get(name) for name in OF_THE_DATABASE} == dict.fromkeys(OF_THE_DATABASE, "ok"), examined


def leases(db: psycopg.Connection[dict[str, Any]]) -> int:
    row = db.execute("select count(*) as n from pgsched.tasks where locked_until is not null").fetchone()
    assert row is not None
    return int(row["n"])


def test_pg_upgrade_under_running_workers_loses_nothing_and_runs_nothing_twice(
    server: Cluster, dsn: str, run: PgschedRunner, tmp_path: Path
) -> None:
    old, new = programs_of(OLD), programs_of(NEW)
    fleet = Fleet(run, *WORKERS)
    fleet.start(2)
    fleet.wait_until_started()
    with database(dsn) as db:
        ids = insert(db, 6, "gated", "gated_plain")
        wait_for_handlers(tmp_path, ids)
        ids += fill(db)
        wait_for_completed(db, 300)
        registered = workers(db)
    server.stop(old)
    assert "in production" not in server.run(old / "pg_controldata", str(server.data))

    fresh = server.folder / "fresh"
    server.initialise(new, "--no-data-checksums", data=fresh)
    places = ["-b", str(old), "-B", str(new), "-d", str(server.data), "-D", str(fresh)]
    said = server.run(new / "pg_upgrade", *places, "-U", "postgres", "-s", str(server.folder))
    assert "Upgrade Complete" in said
    server.data.rename(server.folder / "data.old")
    fresh.rename(server.data)
    server.start(new)
    at = ["--host", str(server.folder), "--username", "postgres"]
    server.run(new / "vacuumdb", *at, "--all", "--analyze-in-stages", "--missing-stats-only")

    with database(dsn) as db:
        assert db.info.server_version >= 180000
        assert leases(db) >= 6, "those whose handlers ran all the time"
        open_gate(tmp_path)
        ids += insert(db, 100, "brief")
        check(db, ids)
        wait_until(lambda: workers(db) == registered, message="both workers are registered again")
        migrated = pgsched("migrate", dsn=dsn)
        assert migrated.stdout.startswith("the schema is up to date")
        assert "this database is a copy: " in migrated.stderr, "initdb drew another system identifier"
        assert pgsched("database", "adopt", "--yes", dsn=dsn).code == 0
    assert_healthy(dsn)
    assert fleet.stop() == [0, 0], fleet.workers[0].output
    assert all("Traceback" not in worker.output for worker in fleet.workers)


def test_dump_and_restore_with_leases_out_loses_nothing_and_runs_nothing_twice(
    server: Cluster, dsn: str, run: PgschedRunner, tmp_path: Path
) -> None:
    old, new = programs_of(OLD), programs_of(NEW)
    fleet = Fleet(run, *WORKERS)
    fleet.start(2)
    fleet.wait_until_started()
    with database(dsn) as db:
        held = insert(db, 6, "gated", "gated_plain")
        wait_for_handlers(tmp_path, held)
        ids = held + fill(db)
        wait_for_completed(db, 300)
        for number in range(2):
            fleet.kill(number)  # so that nobody gives the leases back
        wait_until(lambda: not working(db), message="nobody works any more")
        assert leases(db) >= 6

    server.run(new / "pg_dumpall", "--globals-only", "-d", server.dsn, "-f", "globals.sql")
    server.run(new / "pg_dump", "--format=custom", "-d", dsn, "-f", "app.dump")
    server.stop(old)
    server.data.rename(server.folder / "data.old")
    server.initialise(new)
    server.start(new)
    server.run(new / "psql", "-X", "-q", "-d", server.dsn, "-f", "globals.sql")  # says that "postgres" is there
    server.run(new / "pg_restore", "--create", "--exit-on-error", "-d", server.dsn, "app.dump")

    with database(dsn) as db:
        assert leases(db) >= 6
        open_gate(tmp_path)
        assert pgsched("database", "adopt", "--yes", dsn=dsn).code == 0
        later = Fleet(run, *WORKERS)
        later.start(2)
        ids += insert(db, 100, "brief")
        check(db, ids)
        again = db.execute(
            "select count(*) as n from pgsched.executions where task_id = any(%s) and status = 'lost'", (held,)
        ).fetchone()
        assert again == {"n": 6}, "the attempts whose workers were gone are in the history"
        assert pgsched("migrate", dsn=dsn).stdout.startswith("the schema is up to date")
    assert_healthy(dsn)
    assert later.stop() == [0, 0], later.workers[0].output


def working(db: psycopg.Connection[dict[str, Any]]) -> int:
    """How many sessions of workers are connected."""
    row = db.execute("select count(*) as n from pg_stat_activity where application_name ~ '^pgsched'").fetchone()
    assert row is not None
    return int(row["n"])
