"""How late tasks start that are due within the next seconds, with a worker that has nothing else to do."""

from __future__ import annotations

from statistics import median

import psycopg

from benchmarks.sides.measure import arguments, report
from benchmarks.sides.worker_process import wait_until, worker

FIRST_SECONDS, SPREAD_SECONDS = 0.5, 5.0
"""The first is due after so long, the last so much later: a whole poll interval, so that its phase does not matter."""


def run(dsn: str, tasks: int) -> dict[str, float]:
    """One round: all are inserted in one go."""
    with psycopg.connect(dsn, autocommit=True) as connection, worker(dsn):
        connection.execute(
            "insert into pgsched.tasks (task_type, scheduled_for)"
            " select 'noop', now() + (%s + %s * (n - random()) / %s) * interval '1 second'"
            " from generate_series(1, %s) n",
            (FIRST_SECONDS, SPREAD_SECONDS, tasks, tasks),
        )
        wait_until(connection, "select count(*) = %s from pgsched.executions", tasks, longest=60)
        late = [
            float(ms)
            for (ms,) in connection.execute(
                "select extract(epoch from started_at - scheduled_for)::float8 * 1000 from pgsched.executions"
            )
        ]
    return {"p50_ms": median(late), "max_ms": max(late)}


if __name__ == "__main__":
    _given = arguments()
    report(run(_given["dsn"], _given["tasks"]))
