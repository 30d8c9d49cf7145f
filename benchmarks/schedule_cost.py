"""``python -m benchmarks.schedule_cost``: where the time of ``schedule()`` goes, and what a task and a worker cost.

Every way to insert a task is measured in turns, call by call, so that other load meets all of them alike.
A part of the budget is the difference of two first deciles: of calls that nothing else kept waiting.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from statistics import quantiles
from typing import Any
from uuid import uuid4

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from benchmarks import figures, tables
from benchmarks.databases import CONSTANTS, SETTINGS, Databases
from benchmarks.model import Sizes
from benchmarks.sides.worker_process import wait_until, worker
from pgsched import Client
from pgsched.db.embedded.server import EmbeddedServer

Connection = psycopg.Connection[Any]
Calls = dict[str, Callable[[], object]]

PARTS = (
    ("a round trip", "round trip", None),
    ("the row and its index entries, without triggers", "bare insert", "round trip"),
    ("`pgsched.schedule` and the triggers: options, checks, the due time", "function", "bare insert"),
    ("the client: options checked and encoded", "client, own connection", "function"),
    ("the pool: a connection taken and given back", "client, unsynced", "client, own connection"),
    ("the commit: WAL to the disk", "client", "client, unsynced"),
)
"""A part of the budget: what it is, the call that has it, the same call without it."""

ASIDE = (
    ("a plain `INSERT` of `task_type`, with `synchronous_commit` off", "insert"),
    ("… and on", "insert, synced"),
    ("`client.schedule()`", "client"),
    ("… with a new `idempotency_key`", "client, key"),
    ("… while a worker of its queue sleeps, so that it is notified", "client, sleeper"),
    ("`schedule(connection=…)` in an open transaction: no commit of its own", "client, transaction"),
)
PAGE = Path("docs/cost.md")
SETTLE_SECONDS = 6.0
ALONE = 100
WARM_UP = 50
LOOKS = ("pgsched watchdog", "pgsched roll-up", "pgsched check", "pgsched retention")
"""Connections of what one worker does for all."""


def main() -> int:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.schedule_cost", description=__doc__)
    parser.add_argument("--calls", type=int, default=2_000, help="calls of each kind")
    parser.add_argument("--tasks", type=int, default=50_000, help="tasks of the backlog that a worker drains")
    parser.add_argument("--idle", type=int, default=120, help="seconds for which the idle worker is watched")
    parser.add_argument("--write-docs", action="store_true", help=f"put the tables into {PAGE}")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="pgsched-bench-", ignore_cleanup_errors=True) as name,
        EmbeddedServer.start(Path(name) / "server", options=SETTINGS) as server,
    ):
        log = Path(name) / "server" / "server.log"
        databases = Databases(server.dsn, log, Sizes())
        text = budget(times_of_calls(databases.fresh("empty"), options.calls))
        text += costs(costs_of_tasks(databases.fresh("empty"), log, options.tasks, options.idle))
        with psycopg.connect(server.dsn) as connection:
            machine = figures.this_machine(connection.info.parameter_status("server_version") or "")
    text.append(
        f"Measured {datetime.now(UTC):%Y-%m-%d %H:%M UTC}, {options.calls:,} calls of each kind, {machine['cpu']}, "
        f"PostgreSQL {machine['postgresql']}, Python {machine['python']}."
    )
    print("\n".join(text))
    if options.write_docs:
        PAGE.write_text(tables.put_into(PAGE.read_text(encoding="utf-8"), "\n".join(text)), encoding="utf-8")
    return 0


def times_of_calls(dsn: str, calls: int) -> dict[str, list[float]]:
    """Milliseconds of each call, by its kind."""
    with ExitStack() as opened:
        plain = opened.enter_context(psycopg.connect(dsn, autocommit=True))
        open_one = opened.enter_context(psycopg.connect(dsn))
        client = opened.enter_context(Client(dsn))
        quick = opened.enter_context(Client(make_conninfo(dsn, options="-c synchronous_commit=off")))

        def unsynced() -> Connection:
            """A session for one kind of call, so that none meets what another has left in it."""
            session: Connection = opened.enter_context(psycopg.connect(dsn, autocommit=True))
            session.execute("set synchronous_commit = off")
            return session

        _make_bare_table(plain)
        _put_to_sleep(plain, "asleep")
        kinds = _calls(plain, unsynced, open_one, client, quick)
        times: dict[str, list[float]] = {kind: [] for kind in kinds}
        order, chance = list(kinds.items()), Random(7)
        for turn in range(calls + WARM_UP):
            chance.shuffle(order)  # a call that follows one that waited for the disk is slower
            for kind, call in order:
                begun = time.perf_counter()
                call()
                if turn >= WARM_UP:  # prepared, and every page is warm
                    times[kind].append((time.perf_counter() - begun) * 1000)
            open_one.rollback()
    return times


def _calls(
    plain: Connection, unsynced: Callable[[], Connection], open_one: Connection, client: Client, quick: Client
) -> Calls:
    trip, bare_one, inserting, calling, lent = (unsynced() for _ in range(5))
    bare = (
        "insert into bare (id, task_type, payload, schedule_type, scheduled_for, next_run_at, status)"
        " values (default, 'noop', '{}', 'one_time', now(), now(), 'pending')"
    )
    insert = "insert into pgsched.tasks (task_type) values ('noop')"
    function = "select pgsched.schedule('noop', '{}')"
    return {
        "round trip": lambda: trip.execute("select 1").fetchone(),
        "bare insert": lambda: bare_one.execute(bare),
        "insert": lambda: inserting.execute(insert),
        "insert, synced": lambda: plain.execute(insert),
        "function": lambda: calling.execute(function).fetchone(),
        "client, own connection": lambda: client.schedule("noop", connection=lent),
        "client, unsynced": lambda: quick.schedule("noop"),
        "client": lambda: client.schedule("noop"),
        "client, key": lambda: client.schedule("noop", idempotency_key=uuid4().hex),
        "client, sleeper": lambda: client.schedule("noop", queue="asleep"),
        "client, transaction": lambda: client.schedule("noop", connection=open_one),
    }


def _make_bare_table(connection: Connection) -> None:
    """Make a table with the columns and indexes of the tasks, whose triggers are missing."""
    connection.execute("create table bare (like pgsched.tasks including all) with (fillfactor = 50)")
    for column, constant in CONSTANTS.items():
        statement = sql.SQL("alter table bare alter {} set default {}")
        connection.execute(statement.format(sql.Identifier(column), sql.Literal(constant)))


def _put_to_sleep(connection: Connection, queue: str) -> None:
    """Let it look as if a worker of the queue slept for an hour: what is due before notifies it."""
    connection.execute(
        "insert into pgsched.workers (id, hostname, pid, queues, task_types, concurrency, lease, sleeping_until)"
        " values (gen_random_uuid(), 'nowhere', 1, array[%s], array['noop'], 1, '1 hour', now() + interval '1 hour')",
        (queue,),
    )


def budget(times: dict[str, list[float]]) -> list[str]:
    """The lines of the tables of the parts, and of the calls beside them."""
    percentiles = {kind: [0.0, *quantiles(found, n=100)] for kind, found in times.items()}
    least = {kind: found[10] for kind, found in percentiles.items()}
    whole = least["client"]
    lines = ["| part of `client.schedule()` | ms, first decile | share |", "|---|---|---|"]
    for words, kind, without in PARTS:
        part = least[kind] - (least[without] if without else 0)
        lines.append(f"| {words} | {part:.2f} | {100 * part / whole:.0f} % |")
    lines += [f"| together | {whole:.2f} | 100 % |", ""]
    lines += ["| call | ms, first decile | median | 99th percentile |", "|---|---|---|---|"]
    for words, kind in ASIDE:
        found = percentiles[kind]
        lines.append(f"| {words} | {found[10]:.2f} | {found[50]:.2f} | {found[99]:.2f} |")
    return [*lines, ""]


def costs_of_tasks(dsn: str, log: Path, tasks: int, idle: int) -> dict[str, float]:
    """What a worker costs that has nothing to do, one task at a time, and a backlog."""
    found: dict[str, float] = {}
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("alter database bench set log_statement = 'all'")
    with psycopg.connect(dsn, autocommit=True) as connection, worker(dsn) as process:
        time.sleep(SETTLE_SECONDS)
        found["connections"] = _number(
            connection, "select count(*) from pg_stat_activity where application_name like 'pgsched %'"
        )
        found["memory_mb"] = _memory(process.pid)
        before = _statements(log)
        time.sleep(idle)
        idle_ones = _statements(log) - before
        print(f"idle for {idle} s: {dict(idle_ones)}", file=sys.stderr)
        looks = sum(idle_ones.pop(name, 0) for name in LOOKS)
        found["idle_per_second"], found["looks_per_minute"] = idle_ones.total() / idle, 60 * looks / idle
        before, wal = _statements(log), _wal(connection)
        for _ in range(ALONE):
            connection.execute("insert into pgsched.tasks (task_type) values ('noop')")
            wait_until(connection, "select not exists (select from pgsched.tasks where next_run_at is not null)")
        found["alone_statements"] = (_statements(log) - before).total() / ALONE
        found["alone_wal"] = (_wal(connection) - wal) / ALONE
        connection.execute("select pgsched.pause_queue('default')")
        connection.execute("insert into pgsched.tasks (task_type) select 'noop' from generate_series(1, %s)", (tasks,))
        connection.execute("vacuum analyze pgsched.tasks")
        time.sleep(SETTLE_SECONDS)
        before, wal = _statements(log), _wal(connection)
        connection.execute("select pgsched.resume_queue('default')")
        wait_until(connection, "select not exists (select from pgsched.tasks where next_run_at is not null)")
        found["backlog_statements"] = (_statements(log) - before).total() / tasks
        found["backlog_wal"] = (_wal(connection) - wal) / tasks
    with psycopg.connect(dsn, autocommit=True) as connection:
        rows = tasks + ALONE
        found["table_bytes"] = _number(connection, "select pg_table_size('pgsched.tasks')") / rows
        found["index_bytes"] = _number(connection, "select pg_indexes_size('pgsched.tasks')") / rows
        history = "select sum(pg_total_relation_size(relid)) from pg_partition_tree('pgsched.executions') where isleaf"
        found["history_bytes"] = _number(connection, history) / rows
    return found


def _statements(log: Path) -> Counter[str]:
    """How many statements each of the worker's connections has sent, by the server's log."""
    sent: Counter[str] = Counter()
    with log.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if line.startswith("bench|pgsched ") and ("LOG:  statement:" in line or "LOG:  execute" in line):
                sent[line.split("|", 2)[1]] += 1
    return sent


def _memory(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    (line,) = [line for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) / 1024


def _wal(connection: Connection) -> float:
    return _number(connection, "select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')")


def _number(connection: Connection, question: str) -> float:
    (value,) = connection.execute(question.encode()).fetchone() or (0,)
    return float(value)


def costs(found: dict[str, float]) -> list[str]:
    """The lines of the table of what a worker and a task cost."""
    rows = (
        ("connections of an idle worker process", "connections", "{:.0f}"),
        ("memory of an idle worker process, without handlers of yours", "memory_mb", "{:.0f} MB"),
        ("statements of an idle worker: claims, heartbeats", "idle_per_second", "{:.2f} a second"),
        ("… and what one worker looks at for all", "looks_per_minute", "{:.0f} a minute"),
        ("statements of the worker for a task that comes alone", "alone_statements", "{:.1f}"),
        ("… for each task of a backlog", "backlog_statements", "{:.3f}"),
        ("WAL of a task that comes alone, its insert included", "alone_wal", "{:,.0f} bytes"),
        ("… of each task of a backlog, without its insert", "backlog_wal", "{:,.0f} bytes"),
        ("disk of a finished task: the row", "table_bytes", "{:,.0f} bytes"),
        ("… its index entries", "index_bytes", "{:,.0f} bytes"),
        ("… its history, with the indexes", "history_bytes", "{:,.0f} bytes"),
    )
    lines = ["| | measured |", "|---|---|"]
    return [*lines, *(f"| {words} | {form.format(found[name])} |" for words, name, form in rows), ""]


if __name__ == "__main__":
    sys.exit(main())
