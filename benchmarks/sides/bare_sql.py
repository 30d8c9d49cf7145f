"""The limit: the worker's own two statements, claim and finish, on two connections, without a worker around them.

Two processes send them as fast as they are answered: no handlers, no rows decoded but ids and fencing tokens.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import struct
from multiprocessing.synchronize import Barrier
from time import perf_counter
from typing import Any, cast

import psycopg

from benchmarks.sides.claimant import PROBES, claimant
from benchmarks.sides.measure import arguments, report, settle
from pgsched.db.session import Session
from pgsched.db.sql_files import load_statement
from pgsched.db.worker import claims, completions
from pgsched.db.worker.leases import Identity
from pgsched.domain.attempt import Finish

CONNECTIONS = 2


class Recorder:
    """Takes the place of a session: keeps what the worker's code would send."""

    async def execute(self, statement: Any, parameters: dict[str, Any]) -> Recorder:
        self.sent = (statement, parameters)
        return self

    async def fetchall(self) -> list[Any]:
        return []

    async def fetchone(self) -> None:
        return None


def statements(batch: int) -> tuple[tuple[Any, dict[str, Any]], tuple[Any, dict[str, Any]]]:
    """The worker's claim of so many rows, and its finish of one, as (statement, parameters)."""
    identity = claimant(batch)
    claim, finish = Recorder(), Recorder()
    asyncio.run(_record(claim, finish, identity, batch))
    return claim.sent, finish.sent


async def _record(claim: Recorder, finish: Recorder, identity: Identity, batch: int) -> None:
    one = Finish(id=0, fencing_token=0, next_status="completed", plain=True, execution="completed")
    await claims.claim(cast(Session, claim), identity, PROBES, batch)
    await completions.write(cast(Session, finish), identity.id, [one], [], [], 0.0001)


def work(dsn: str, batch: int, ready: Barrier, ended: Any) -> None:
    """Claim and finish until nothing is left; the time of that is put into ``ended``."""
    (claim, claiming), (finish, finishing) = statements(batch)
    claiming["set_aside"] = []
    one_row = {name: list(value) for name, value in finishing.items() if isinstance(value, (list, tuple))}
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(load_statement("tune_session"))
        ready.wait()
        while True:
            rows = connection.execute(claim, claiming, prepare=True, binary=True).pgresult
            if rows is None or not rows.ntuples:
                break
            each = {name: value * rows.ntuples for name, value in one_row.items()}
            mine = {"ids": _numbers(rows, b"id"), "tokens": _numbers(rows, b"fencing_token")}
            connection.execute(finish, finishing | each | mine, prepare=True, binary=True)
        with ended.get_lock():
            ended.value = max(ended.value, perf_counter())  # one clock for all processes


def _numbers(rows: Any, column: bytes) -> list[int]:
    place = next(place for place in range(rows.nfields) if rows.fname(place) == column)
    read = struct.Struct("!q").unpack
    return [read(rows.get_value(row, place))[0] for row in range(rows.ntuples)]


def run(dsn: str, tasks: int, batch: int) -> dict[str, float]:
    """One round."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("insert into pgsched.tasks (task_type) select 'noop' from generate_series(1, %s)", (tasks,))
    asyncio.run(settle(dsn))
    context = multiprocessing.get_context("spawn")
    ready = context.Barrier(CONNECTIONS + 1)
    ended = context.Value("d", 0.0)
    workers = [context.Process(target=work, args=(dsn, batch, ready, ended)) for _ in range(CONNECTIONS)]
    for one in workers:
        one.start()
    ready.wait(60)
    begun = perf_counter()
    for one in workers:
        one.join()
    seconds = ended.value - begun
    with psycopg.connect(dsn) as connection:
        row = connection.execute("select count(*) from pgsched.executions").fetchone()
    if row != (tasks,) or any(one.exitcode for one in workers):
        raise RuntimeError(f"{row} of {tasks} tasks were finished")
    return {"per_second": tasks / seconds, "seconds": seconds}


if __name__ == "__main__":
    _given = arguments()
    report(run(_given["dsn"], _given["tasks"], _given["batch"]))
