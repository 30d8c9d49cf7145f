"""How long it takes until many new cron rows are inserted and all of them have their first tick."""

from __future__ import annotations

from time import perf_counter

import psycopg

from benchmarks.sides.measure import arguments, report
from benchmarks.sides.worker_process import wait_until, worker

# Once a year: none of them is due while the others are planned.
INSERT = """
    insert into pgsched.tasks (task_type, cron_expression, timezone)
    select 'noop', '30 4 29 2 *', (array['UTC', 'Europe/Berlin', 'America/New_York', 'Asia/Kolkata'])[1 + n %% 4]
    from generate_series(1, %s) n
    """


def run(dsn: str, schedules: int) -> dict[str, float]:
    """One round."""
    with psycopg.connect(dsn, autocommit=True) as connection, worker(dsn):
        begun = perf_counter()
        connection.execute(INSERT, (schedules,))
        wait_until(connection, "select not exists (select from pgsched.tasks where scheduled_for is null)")
        seconds = perf_counter() - begun
    return {"seconds": seconds}


if __name__ == "__main__":
    _given = arguments()
    report(run(_given["dsn"], _given["schedules"]))
