"""Procrastinate, started by its command line, with the periodic task that its guide gives for stalled jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg

from chaos.faults.model import Shape, Size
from chaos.faults.system import Command
from chaos.peers.contender import LEASE_SECONDS, Contender

if TYPE_CHECKING:
    import procrastinate

STEADY = "steady"
WAITING = "select count(*) from procrastinate_jobs where status = 'todo' and task_name = 'steady'"


class Procrastinate(Contender):
    name = "Procrastinate"
    packages = ("procrastinate",)
    settings = (
        "`procrastinate worker --concurrency 10` on psycopg, `update_heartbeat_interval` 1,"
        f" `stalled_worker_timeout` {LEASE_SECONDS:g}; its `retry_stalled_jobs`, every second,"
        f" `seconds_since_heartbeat` {LEASE_SECONDS:g}"
    )
    ready = "Starting worker on"
    completions_query = """
        select floor(extract(epoch from at) * 10)::bigint as tenth, count(*) as n
        from procrastinate_events e join procrastinate_jobs j on j.id = e.job_id
        where e.type = 'succeeded' and e.at >= to_timestamp(%(since)s) and j.task_name = 'steady' group by 1
        """
    unfinished_query = """
        select count(*) as n from procrastinate_jobs where status in ('todo', 'doing') and task_name = 'steady'
        """
    completed_query = """
        select e.job_id as id, count(*) as n
        from procrastinate_events e join procrastinate_jobs j on j.id = e.job_id
        where e.type = 'succeeded' and j.task_name = 'steady' group by 1
        """

    def prepare(self, dsn: str) -> None:
        with _app(dsn).open() as app:
            app.schema_manager.apply_schema()

    def worker(self, shape: Shape, size: Size) -> Command:
        app = "--app=chaos.peers.procrastinate_app.app"
        return Command(module="procrastinate", arguments=(app, "worker", "--concurrency", str(shape.concurrency)))

    def inserter(self, dsn: str) -> _Inserter:
        return _Inserter(dsn)


def _app(dsn: str) -> procrastinate.App:
    import procrastinate

    return procrastinate.App(connector=procrastinate.SyncPsycopgConnector(conninfo=dsn, min_size=1, timeout=3))


class _Inserter:
    def __init__(self, dsn: str) -> None:
        self._connection = psycopg.connect(dsn, autocommit=True, connect_timeout=3)
        self._app = _app(dsn).open()
        self._deferrer = self._app.configure_task(STEADY)

    def waiting(self) -> int:
        row = self._connection.execute(WAITING).fetchone()
        return int(row[0]) if row else 0

    def insert(self, count: int) -> list[int]:
        return list(self._deferrer.batch_defer(*[{}] * count))

    def close(self) -> None:
        self._connection.close()
        self._app.close()
