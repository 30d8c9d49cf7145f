"""The server of a run and its databases: templates are created once and copied for each round."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from benchmarks.model import Sizes
from pgsched.db.migrations.runner import migrate
from pgsched.db.sql_files import load_statement

# Like a small production server: durable, with checkpoints so rare that none falls into a round.
SETTINGS = {
    "shared_buffers": "1GB",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "30min",
    "autovacuum_naptime": "10s",
    "log_line_prefix": "%d|%a|",
}

# Rows that are there before a round begins. With triggers, 10,000,000 rows would take minutes more and look the same.
FILLINGS = {
    "empty": "",
    "future": """
        insert into pgsched.tasks (task_type, schedule_type, scheduled_for, next_run_at)
        select 'noop', 'one_time', at, at
        from (select now() + interval '1 day' + n * interval '1 ms' as at from generate_series(1, {future}) n) rows
        """,
    "finished": """
        insert into pgsched.tasks (task_type, schedule_type, scheduled_for, status, attempts,
          fencing_token, execution_count, started_at, last_run_at, completed_at)
        select 'noop', 'one_time', at, 'completed', 1, 1, 1, at, at, at
        from (
          select now() - interval '1 hour' + n * interval '0.1 ms' as at from generate_series(1, {finished}) n) rows;
        insert into pgsched.executions (task_id, task_type, queue, attempt, fencing_token, scheduled_for, worker_id,
          status, started_at, finished_at, duration_ms)
        select id, task_type, queue, 1, 1, scheduled_for, gen_random_uuid(), 'completed', started_at, started_at, 0.1
        from pgsched.tasks
        """,
    "leased": """
        insert into pgsched.tasks (task_type, schedule_type, scheduled_for, next_run_at, status, attempts,
          fencing_token, started_at, locked_by, locked_until, created_by)
        select 'noop', 'one_time', at, at, 'running', 1, 1, now(), 'ffffffff-0000-0000-0000-000000000000',
          now() + interval '1 day', 'another worker'
        from (select now() - interval '1 hour' + n * interval '1 ms' as at from generate_series(1, {leased}) n) rows
        """,
    # Each payload is as long as it says in the worker, and compressed in the table, so that the disk is not the limit.
    "backlog": """
        insert into pgsched.tasks (task_type, schedule_type, scheduled_for, next_run_at, payload)
        select 'sized', 'one_time', now(), now(),
          jsonb_build_object('blob', left(repeat(md5(n::text), {payload} / 32 + 1), {payload}))
        from generate_series(1, {backlog}) n
        """,
    "none": "",
}
"""By name; ``none`` has no pgsched schema, for the peers."""


CONSTANTS = {
    "queue": "default",
    "priority": "5",
    "tags": "{}",
    "metadata": "{}",
    "timezone": "UTC",
    "on_missed": "once",
    "overlap": "skip",
    "max_attempts": "3",
    "backoff": "exponential",
    "backoff_delay": "5 seconds",
    "backoff_max": "1 hour",
    "dependency_mode": "all",
    "on_dependency_dead": "cancel",
}
"""What the trigger gives a task that nobody says anything of."""


def keep_constants(connection: psycopg.Connection[Any], *, keep: bool) -> None:
    """Let columns have by themselves what the trigger gives them, for rows that come without it; or no longer."""
    columns = [
        sql.SQL("alter {} set default {}" if keep else "alter {} drop default").format(
            sql.Identifier(name), *([sql.Literal(constant)] if keep else [])
        )
        for name, constant in CONSTANTS.items()
    ]
    connection.execute(sql.SQL("alter table pgsched.tasks {}").format(sql.SQL(", ").join(columns)))


@dataclass
class Databases:
    """Makes the databases of one run."""

    server_dsn: str
    log: Path
    sizes: Sizes
    _made: set[str] = field(default_factory=set)

    def prepare(self, filling: str) -> None:
        """Create the template with this filling, unless it exists."""
        if filling in self._made or filling == "none":
            return
        self._recreate(_template(filling), "template0")
        dsn = make_conninfo(self.server_dsn, dbname=_template(filling))
        migrate(dsn)
        statement = FILLINGS[filling].format(**vars(self.sizes))
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("set session_replication_role = replica")
            connection.execute("set synchronous_commit = off")
            keep_constants(connection, keep=True)
            for one in filter(str.strip, statement.split(";")):
                connection.execute(one.encode())
            keep_constants(connection, keep=False)
            connection.execute(load_statement("forget_database").encode())  # else no worker starts in its copies
            connection.execute("vacuum (freeze, analyze)")
        self._made.add(filling)

    def template(self, filling: str) -> str:
        """The DSN of the template itself, for callers that keep it."""
        self.prepare(filling)
        return make_conninfo(self.server_dsn, dbname=_template(filling))

    def fresh(self, filling: str) -> str:
        """The DSN of a new database with this filling, checkpointed."""
        self.prepare(filling)
        self._recreate("bench", "template0" if filling == "none" else _template(filling))
        return make_conninfo(self.server_dsn, dbname="bench")

    def forget(self, filling: str) -> None:
        """Drop a template that is no longer needed, because templates are large."""
        if filling in self._made:
            self._made.discard(filling)
            with psycopg.connect(self.server_dsn, autocommit=True) as connection:
                connection.execute("drop database if exists bench with (force)")
                connection.execute(sql.SQL("drop database {}").format(sql.Identifier(_template(filling))))

    def _recreate(self, name: str, template: str) -> None:
        with psycopg.connect(self.server_dsn, autocommit=True) as connection:
            database = sql.Identifier(name)
            connection.execute(sql.SQL("drop database if exists {} with (force)").format(database))
            connection.execute(
                sql.SQL("create database {} template {} strategy file_copy").format(database, sql.Identifier(template))
            )
            connection.execute("checkpoint")


def _template(filling: str) -> str:
    return f"bench_{filling}"
