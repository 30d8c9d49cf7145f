"""A year of daily partitions, and a dump that reads all of them, under load."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from typing import Any

from chaos.faults.model import Fault
from chaos.faults.trial import Trial
from pgsched import Client
from pgsched.db.embedded.server import packaged_binaries
from pgsched.db.migrations.runner import migrate

KEPT_DAYS = 30
DAYS = """
    do $$
    declare
      parent text;
      day date;
    begin
      for n in {first}..{last} loop
        day := (now() at time zone 'UTC')::date - n;
        foreach parent in array array['executions', 'execution_logs', 'missed_ticks', 'durable_steps'] loop
          execute format(
            'create table pgsched.%I partition of pgsched.%I for values from (%L) to (%L)',
            parent || '_' || to_char(day, 'YYYYMMDD'), parent, day || ' 00:00:00+00', day + 1 || ' 00:00:00+00');
        end loop;
      end loop;
    end $$
"""
ROWS = """
    insert into pgsched.executions (
      task_id, task_type, queue, attempt, fencing_token, status, worker_id, started_at, finished_at, duration_ms, error)
    select -n, 'of old', 'default', 1, -n, 'failed', gen_random_uuid(), at, at, 0, 'long ago'
    from (
      select n, now() - (1 + n %% %s) * interval '1 day' as at from generate_series(1, %s * 50) n) old
"""
"""Attempts of tasks that are gone: each failed, so that no rule on completed ones reads them."""
LOCKS = """
    select coalesce(max(n), 0) as n from (
      select count(*) as n from pg_locks l join pg_stat_activity a using (pid)
      where a.application_name in ('pgsched claim', 'pgsched finish', 'pgsched handler', 'pgsched lock',
        'pgsched heartbeat') and a.datname = current_database()
      group by pid) of_sessions
