"""Maintenance of the tables under load: what a DBA or a cron job runs."""

from __future__ import annotations

import contextlib
import random
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from psycopg import errors, sql
from psycopg.conninfo import conninfo_to_dict

from chaos.faults.model import Fault
from chaos.faults.system import Connection
from chaos.faults.trial import Trial
from pgsched.db.embedded.server import EmbeddedServer
from tests.support.servers import fast_folder

TABLES = """
    select c.relname::text as name, c.relkind = 'p' as partitioned, c.relispartition as partition,
      (select o.option_value from pg_options_to_table(c.reloptions) o where o.option_name = 'fillfactor') as fillfactor,
      (select x.relname::text from pg_index i join pg_class x on x.oid = i.indexrelid
       join pg_am m on m.oid = x.relam and m.amname = 'btree'
       where i.indrelid = c.oid and i.indpred is null and i.indexprs is null
       order by i.indisprimary desc, x.relname limit 1) as key,
      (select quote_ident(a.attname) from pg_attribute a
       where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
       order by a.attnum limit 1) as col
    from pg_class c
    where c.relnamespace = 'pgsched'::regnamespace and c.relkind in ('r', 'p')
      and (not c.relispartition or c.relname ~ ('(_default|_' || to_char(now() at time zone 'UTC', 'YYYYMMDD') || ')$'))
    order by c.relname
"""
"""Every table, but of the partitions only those of today and the default ones: the others are empty."""
BUSY = ("tasks", "workers", "executions")


class Command(NamedTuple):
    """A command, and the tables that take it. ``then`` undoes what would otherwise remain."""

    name: str
    text: str
    then: str = ""
    whole: bool = True
    """Partitioned tables take it, too."""
    parts: bool = True
    """Partitions take it, too."""
    needs_key: bool = False


COMMANDS = (
    Command("VACUUM FULL", "vacuum full {table}"),
    Command("VACUUM FREEZE", "vacuum (freeze) {table}"),
    Command("CLUSTER", "cluster {table} using {key}", whole=False, needs_key=True),
    Command("REINDEX", "reindex table {table}"),
    Command("REINDEX CONCURRENTLY", "reindex table concurrently {table}"),
    Command("ANALYZE", "analyze {table}"),
    Command(
        "ADD COLUMN",
        "alter table {table} add column upkeep_note text",
        "alter table {table} drop column upkeep_note",
        parts=False,
    ),
    Command(
        "SET STATISTICS",
        "alter table {table} alter column {col} set statistics 500",
        "alter table {table} alter column {col} set statistics -1",
    ),
    Command("SET FILLFACTOR", "alter table {table} set (fillfactor = 60)", "", whole=False),
    Command(
        "CREATE INDEX CONCURRENTLY",
        "create index concurrently upkeep_index on {table} ({col})",
        "drop index concurrently pgsched.upkeep_index",
        whole=False,
    ),
    Command(
        "CREATE INDEX", "create index upkeep_index on {table} ({col})", "drop index pgsched.upkeep_index", parts=False
    ),
)
LOCKED_OUT = (errors.DeadlockDetected, errors.LockNotAvailable, errors.QueryCanceled)


class Maintenance(Fault):
    """Its check fails where a command has struck no table. Without the retries of workers (`retry_until_success`) the
    deadlocks and cancelled statements that it causes would be tracebacks in their output, which every trial refuses."""

    name = "maintenance"
    does = (
        "VACUUM FULL, VACUUM FREEZE, CLUSTER, REINDEX, REINDEX CONCURRENTLY, ANALYZE, ALTER TABLE (a column is added "
        "and dropped, statistics, fillfactor), CREATE INDEX and CREATE INDEX CONCURRENTLY on every table of pgsched "
        "and on the partitions of today, in a random order."
    )
    injects = "commands"

    def __init__(self) -> None:
        self._done: Counter[str] = Counter()
        self._gave_way = 0
        self._slowest = (0.0, "")

    def inject(self, trial: Trial, chance: random.Random) -> int:
        with trial.books() as books:
            books.execute("set statement_timeout = '60s'")
            todo = self._commands(books.execute(TABLES).fetchall())
            if trial.size.short:  # each command once, on a table where something happens
                busy = [one for one in todo if one[1]["name"] in BUSY]
                chance.shuffle(busy)
                todo = list({command.name: (command, table) for command, table in busy}.values())
            chance.shuffle(todo)
            for command, table in todo:
                began = time.monotonic()
                self._run(books, command, table)
                self._slowest = max(self._slowest, (time.monotonic() - began, f"{command.name} of {table['name']}"))
                trial.pause(0.0 if trial.size.short else chance.uniform(0.0, 0.3))
        return self._done.total()

    def check(self, trial: Trial) -> Iterable[str]:
        for name in sorted({command.name for command in COMMANDS} - set(self._done)):
            yield f"{name} struck no table"

    def tell(self) -> Iterable[str]:
        seconds, slowest = self._slowest
        yield (
            f"{self._done.total()} commands of {len(self._done)} kinds; {self._gave_way} gave way to a deadlock with "
            f"workers and were repeated; the slowest took {seconds:.1f} s ({slowest})."
        )

    def _commands(self, tables: list[dict[str, Any]]) -> list[tuple[Command, dict[str, Any]]]:
        return [
            (command, table)
            for command in COMMANDS
            for table in tables
            if (command.whole or not table["partitioned"])
            and (command.parts or not table["partition"])
            and (table["key"] or not command.needs_key)
        ]

    def _run(self, books: Connection, command: Command, table: dict[str, Any]) -> None:
        names = {
            "table": sql.Identifier("pgsched", table["name"]),
            "key": sql.Identifier(table["key"] or "none"),
            "col": sql.SQL(table["col"] or ""),
        }
        for text in filter(None, (command.text, command.then)):
            statement = sql.SQL(text).format(**names)  # type: ignore[arg-type]
            for _ in range(10):
                try:
                    books.execute(statement)
                    break
                except LOCKED_OUT:
                    self._gave_way += 1
                    if "concurrently" in text:  # it leaves an invalid index behind
                        _drop_invalid(books)
            else:
                raise AssertionError(f"{text} of {table['name']} got no lock in ten attempts")
        if command.name == "SET FILLFACTOR":
            chosen = (
                "reset (fillfactor)" if table["fillfactor"] is None else f"set (fillfactor = {table['fillfactor']})"
            )
            books.execute(sql.SQL("alter table {table} " + chosen).format(**names))  # type: ignore[arg-type]
        self._done[command.name] += 1


