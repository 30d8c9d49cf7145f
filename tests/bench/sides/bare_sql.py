"""The limit: the worker's own two statements, claim and finish, on two connections, without a worker around them.

Two processes send them as fast as they are answered: no handlers, no rows decoded but ids and fencing tokens.
"""

from __future__ import annotations

import multiprocessing
import struct
from multiprocessing.synchronize import Barrier
from time import perf_counter
from typing import Any
from uuid import uuid4

import psycopg

from pgsched.db.statements import load_statement
from tests.bench.sides.measure import arguments, report

CONNECTIONS = 2


def work(dsn: str, batch: int, ready: Barrier) -> None:
    """Claim and finish until nothing is left."""
    claim, finish = load_statement("claim_tasks"), load_statement("finish_completed")
    worker = uuid4()
    claiming = {
        "queues": ["default"] * 10,
        "priorities": list(range(10, 0, -1)),
        "floor_ats": [None] * 10,
        "floor_ids": [None] * 10,
        "task_types": ["noop"],
        "limit": batch,
        "worker": worker,
        "lease": 30.0,
    }
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(load_statement("tune_session"))
        ready.wait()
        while True:
            rows = connection.execute(claim, claiming, prepare=True, binary=True).pgresult
            if rows is None or not rows.ntuples:
                return
            ids, tokens = _numbers(rows, b"id"), _numbers(rows, b"fencing_token")
            nothing = [0.0001] * len(ids)
            finishing = {
                "worker": worker,
                "ids": ids,
                "tokens": tokens,
                "started_ago": nothing,
                "seconds": nothing,
                "results": [None] * len(ids),
            }
            connection.execute(finish, finishing, prepare=True, binary=True)


def _numbers(rows: Any, column: bytes) -> list[int]:
    place, read = rows.fnumber(column), struct.Struct("!q").unpack
    return [read(rows.get_value(row, place))[0] for row in range(rows.ntuples)]


def run(dsn: str, tasks: int, batch: int) -> dict[str, float]:
    """One round."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("insert into pgsched.tasks (task_type) select 'noop' from generate_series(1, %s)", (tasks,))
        connection.execute("vacuum analyze")
        connection.execute("checkpoint")
    context = multiprocessing.get_context("spawn")
    ready = context.Barrier(CONNECTIONS + 1)
    workers = [context.Process(target=work, args=(dsn, batch, ready)) for _ in range(CONNECTIONS)]
    for one in workers:
        one.start()
    ready.wait()
    begun = perf_counter()
    for one in workers:
        one.join()
    seconds = perf_counter() - begun
    with psycopg.connect(dsn) as connection:
        row = connection.execute("select count(*) from pgsched.executions").fetchone()
    if row != (tasks,) or any(one.exitcode for one in workers):
        raise RuntimeError(f"{row} of {tasks} tasks were finished")
    return {"per_second": tasks / seconds, "seconds": seconds}


if __name__ == "__main__":
    _given = arguments()
    report(run(_given["dsn"], _given["tasks"], _given["batch"]))
