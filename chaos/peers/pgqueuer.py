"""PgQueuer, as its guide to deployment says: the worker of ``pgq run`` under a supervisor that starts it again.

``pgq run`` is called as the function that it is: with the typer that is pinned here, the command of PgQueuer 1.6 ends
in its own set-up of logging.

What it takes back from dead workers, it takes by their heartbeats, without being asked to. Its table of jobs has what
waits and runs; a job that ends moves to its log.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import psycopg

from chaos.faults.model import Shape, Size
from chaos.faults.system import Command
from chaos.peers.contender import LEASE_SECONDS, Contender

if TYPE_CHECKING:
    from pgqueuer.queries import SyncQueries

BATCH = 5
"""Jobs it fetches at once. Its limit to running jobs must be twice as large at least."""


class Pgqueuer(Contender):
    name = "PgQueuer"
    packages = ("pgqueuer", "asyncpg", "uvloop")
    settings = (
        "`pgqueuer.run`, the worker of `pgq run`, on asyncpg and uvloop: `max_concurrent_tasks` 10,"
        f" `batch_size` {BATCH}, `heartbeat_timeout` {LEASE_SECONDS:g}, `dequeue_timeout` {LEASE_SECONDS:g},"
        " `shutdown_on_listener_failure`"
    )
    completions_query = """
        select floor(extract(epoch from created) * 10)::bigint as tenth, count(*) as n
        from pgqueuer_log where status = 'successful' and created >= to_timestamp(%(since)s) group by 1
        """
    unfinished_query = "select count(*) as n from pgqueuer"
    completed_query = """
        select job_id as id, count(*) as n from pgqueuer_log where status = 'successful' group by 1
        """

    def prepare(self, dsn: str) -> None:
        from pgqueuer import PsycopgDriver, Queries

        async def install() -> None:
            async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
                await Queries(PsycopgDriver(connection)).install()

        asyncio.run(install())

    def worker(self, shape: Shape, size: Size) -> Command:
        given = (str(shape.concurrency), str(BATCH), str(LEASE_SECONDS))
        return Command(module="chaos.peers.pgqueuer_app", arguments=given)

    def inserter(self, dsn: str) -> _Inserter:
        return _Inserter(dsn)


class _Inserter:
    def __init__(self, dsn: str) -> None:
        from pgqueuer.db import SyncPsycopgDriver
        from pgqueuer.queries import SyncQueries

        self._connection = psycopg.connect(dsn, autocommit=True, connect_timeout=3)
        self._queries: SyncQueries = SyncQueries(SyncPsycopgDriver(self._connection))

    def waiting(self) -> int:
        row = self._connection.execute("select count(*) from pgqueuer").fetchone()
        return int(row[0]) if row else 0

    def insert(self, count: int) -> list[int]:
        return [int(one) for one in self._queries.enqueue(["steady"] * count, [None] * count, [0] * count)]

    def close(self) -> None:
        self._connection.close()
