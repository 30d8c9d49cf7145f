"""What the server's sessions do during a measurement: samples of their wait events, and statements."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field

import psycopg

SAMPLE_SECONDS = 0.02
PROCESSOR = "on a processor"
SESSIONS = """
select coalesce(a.wait_event_type || ' ' || a.wait_event, 'on a processor') as what, count(*)
from pg_stat_activity a
where a.state = 'active' and a.backend_type = 'client backend'
  and a.application_name like 'pgsched %' and a.application_name <> 'pgsched bench'
group by 1
"""
LIBRARY = "pg_stat_statements"
BEGIN_COUNT = "select pg_stat_statements_reset()"
COUNT = """
select coalesce(sum(s.calls), 0)::bigint from pg_stat_statements s join pg_database d on d.oid = s.dbid
where d.datname = 'bench' and s.query not ilike '%as busy%'
"""


@dataclass
class Waits:
    """Samples of the sessions of workers, between :meth:`start` and :meth:`stop`.

    ``dsn`` leads to a database that has the extension pg_stat_statements, on the server of the measurement.
    """

    dsn: str
    seen: Counter[str] = field(default_factory=Counter)
    samples: int = 0
    statements: int = 0
    """Those of the database ``bench``, without the look whether the queue is drained."""
    _over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to sample."""
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End it. May be called again."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def busiest(self, most: int = 2) -> list[tuple[str, float]]:
        """Return what the most sessions did, and how many of them on average."""
        return [(what, n / self.samples) for what, n in self.seen.most_common(most)] if self.samples else []

    def _sample(self) -> None:
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(BEGIN_COUNT)
            while not self._over.wait(SAMPLE_SECONDS):
                self.seen.update(dict(connection.execute(SESSIONS).fetchall()))
                self.samples += 1
            row = connection.execute(COUNT).fetchone()
        self.statements = int(row[0]) if row else 0
