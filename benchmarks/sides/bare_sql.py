"""The limit: the worker's own statements, lock and finish in one transaction, on two connections, without a worker.

Two processes send them as fast as they are answered: no handlers, no rows decoded but ids and fencing tokens.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import struct
from multiprocessing.synchronize import Barrier
from time import perf_counter
from typing import Any

import psycopg

from benchmarks.sides.claimant import PROBES, claimant
from benchmarks.sides.measure import arguments, report, settle
from pgsched.db.sql_files import load_statement
from pgsched.db.worker.claims import probe_parameters
from pgsched.db.worker.locking import finish_locked
from pgsched.domain.attempt import Finish

CONNECTIONS = 2


def work(dsn: str, batch: int, ready: Barrier, ended: Any) -> None:
    """Lock and finish until nothing is left; the time of that is put into ``ended``."""
    identity = claimant(batch)
    lock = load_statement("lock_tasks")
    locking = {**probe_parameters(identity, PROBES, batch, []), "bytes": 2**31 - 1, "locked_types": ["noop"]}
    locking["set_aside"] = []  # adapted as a worker's session does
    one = Finish(id=0, fencing_token=0, next_status="completed", queue="default", plain=True, execution="completed")
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(load_statement("tune_session"))
        ready.wait()
        while True:
            with connection.transaction():
                rows = connection.execute(lock, locking, prepare=True, binary=True).pgresult
                if rows is None or not rows.ntuples:
                    break
                tokens = _numbers(rows, b"fencing_token")
                ends = [
                    one._replace(id=number, fencing_token=token)
                    for number, token in zip(_numbers(rows, b"id"), tokens, strict=True)
                ]
                statement, given = finish_locked(identity.id, ends, 0.0001)
                plain = {
                    name: list(value) if isinstance(value, (list, tuple)) else value for name, value in given.items()
                }
                connection.execute(statement, plain, prepare=True, binary=True)
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
