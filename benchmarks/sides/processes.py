"""pgsched with several processes: handlers that use 1 ms of CPU each, on the event loop."""

from __future__ import annotations

from time import perf_counter, sleep

import psycopg

from benchmarks.sides.measure import arguments, report
from benchmarks.sides.worker_process import wait_until, worker


def run(dsn: str, tasks: int, processes: int) -> dict[str, float]:
    """One round: the workers run and the queue is paused; the time counts from its resumption to the last commit."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("insert into pgsched.queues (name, paused) values ('default', true)")
        with worker(dsn, concurrency=20, processes=processes):
            connection.execute(
                "insert into pgsched.tasks (task_type) select 'burn' from generate_series(1, %s)", (tasks,)
            )
            connection.execute("vacuum analyze")
            connection.execute("checkpoint")
            sleep(1)
            begun = perf_counter()
            connection.execute("update pgsched.queues set paused = false where name = 'default'")
            wait_until(connection, "select count(*) = %s from pgsched.executions where status = 'completed'", tasks)
            seconds = perf_counter() - begun
    return {"per_second": tasks / seconds, "seconds": seconds}


if __name__ == "__main__":
    _given = arguments()
    report(run(_given["dsn"], _given["tasks"], _given["processes"]))
