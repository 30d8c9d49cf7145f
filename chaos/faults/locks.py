"""Locks that somebody else holds for longer than a lease."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable
from datetime import datetime
from typing import LiteralString

import psycopg
from psycopg import sql

from chaos.faults.model import RECOVERY_SECONDS, Fault
from chaos.faults.system import Connection
from chaos.faults.trial import Trial

TABLES = """
    select c.relname::text as name from pg_class c
    where c.relnamespace = 'pgsched'::regnamespace and c.relkind in ('r', 'p')
      and (not c.relispartition or c.relname ~ ('(_default|_' || to_char(now() at time zone 'UTC', 'YYYYMMDD') || ')$'))
    order by c.relname
"""
"""Read from the catalog, so that a new table is covered at once; of partitions those of today and the default ones."""
ROWS: dict[str, LiteralString] = {
    "due rows": "select from pgsched.tasks where next_run_at <= now() order by priority desc, next_run_at limit 200"
    " for update",
    "running rows": "select from pgsched.tasks where status = 'running' for update",
    "rows of schedules": "select from pgsched.tasks where schedule_type <> 'one_time' for update",
    "rows of workers": "select from pgsched.workers for update",
    "rows of queues": "select from pgsched.queues for update",
    "the row of the watchdog": "select from pgsched.watchdog for update",
    "rows of settings": "select from pgsched.settings for update",
    "the ledger's rows": "select from public.ledger for update",
}
"""Rows that everybody wants."""
LOCKED_SECONDS = 10.0
"""How long to wait for a lock that is to be held: a worker's statement gives way after its timeout."""
DONE = "select from pgsched.executions where status = 'completed' and finished_at > %s limit 1"


class TableLocks(Fault):
    """The check fails where a lock on the table of tasks did not stop the work: then it was no lock, or the trial does
    not measure what it says."""

    name = "table-locks"
    does = (
        "`lock table … in access exclusive mode` for longer than a lease on each table of pgsched, one after the other "
        "(the list is read from the catalog), and `select … for update` on due, running and scheduled rows, on those "
        "of workers, queues, the watchdog and the settings."
    )
    injects = "locks"

    def __init__(self) -> None:
        self._recoveries: dict[str, float] = {}
        self._stopped = False

    def inject(self, trial: Trial, chance: random.Random) -> int:
        with trial.books() as books:
            tables = [str(row["name"]) for row in books.execute(TABLES)]
        locks = [(name, sql.SQL("lock table pgsched.{}").format(sql.Identifier(name))) for name in tables]
        locks += [(name, sql.SQL(statement)) for name, statement in ROWS.items()]  # type: ignore[misc]
        chance.shuffle(locks)
        if trial.size.short:  # the table that everything needs, for a little more than a lease
            locks = [one for one in locks if one[0] == "tasks"]
        most = 1.3 if trial.size.short else 2.4
        for name, statement in locks:
            self._hold(trial, name, statement, chance.uniform(1.2, most) * trial.size.lease)
        return len(locks)

    def check(self, trial: Trial) -> Iterable[str]:
        if not self._stopped:
            yield "work went on while the table of tasks was locked: the fault did not strike"

    def tell(self) -> Iterable[str]:
        slowest = max(self._recoveries, key=lambda name: self._recoveries[name])
        yield (
            f"{len(self._recoveries)} locks, each for 1.2 to 2.4 leases; work went on at most "
            f"{self._recoveries[slowest]:.1f} s after the lock had ended ({slowest})."
        )

    def _hold(self, trial: Trial, name: str, statement: sql.Composable, seconds: float) -> None:
        with psycopg.connect(trial.dsn, application_name="somebody") as holder, trial.books() as books:
            holder.execute(f"set lock_timeout = '{LOCKED_SECONDS:g}s'")  # type: ignore[arg-type]
            holder.execute(statement)
            locked = _now(books)
            trial.pause(seconds)
            if name == "tasks":  # no outcome can have been committed since
                self._stopped = books.execute(DONE, (locked,)).fetchone() is None
            released = _now(books)
            holder.rollback()
            deadline = time.monotonic() + RECOVERY_SECONDS
            while books.execute(DONE, (released,)).fetchone() is None and time.monotonic() < deadline:
                trial.pause(0.02)
            self._recoveries[name] = (_now(books) - released).total_seconds()


def _now(books: Connection) -> datetime:
    row = books.execute("select clock_timestamp() as now").fetchone()
    assert row is not None
    moment: datetime = row["now"]
    return moment
