"""Logical replication of tasks and history to a reporting database."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping

import psycopg

from chaos.faults.copied import run_program
from chaos.faults.model import Fault
from chaos.faults.own_server import FAST, IMMEDIATE, OwnServer
from chaos.faults.trial import Trial
from tests.support.waiting import wait_until

# As docs/copies.md has it: partitions arrive as rows of the table, whatever partitions the subscriber has.
PUBLISH = (
    "create publication reporting for table pgsched.tasks, pgsched.executions with (publish_via_partition_root = true)"
)
SUMS: Mapping[str, str] = {
    "pgsched.tasks": "select count(*), md5(string_agg(md5(t::text), '' order by id)) from pgsched.tasks t",
    "pgsched.executions": """
        select count(*), md5(string_agg(md5(e::text), '' order by task_id, fencing_token, started_at))
        from pgsched.executions e""",
}


class LogicalReplication(Fault):
    """A subscriber that is made under load, and restarted under load, has every row in the end."""

    name = "copy-logical"
    does = (
        "Tasks and executions are replicated logically to a reporting database, which is made under load, falls behind "
        "while it is down, and catches up."
    )
    injects = "outages"
    own_server = True
    in_tests = False
    server_settings: Mapping[str, str] = {"wal_level": "logical", "max_wal_senders": "8"}

    def __init__(self) -> None:
        self._subscriber: OwnServer | None = None
        self._rows: dict[str, int] = {}

    @property
    def subscriber(self) -> OwnServer:
        """The server of the reporting database."""
        assert self._subscriber is not None
        return self._subscriber

    def inject(self, trial: Trial, chance: random.Random) -> int:
        self._subscriber = OwnServer({"max_logical_replication_workers": "8"})
        schema = trial.folder / "schema.sql"
        run_program("pg_dump", "--schema-only", "--schema=pgsched", "--file", str(schema), "--dbname", trial.dsn)
        run_program("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", str(schema), "-d", self.subscriber.dsn)
        with trial.books() as books:
            books.execute(PUBLISH)
        self._subscribe(trial)
        outages = 1 if trial.size.short else 3
        for _ in range(outages):
            trial.pause(0.5 if trial.size.short else chance.uniform(2.0, 4.0))
            self.subscriber.end(chance.choice((FAST, IMMEDIATE)))
            trial.pause(0.5 if trial.size.short else chance.uniform(1.0, 3.0))
            with trial.books() as books:  # partitions are made, and workers delete, as on any day
                books.execute("select pgsched.make_partitions(9)")
            self.subscriber.start()
        return outages

    def _subscribe(self, trial: Trial) -> None:
        assert trial.server is not None
        source = f"host={trial.server.data} port=5432 user=postgres dbname=postgres"
        with psycopg.connect(self.subscriber.dsn, autocommit=True) as reporting:
            reporting.execute(f"create subscription reporting connection '{source}' publication reporting".encode())

    def tell(self) -> Iterable[str]:
        rows = " and ".join(f"{count:,} of {table}" for table, count in self._rows.items())
        yield f"{rows} were equal in the end, row by row"

    def check(self, trial: Trial) -> Iterable[str]:
        with trial.books() as books, psycopg.connect(self.subscriber.dsn, autocommit=True) as reporting:
            row = books.execute("select pg_current_wal_lsn() as lsn").fetchone()
            assert row is not None

            def caught_up() -> bool:
                behind = books.execute(
                    "select from pg_stat_replication where application_name = 'reporting' and replay_lsn >= %s::pg_lsn",
                    (row["lsn"],),
                )
                copied = reporting.execute("select from pg_subscription_rel where srsubstate <> 'r'").fetchall()
                return bool(behind.fetchall()) and not copied

            try:
                wait_until(caught_up, timeout=60, message="the reporting database has caught up")
            except AssertionError as error:
                yield str(error)
                return
            for table, statement in SUMS.items():
                here = tuple(books.execute(statement).fetchone().values())  # type: ignore[arg-type, union-attr]
                there = reporting.execute(statement.encode()).fetchone()
                self._rows[table] = here[0]
                if here != there:
                    yield f"{table} differs: {here} here, {there} in the reporting database"

    def tear_down(self, trial: Trial) -> None:
        if self._subscriber is not None:
            self._subscriber.close()