"""
MOST_LOCKS = 200
"""A statement that reads every day holds a lock on each partition, and on each index of it."""


class YearOfPartitions(Fault):
    """The check fails where a session on the way of a task holds as many locks as there are days, or where retention
    has left a day."""

    name = "year-of-partitions"
    does = (
        "The history has a partition for each day of a year; lists, counts, the doctor and a retention that drops all "
        "but 30 days of them run under load, with max_locks_per_transaction as it is by default."
    )
    injects = "partitions"
    in_tests = False
    own_server = True

    def __init__(self) -> None:
        self._days = 0
        self._most_locks = 0
        self._left = 0
        self._seconds: dict[str, float] = {}
        self._dropped_in = 0.0

    def set_up(self, trial: Trial) -> None:
        self._days = 60 if trial.size.short else 366
        with trial.books() as books:
            for first in range(1, self._days + 1, 10):
                last = min(first + 9, self._days)
                books.execute(DAYS.format(first=first, last=last))
            books.execute(ROWS, (self._days, self._days))
            books.execute("analyze")

    def inject(self, trial: Trial, chance: random.Random) -> int:
        with self._counting(trial), Client(trial.dsn) as client:
            some = min(trial.acknowledged())
            calls: dict[str, Callable[[], Any]] = {
                "executions of a task": lambda: client.executions(some),
                "list of tasks": lambda: client.list_tasks(limit=50),
                "counts": client.stats,
                "figures of a type": lambda: client.type_stats(within="1h"),
                "upcoming tasks": lambda: client.upcoming("24h"),
                "doctor": client.doctor,
            }
            for _ in range(2 if trial.size.short else 5):
                names = list(calls)
                chance.shuffle(names)
                for name in names:
                    began = time.monotonic()
                    calls[name]()
                    self._seconds[name] = min(self._seconds.get(name, 1e9), time.monotonic() - began)
                    trial.pause(0.2)
            began = time.monotonic()
            for _ in range(3):  # a day that the load keeps in use is left to the next run
                self._prune(trial)
                self._left = _over(trial)
                if not self._left:
                    break
            self._dropped_in = time.monotonic() - began
        return 4 * (self._days - KEPT_DAYS)

    def _prune(self, trial: Trial) -> None:
        command = ["prune", "--history-older-than", f"{KEPT_DAYS}d", "--max-seconds", "280", "--yes"]
        with subprocess.Popen(
            [sys.executable, "-m", "pgsched", *command],
            env={**os.environ, "PGSCHED_DSN": trial.dsn},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as prune:
            deadline = time.monotonic() + 300
            while prune.poll() is None and time.monotonic() < deadline:
                trial.pause(0.2)
            prune.kill()

    @contextmanager
    def _counting(self, trial: Trial) -> Any:
        over = threading.Event()

        def count() -> None:
            with trial.books() as books:
                while not over.wait(0.02):
                    row = books.execute(LOCKS).fetchone()
                    assert row is not None
                    self._most_locks = max(self._most_locks, int(row["n"]))

        counter = threading.Thread(target=count)
        counter.start()
        try:
            yield
        finally:
            over.set()
            counter.join()

    def check(self, trial: Trial) -> Iterable[str]:
        if not 0 < self._most_locks <= MOST_LOCKS:
            yield f"a session on the way of a task held {self._most_locks} locks"
        if self._left:
            yield f"retention left {self._left} partitions that it should have dropped"
        if any("out of shared memory" in text for text in trial.crew.outputs().values()):
            yield "the server had no room for locks"

    def tell(self) -> Iterable[str]:
        seconds = ", ".join(f"{name} {took:.2f} s" for name, took in sorted(self._seconds.items()))
        yield (
            f"{4 * self._days} partitions; sessions that claim, run and finish held at most {self._most_locks} "
            f"locks; the best of several, under load: {seconds}; "
            f"{4 * (self._days - KEPT_DAYS)} partitions were dropped in "
            f"{self._dropped_in:.0f} s."
        )


def _over(trial: Trial) -> int:
    """Count the partitions that retention should have dropped."""
    with trial.books() as books:
        row = books.execute(
            "select count(*) as n from pgsched.history_days(now() - %s * interval '1 day')", (KEPT_DAYS,)
        ).fetchone()
    assert row is not None
    return int(row["n"])


class DumpUnderLoad(Fault):
    """The check fails where nothing was dumped, or where the work stood still while a drop waited for the dump."""

    name = "dump-under-load"
    does = (
        "pg_dump reads the database, slowly, for several leases, while workers work, retention tries to drop "
        "old days, `pgsched migrate` runs, partitions are made and tables are vacuumed."
    )
    injects = "dumps"
    in_tests = False
    own_server = True

    def __init__(self) -> None:
        self._bytes = 0
        self._ratio = 0.0
        self._wrong: list[str] = []

    def set_up(self, trial: Trial) -> None:
        with trial.books() as books:
            books.execute(DAYS.format(first=1, last=60))
            books.execute(ROWS, (60, 20 if trial.size.short else 10_000))
            books.execute(
                "create table ballast as select n, repeat(md5(n::text), 20) t from generate_series(1, 30000) n"
            )

    def inject(self, trial: Trial, chance: random.Random) -> int:
        rounds = 1 if trial.size.short else 3
        for _ in range(rounds):
            start = time.time()
            trial.pause(2.0)
            before = trial.rate(start, time.time())
            self._dump(trial, before)
        return rounds

    def _dump(self, trial: Trial, before: float) -> None:
        program = packaged_binaries() / "pg_dump"
        with subprocess.Popen(
            [str(program), "--dbname", trial.dsn], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as dump:
            assert dump.stdout is not None
            self._bytes += len(dump.stdout.read(1))  # it has its snapshot and its locks, and waits for its reader
            start = time.time()
            with Client(trial.dsn) as client:
                pruned = client.prune(history_older_than="30d", max_seconds=2.0)
            if pruned.history:
                self._wrong.append(f"days were dropped although the dump reads them: {pruned.history[:3]}")
            migrate(trial.dsn)
            with trial.books() as books:
                books.execute("select pgsched.make_partitions(9)")
                books.execute("vacuum analyze pgsched.tasks")
            trial.pause(2.0 if trial.size.short else 4 * trial.size.lease)
            self._ratio = min(self._ratio or 9.0, trial.rate(start, time.time()) / max(before, 1.0))
            self._bytes += len(dump.stdout.read())
            errors = dump.stderr.read().decode() if dump.stderr else ""
        if dump.returncode:
            self._wrong.append(f"pg_dump ended with {dump.returncode}: {errors[-300:]}")

    def check(self, trial: Trial) -> Iterable[str]:
        yield from self._wrong
        if self._bytes < 1_000_000:
            yield f"only {self._bytes} bytes were dumped"
        if self._ratio < 0.6:
            yield f"beside the dump the throughput was {self._ratio:.2f} of that before"

    def tell(self) -> Iterable[str]:
        yield (
            f"{self._bytes / 1e6:,.0f} MB were dumped; meanwhile the throughput was at least {self._ratio:.2f} of that "
            "before."
        )
