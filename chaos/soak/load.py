"""What the soak inserts: a mixture of every kind, with so many waiting at a time."""

from __future__ import annotations

import json
import time
from typing import Any

import psycopg

WAITING = 600
BATCH = 200
SCHEDULES = 20
"""One tick a second each."""
WAITS = "select count(*) from pgsched.tasks where next_run_at is not null and enabled and schedule_type = 'one_time'"
LEFT = """
    select count(*) from pgsched.tasks where status in ('pending', 'running', 'blocked') and schedule_type = 'one_time'
"""
GROUP = json.dumps({"steps": [{"task_type": "plain", "name": f"step {n}", "payload": {"number": n}} for n in range(4)]})
INSERT = """
    with numbers as (select n, n %% 100 as kind from generate_series(%(first)s::bigint, %(last)s::bigint) n),
    made as (
      insert into pgsched.tasks (task_type, queue, payload, concurrency_key)
      select
        case when kind < 50 then 'work' when kind < 70 then 'plain' when kind < 80 then 'entry'
          when kind < 90 then 'work'
          when kind < 93 then 'steps' when kind < 95 then 'uncertain' else 'work' end,
        case when kind between 80 and 89 then 'limited' else 'work' end,
        case when kind in (93, 94) then '{}' else jsonb_build_object('number', n) end,
        case when kind between 80 and 89 then 'key ' || n %% 7 end
      from numbers order by n
      returning id, task_type
    ),
    upstream as (select id, row_number() over (order by id) as place from made where task_type = 'plain')
    select count(*) as inserted, (select array_agg(id) from upstream where place <= %(dependents)s) as ids from made
"""
DEPENDENTS = """
    insert into pgsched.tasks (task_type, queue, payload, depends_on, on_dependency_dead)
    select 'work', 'work', '{"number": 0}', array[id], 'run' from unnest(%s::bigint[]) id
"""
PREPARE = f"""
    create table public.soak as select n as place, 0::bigint as total from generate_series(0, 15) n;
    update pgsched.settings set retention = '20 seconds', allow_short = true;
    select pgsched.limit_queue('limited', concurrency => 40, concurrency_per_key => 10);
    select pgsched.set_queue_events('work', true);
    insert into pgsched.tasks (task_type, queue, task_name, repeat_interval)
    select 'tick', 'work', 'schedule ' || n, interval '1 second' from generate_series(1, {SCHEDULES}) n
"""


class Load:
    """The producer of the soak."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        self.inserted = 0

    def insert_until(self, number: int) -> None:
        """Keep tasks waiting until as many have been inserted, of whatever kind."""
        while self.inserted < number:
            row = self._connection.execute(WAITS).fetchone()
            assert row is not None
            if _value(row) > WAITING - BATCH:
                time.sleep(0.01)
                continue
            self._insert(min(BATCH, number - self.inserted))

    def wait_until_done(self, *, timeout: float) -> bool:
        """Wait until nothing is left to run; false when that took too long."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            row = self._connection.execute(LEFT).fetchone()
            if row is not None and not _value(row):
                return True
            time.sleep(0.1)
        return False

    def _insert(self, number: int) -> None:
        with self._connection.transaction():
            dependents = number // 20
            values = {"first": self.inserted, "last": self.inserted + number - 1, "dependents": dependents}
            row: Any = self._connection.execute(INSERT, values).fetchone()
            ids = (row["ids"] if isinstance(row, dict) else row[1]) or []
            self._connection.execute(DEPENDENTS, (ids,))
            if number == BATCH:
                self._connection.execute(
                    "insert into pgsched.tasks (task_type, queue, payload) values ('pgsched.group', 'work', %s)",
                    (GROUP,),
                )
        self.inserted += number


def _value(row: Any) -> int:
    return int(next(iter(row.values())) if isinstance(row, dict) else row[0])