def _drop_invalid(books: Connection) -> None:
    rows = books.execute(
        "select c.relname::text as name from pg_index i join pg_class c on c.oid = i.indexrelid"
        " where not i.indisvalid and c.relnamespace = 'pgsched'::regnamespace and c.relkind = 'i'"
        " and (c.relname = 'upkeep_index' or c.relname ~ '_ccnew\\d*$|_ccold\\d*$')"
    ).fetchall()
    for row in rows:
        with contextlib.suppress(errors.UndefinedObject):
            books.execute(sql.SQL("drop index concurrently pgsched.{}").format(sql.Identifier(row["name"])))


REPACK_BINARIES = Path("/usr/lib/postgresql/15/bin")


class Repack(Fault):
    """The check fails where pg_repack has rewritten no table."""

    name = "pg-repack"
    does = (
        "pg_repack rewrites every table of pgsched that has a primary key, and then its indexes, one after the other "
        "(PostgreSQL 15 of Debian)."
    )
    injects = "tables"
    in_tests = False

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._server: EmbeddedServer | None = None
        self._repacked: list[str] = []
        self._refusal = ""
        self._seconds = 0.0

    def missing(self) -> str | None:
        if not (REPACK_BINARIES / "pg_repack").exists():
            return "pg_repack is not installed (Debian: apt-get install postgresql-15-repack)"
        return None

    def set_up(self, trial: Trial) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="pgsched-repack-", dir=fast_folder()))
        self._server = EmbeddedServer.start(
            self._folder, options={"fsync": "off", "max_connections": "100"}, binaries=REPACK_BINARIES
        )
        trial.dsn = trial.worker_dsn = trial.producer_dsn = self._server.dsn
        trial.system.prepare(trial.dsn)
        with trial.books() as books:
            books.execute("create extension pg_repack")

    def inject(self, trial: Trial, chance: random.Random) -> int:
        with trial.books() as books:
            tables = books.execute(
                "select c.oid::regclass::text as name from pg_class c"
                " where c.relnamespace = 'pgsched'::regnamespace and c.relkind = 'r' and c.relpersistence = 'p'"
                " and exists (select from pg_index i where i.indrelid = c.oid and i.indisprimary) order by 1"
            ).fetchall()
        names = [str(row["name"]) for row in tables]
        chance.shuffle(names)
        for name in names:
            for options in ((), ("--only-indexes",)):
                began = time.monotonic()
                run = subprocess.run(
                    [
                        str(REPACK_BINARIES / "pg_repack"),
                        "--table",
                        name,
                        "--wait-timeout=10",
                        "--no-kill-backend",
                        *options,
                        *_where(trial.dsn),
                    ],
                    capture_output=True,
                    text=True,
                    timeout=300,
                    check=False,
                )
                self._seconds = max(self._seconds, time.monotonic() - began)
                if run.returncode == 0:
                    self._repacked.append(name)
                else:
                    self._refusal = run.stderr[-300:]
                trial.pause(0.2)
        return len(self._repacked)

    def check(self, trial: Trial) -> Iterable[str]:
        if "pgsched.tasks" not in self._repacked:
            yield f"pg_repack did not rewrite pgsched.tasks: {self._refusal}"

    def tell(self) -> Iterable[str]:
        yield f"{len(self._repacked)} tables or their indexes were rewritten; the slowest took {self._seconds:.1f} s."

    def tear_down(self, trial: Trial) -> None:
        trial.crew.kill_all()
        if self._server is not None:
            self._server.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


def _where(dsn: str) -> list[str]:
    """The options that lead to a server; pg_repack takes no DSN."""
    given = conninfo_to_dict(dsn)
    options = {"dbname": "--dbname", "host": "--host", "port": "--port", "user": "--username"}
    return [part for name, option in options.items() if name in given for part in (option, str(given[name]))]
