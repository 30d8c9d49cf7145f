"""The system that is put on trial: how its workers and its producer are started, and what its database says."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import psycopg

from chaos.faults.model import Shape, Size, Verdict
from chaos.invariants import ALWAYS, AT_THE_END, EFFECTS, SCHEDULES, broken_rules, count_duplicates, count_lost
from chaos.load.app import PLACES
from pgsched.db.migrations.runner import migrate
from tests.support.tables import database

Connection = psycopg.Connection[dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Command:
    """``python -m module arguments``."""

    module: str
    arguments: tuple[str, ...]


class System(Protocol):
    """What a trial must know of a queue."""

    @property
    def name(self) -> str:
        """Its name in the table."""

    @property
    def ready(self) -> str:
        """What a worker's output matches once it works."""

    def prepare(self, dsn: str) -> None:
        """Make its tables, and those that its handlers write to, in an empty database."""

    def worker(self, shape: Shape, size: Size) -> Command:
        """How to start a worker; the DSN is in the environment variable PGSCHED_DSN, the folder is its own."""

    def producer(self, shape: Shape) -> Command:
        """How to start the producer: it writes the ids of inserted tasks to the file ``acknowledged``."""

    def completions(self, books: Connection, since: float) -> Mapping[int, int]:
        """How many tasks of the steady load were completed in each tenth of a second (time x 10) since then."""

    def unfinished(self, books: Connection) -> int:
        """How many tasks are still to run, without schedules that have no end."""

    def verdict(self, books: Connection, acknowledged: Mapping[int, str]) -> Verdict:
        """Judge the end. ``acknowledged`` has the ids of inserted tasks and the status each must have."""


@contextlib.contextmanager
def books_of(dsn: str) -> Any:
    """A connection in autocommit mode that is not in anybody's way."""
    with database(dsn) as connection:
        yield connection


class Pgsched:
    """pgsched itself."""

    name = "pgsched"
    ready = "worker_started"

    def prepare(self, dsn: str) -> None:
        migrate(dsn)
        with database(dsn) as books:
            # No keys: what is written twice must show, not fail.
            books.execute("create table effects (task_id bigint not null, scheduled_for timestamptz, token bigint)")
            books.execute("create table ledger (place int primary key, total bigint not null) with (fillfactor = 10)")
            books.execute("insert into ledger select n, 0 from generate_series(0, %s - 1) n", (PLACES,))

    def worker(self, shape: Shape, size: Size) -> Command:
        if shape.language == "typescript":
            chosen = {
                "concurrency": shape.concurrency,
                "transactions": shape.transactions,
                "lease": size.lease,
                "pollInterval": shape.poll_interval,
                "shutdownTimeout": shape.shutdown_timeout,
            }
            return Command(module="chaos.load.typescript", arguments=(json.dumps(chosen),))
        options = {
            "--app": shape.app,
            "--concurrency": shape.concurrency,
            "--transactions": shape.transactions,
            "--lease": size.lease,
            "--poll-interval": shape.poll_interval,
            "--shutdown-timeout": shape.shutdown_timeout,
        }
        given = [str(part) for option in options.items() for part in option]
        return Command(module="pgsched", arguments=("worker", *given, *shape.options))

    def producer(self, shape: Shape) -> Command:
        return Command(module="chaos.load.producer", arguments=(str(shape.waiting),))

    def completions(self, books: Connection, since: float) -> Mapping[int, int]:
        rows = books.execute(
            """
            select floor(extract(epoch from finished_at) * 10)::bigint as tenth, count(*) as n
            from pgsched.executions
            where status = 'completed' and task_type in ('steady', 'steady_plain', 'entry')
              and finished_at >= to_timestamp(%s)
            group by 1
            """,
            (since,),
        )
        return {row["tenth"]: row["n"] for row in rows}

    def unfinished(self, books: Connection) -> int:
        row = books.execute(
            "select count(*) as n from pgsched.tasks where next_run_at is not null and cron_expression is null"
        ).fetchone()
        assert row is not None
        return int(row["n"])

    def verdict(self, books: Connection, acknowledged: Mapping[int, str]) -> Verdict:
        return verdict_of(books, ALWAYS | AT_THE_END | SCHEDULES | EFFECTS, acknowledged)


def verdict_of(books: Connection, rules: Mapping[str, str], acknowledged: Mapping[int, str]) -> Verdict:
    """Judge the end by these rules."""
    return Verdict(
        lost=count_lost(books, acknowledged),
        duplicated=count_duplicates(books),
        broken=_described(broken_rules(books, rules, acknowledged)),
    )


def _described(broken: Mapping[str, tuple[int, Iterable[Mapping[str, Any]]]]) -> list[str]:
    return [
        f"broken: {rule}: {count} rows, such as {[tuple(row.values()) for row in rows]}"
        for rule, (count, rows) in broken.items()
    ]
