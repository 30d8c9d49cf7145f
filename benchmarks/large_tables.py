"""``python -m benchmarks.large_tables``: fifty million finished rows, and whether a divided table would serve better.

Three databases of one server: ``one`` has the tables as they are; in ``hash`` the table of tasks is partitioned by the
hash of the queue; ``live`` has no finished rows, as if they had been moved to another table. They are filled without
triggers and with full pages. The queries and pages are measured on ``one``, the drains in turns on all of them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from benchmarks.databases import SETTINGS, keep_constants
from benchmarks.figures import this_machine
from benchmarks.sides.measure import settle
from benchmarks.web import Visitor, ask, count, serving
from pgsched import Client
from pgsched.db.embedded.server import EmbeddedServer, packaged_binaries
from pgsched.db.migrations.runner import migrate

LAYOUTS = ("one", "hash", "live")
PARTITIONS = 16
QUEUES = 32
ASKED = 15
"""How often each query is asked; the first two answers are not counted."""
BATCH = 1_000_000
LOADING = {**SETTINGS, "max_wal_size": "4GB", "maintenance_work_mem": "1GB"}
"""Settings of the server while it is filled; a crash would lose the data, which can be filled again."""

# Rows that ended over the last 30 days, one of a thousand dead.
FINISHED = """
    insert into pgsched.tasks (task_type, queue, schedule_type, scheduled_for, status, attempts, fencing_token,
      execution_count, started_at, last_run_at, completed_at, died_at, last_error, created_at, updated_at, planned_from,
      tenant_id, user_id, payload)
    select 'type_' || n % 50, 'queue_' || n % {queues}, 'one_time', at, case when dead then 'dead' else 'completed' end,
      1, n, case when dead then 0 else 1 end, at, at, case when not dead then at end, case when dead then at end,
      case when dead then 'ValueError: the number ' || n || ' is no good' end, at, at, at,
      'tenant_' || n % 10007, 'user_' || n % 1000003, jsonb_build_object('customer', n % 9973)
    from (
      select n, n % 1000 = 0 as dead, now() - interval '30 days' * (1 - n / {total}::float8) as at
      from generate_series({first}, {last}) n
    ) rows
    """
# Rows that are due within the next 30 days.
WAITING = """
    insert into pgsched.tasks (task_type, queue, schedule_type, scheduled_for, next_run_at, tenant_id, user_id, payload)
    select 'type_' || n % 50, 'queue_' || n % {queues}, 'one_time', at, at, 'tenant_' || n % 10007,
      'user_' || n % 1000003, jsonb_build_object('customer', n % 9973)
    from (
      select n, now() + interval '1 hour' + interval '30 days' * (n / {total}::float8) as at
      from generate_series({first}, {last}) n
    ) rows
    """
# The attempts of the last day, 20,000 rows of a queue that nobody serves, and 5,000 schedules.
REST = """
    insert into pgsched.tasks (task_type, queue, schedule_type, scheduled_for, next_run_at, created_by)
    select 'late', 'unserved', 'one_time', at, at, 'nobody'
    from (select now() - n * interval '1 s' as at from generate_series(1, 20000) n) rows;
    insert into pgsched.tasks (task_type, queue, schedule_type, cron_expression, timezone, scheduled_for, next_run_at)
    select 'report', 'queue_' || n % 32, 'recurring', n % 60 || ' ' || n % 24 || ' * * *', 'Europe/Berlin', at, at
    from (
      select n, date_trunc('hour', now()) + interval '2 hours' + n % 1440 * interval '1 minute' as at
      from generate_series(1, 5000) n
    ) rows;
    create table pgsched.executions_past partition of pgsched.executions
      for values from ('{today}'::timestamptz - interval '3 days') to ('{today}');
    insert into pgsched.executions (task_id, task_type, queue, attempt, fencing_token, scheduled_for, worker_id, status,
      started_at, finished_at, duration_ms)
    select id, task_type, queue, 1, fencing_token, scheduled_for, gen_random_uuid(), 'completed', started_at,
      started_at + interval '20 ms', 20 from pgsched.tasks where completed_at > now() - interval '1 day'
    """
# The table of tasks, or its partitions.
LEAVES = """
    select oid from pg_class where oid = 'pgsched.tasks'::regclass and relkind = 'r'
    union all
    select inhrelid from pg_inherits where inhparent = 'pgsched.tasks'::regclass
    """
SIZES = f"""
    select sum(pg_relation_size(oid)), sum(pg_indexes_size(oid)), sum(pg_total_relation_size(oid))
    from ({LEAVES}) leaves
    """
LATE = """
    select id, task_type, now() - next_run_at as late from pgsched.tasks
    where next_run_at < now() - interval '5 minutes' and enabled and status = 'pending' order by next_run_at limit 100
    """


def main() -> int:
    """Fill, measure, and write the figures to a file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.large_tables", description=__doc__)
    parser.add_argument("part", choices=["fill", "measure"])
    parser.add_argument("--folder", type=Path, required=True, help="of the server; it is kept, delete it yourself")
    parser.add_argument("--finished", type=int, default=50_000_000, help="finished rows (default: 50,000,000)")
    parser.add_argument("--waiting", type=int, default=5_000_000, help="waiting rows (default: 5,000,000)")
    parser.add_argument("--layouts", default=",".join(LAYOUTS), help="which databases (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="drains of each layout (default: 3)")
    parser.add_argument("--tasks", type=int, default=100_000, help="of a drain (default: 100,000)")
    parser.add_argument("--json", type=Path, default=Path("large_tables.json"), help="where the figures go")
    options = parser.parse_args()
    layouts = options.layouts.split(",")
    if options.part == "fill":
        with EmbeddedServer.start(options.folder, options={**LOADING, "fsync": "off"}) as server:
            for layout in layouts:
                fill(server.dsn, layout, options.finished, options.waiting)
        return 0
    with EmbeddedServer.start(options.folder, options=LOADING) as server:
        found = measured(server.dsn, layouts, options.rounds, options.tasks, options.json)
    print(json.dumps(found, indent=1))
    return 0


# Filling.


def fill(server_dsn: str, layout: str, finished: int, waiting: int) -> None:
    """Create a database of this layout."""
    dsn = _dsn(server_dsn, layout)
    today = datetime.now(UTC).strftime("%Y-%m-%d 00:00:00+00")  # the first day for which `migrate` makes a table
    with psycopg.connect(server_dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(layout)))
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(layout)))
    migrate(dsn)
    if layout == "hash":
        _divide(server_dsn, dsn)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("set session_replication_role = replica")
        connection.execute("set synchronous_commit = off")
        keep_constants(connection, keep=True)
        with _full_pages(connection), _without_indexes(connection):
            for name, statement, total in (("finished", FINISHED, finished), ("waiting", WAITING, waiting)):
                if name == "finished" and layout == "live":
                    continue
                for first in range(1, total + 1, BATCH):
                    last = min(first + BATCH - 1, total)
                    connection.execute(statement.format(queues=QUEUES, total=total, first=first, last=last).encode())
                    print(f"{datetime.now():%H:%M:%S} {layout}: {last:,} {name}", flush=True)
        for one in REST.format(today=today).split(";"):
            connection.execute(one.encode())
        connection.execute("select setval('pgsched.fencing_tokens', 1000000000)")
        keep_constants(connection, keep=False)
        connection.execute("set session_replication_role = origin")
        connection.execute("vacuum (freeze, analyze)")
        connection.execute("checkpoint")
    asyncio.run(count(dsn))


