"""pgsched."""

from __future__ import annotations

import psycopg

from chaos.faults.model import Shape, Size
from chaos.faults.system import Command
from chaos.peers.contender import LEASE_SECONDS, Contender
from pgsched.db.migrations.runner import migrate

INSERT = """
insert into pgsched.tasks (task_type, max_attempts)
select 'steady', 1000 from generate_series(1, %s)
returning id
"""
WAITING = "select count(*) from pgsched.tasks where next_run_at is not null"


class Ours(Contender):
    name = "pgsched"
    packages = ()
    settings = f"`pgsched worker --concurrency 10 --lease {LEASE_SECONDS:g}`; tasks with `max_attempts` 1000"
    ready = "worker_started"
    completions_query = """
        select floor(extract(epoch from finished_at) * 10)::bigint as tenth, count(*) as n
        from pgsched.executions where status = 'completed' and finished_at >= to_timestamp(%(since)s) group by 1
        """
    unfinished_query = "select count(*) as n from pgsched.tasks where next_run_at is not null"
    completed_query = """
        select task_id as id, count(*) as n from pgsched.executions where status = 'completed' group by 1
        """

    def prepare(self, dsn: str) -> None:
        migrate(dsn)

    def worker(self, shape: Shape, size: Size) -> Command:
        options = ("--concurrency", str(shape.concurrency), "--lease", str(LEASE_SECONDS))
        return Command(module="pgsched", arguments=("worker", "--app", "chaos.peers.ours_app:app", *options))

    def inserter(self, dsn: str) -> _Inserter:
        return _Inserter(dsn)


class _Inserter:
    def __init__(self, dsn: str) -> None:
        self._connection = psycopg.connect(dsn, autocommit=True, connect_timeout=3)

    def waiting(self) -> int:
        row = self._connection.execute(WAITING).fetchone()
        return int(row[0]) if row else 0

    def insert(self, count: int) -> list[int]:
        return [int(row[0]) for row in self._connection.execute(INSERT, (count,))]

    def close(self) -> None:
        self._connection.close()