@contextmanager
def _full_pages(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """Fill pages wholly: rows that have ended leave no room for later versions."""
    rows = connection.execute(f"select oid::regclass::text from ({LEAVES}) leaves".encode()).fetchall()
    leaves = [name for (name,) in rows]
    for name in leaves:
        connection.execute(f"alter table {name} set (fillfactor = 100)".encode())
    yield
    for name in leaves:
        connection.execute(f"alter table {name} set (fillfactor = 50)".encode())


@contextmanager
def _without_indexes(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """Drop the indexes of tasks while rows are inserted, and create them again."""
    indexes = connection.execute(
        """
        select i.indexrelid::regclass::text, pg_get_indexdef(i.indexrelid) from pg_index i
        where i.indrelid = 'pgsched.tasks'::regclass and not i.indisprimary
        """
    ).fetchall()
    for name, _ in indexes:
        connection.execute(f"drop index {name}".encode())
    yield
    for _, definition in indexes:
        begun = time.perf_counter()
        connection.execute(definition.replace(" ON ONLY ", " ON ").encode())  # on the partitions, too
        print(f"{datetime.now():%H:%M:%S} {time.perf_counter() - begun:.0f} s: {definition[:90]}", flush=True)


def _divide(server_dsn: str, dsn: str) -> None:
    """Create the same schema with a partitioned table of tasks; a key is then unique in its queue only."""
    text = subprocess.run(
        [str(packaged_binaries() / "pg_dump"), "--no-owner", "--no-privileges", "--schema=pgsched", dsn],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    text = "\n".join(line for line in text.splitlines() if not line.startswith(("\\restrict", "\\unrestrict")))
    table = re.search(r"CREATE TABLE pgsched\.tasks \(\n.*?\n\)\n(WITH \(.*?\));\n", text, re.DOTALL)
    if table is None:
        raise RuntimeError("no table of tasks in the dump")
    divided = table.group().replace(table.group(1), "PARTITION BY HASH (queue)")
    divided += "".join(
        f"CREATE TABLE pgsched.tasks_{n} PARTITION OF pgsched.tasks FOR VALUES WITH (MODULUS {PARTITIONS},"
        f" REMAINDER {n}) {table.group(1)};\n"
        for n in range(PARTITIONS)
    )
    text = text.replace(table.group(), divided)
    text = text.replace(
        "ON pgsched.tasks USING btree (idempotency_key)", "ON pgsched.tasks USING btree (idempotency_key, queue)"
    )
    text = re.sub(
        r"ALTER TABLE ONLY (pgsched\.tasks\n\s+ADD CONSTRAINT \w+ PRIMARY KEY) \(id\)",
        r"ALTER TABLE \1 (id, queue)",
        text,
    )
    with psycopg.connect(server_dsn, autocommit=True) as connection:
        connection.execute("drop database hash with (force)")
        connection.execute("create database hash")
    done = subprocess.run(
        [str(packaged_binaries() / "psql"), "-q", "-X", "-v", "ON_ERROR_STOP=1", dsn],
        input=text,
        text=True,
        capture_output=True,
    )
    if done.returncode:
        raise RuntimeError(done.stderr)


# Measuring.


def measured(server_dsn: str, layouts: list[str], rounds: int, tasks: int, file: Path) -> dict[str, Any]:
    """Measure drains in turns, then queries and pages of ``one``, then deletion and vacuum of it."""
    with psycopg.connect(server_dsn) as connection:
        version = connection.info.parameter_status("server_version") or ""
    found: dict[str, Any] = {
        "measured": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": this_machine(version),
        "rows": {layout: _rows(_dsn(server_dsn, layout)) for layout in layouts},
        "drains": drains(server_dsn, layouts, rounds, tasks),
    }

    def keep(**more: Any) -> None:
        found.update(more)
        file.write_text(json.dumps(found, indent=1) + "\n")

    keep()
    if "one" in layouts:
        dsn = _dsn(server_dsn, "one")
        keep(queries=queries(dsn))
        keep(pages=pages(dsn))
        keep(retention=retention(dsn))
    return found


def _dsn(server_dsn: str, layout: str) -> str:
    return make_conninfo(server_dsn, dbname=layout)


def _rows(dsn: str) -> dict[str, Any]:
    with psycopg.connect(dsn) as connection:
        names = ("rows_bytes", "indexes_bytes", "total_bytes")
        sizes = dict(zip(names, connection.execute(SIZES.encode()).fetchone() or (), strict=True))
        number = connection.execute(
            f"select sum(reltuples)::bigint from pg_class where oid in ({LEAVES})".encode()
        ).fetchone()
    return {"rows": number[0] if number else 0} | {name: int(size) for name, size in sizes.items()}


def drains(server_dsn: str, layouts: list[str], rounds: int, tasks: int) -> dict[str, list[float]]:
    """Drain the queue ``default`` of each database, in turns."""
    speeds: dict[str, list[float]] = {layout: [] for layout in layouts}
    for turn in range(rounds):
        for layout in layouts if turn % 2 == 0 else reversed(layouts):
            dsn = _dsn(server_dsn, layout)
            with psycopg.connect(dsn, autocommit=True) as connection:
                connection.execute("delete from pgsched.tasks where queue = 'default'")
            asyncio.run(settle(dsn))
            given = json.dumps({"dsn": dsn, "tasks": tasks, "concurrency": 100, "queue_given": True})
            command = [sys.executable, "-m", "benchmarks.sides.ours", given]
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
            if done.returncode:
                raise RuntimeError(f"{layout}: {done.stderr}")
            speeds[layout].append(json.loads(done.stdout)["per_second"])
            print(f"{turn + 1}/{rounds} {layout}: {speeds[layout][-1]:,.0f} tasks/s", flush=True)
    return speeds


def queries(dsn: str) -> dict[str, dict[str, float]]:
    """Ask what applications ask most, and return milliseconds."""
    late = datetime.now(UTC) - timedelta(minutes=5)
    with Client(dsn) as client, psycopg.connect(dsn, autocommit=True) as connection:
        some = client.list_tasks(status=["completed"], limit=1)[0]
        asked: dict[str, Callable[[], object]] = {
            "look-ahead of 24 hours: upcoming('24h')": lambda: client.upcoming("24h"),
            "look-ahead of 24 hours in a queue": lambda: client.upcoming("24h", queue="queue_7"),
            "timeline of 24 hours": lambda: client.upcoming_timeline("24h"),
            "overdue, in SQL": lambda: connection.execute(LATE.encode()).fetchall(),
            "overdue, in Python": lambda: client.find_tasks(status="pending", due_before=late),
            "tasks of a user": lambda: client.list_tasks(user_id="user_4711"),
            "waiting tasks of a user": lambda: client.list_tasks(user_id="user_4711", status=["pending", "blocked"]),
            "tasks of a tenant": lambda: client.list_tasks(tenant_id="tenant_77"),
            "latest tasks": client.list_tasks,
            "latest completed tasks of a queue": lambda: client.list_tasks(status=["completed"], queue="queue_7"),
            "dead letters": client.dead,
            "task by id": lambda: client.get(some.id),
            "attempts of a task": lambda: client.executions(some.id),
            "counts by status": client.count_tasks,
            "statistics": client.stats,
        }
        return {name: _times(question) for name, question in asked.items()}


def _times(question: Callable[[], object]) -> dict[str, float]:
    took = []
    for _ in range(ASKED):
        begun = time.perf_counter()
        question()
        took.append((time.perf_counter() - begun) * 1000)
    return {"first": took[0], "median": median(took[2:]), "max": max(took[2:])}


def pages(dsn: str) -> dict[str, dict[str, float]]:
    """Load the pages of the dashboard one after the other, and return milliseconds."""
    paths = ["/", "/tasks", "/tasks?status=pending", "/tasks?status=completed&queue=queue_7", "/tasks?status=dead"]
    paths += ["/tasks?tenant_id=tenant_77", "/tasks?q=user:user_4711", "/schedules", "/queues", "/dead", "/executions"]
    paths += ["/upcoming", "/types", "/errors", "/workers", "/queues/show?queue=queue_7"]
    with serving(dsn) as address:
        first: dict[str, float] = {}
        visitor = Visitor(address)
        for path in paths:
            begun = time.perf_counter()
            visitor.get(path)
            first[path] = (time.perf_counter() - begun) * 1000
        visitor.close()
        seen = ask(address, paths, 1, ASKED)
    return {path: {"first": first[path], "median": median(seen[path]), "max": max(seen[path])} for path in paths}


def retention(dsn: str) -> dict[str, float]:
    """Delete the oldest of the 30 days, then vacuum."""
    with Client(dsn) as client:
        begun = time.perf_counter()
        done = client.prune(completed_older_than="29d")
        pruning = time.perf_counter() - begun
    number = sum(one.completed for one in done.queues)
    with psycopg.connect(dsn, autocommit=True) as connection:
        begun = time.perf_counter()
        connection.execute("vacuum pgsched.tasks")
        vacuum = time.perf_counter() - begun
    return {"deleted": number, "seconds": pruning, "vacuum_seconds": vacuum}


if __name__ == "__main__":
    sys.exit(main())
