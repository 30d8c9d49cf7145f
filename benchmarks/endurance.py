"""``python -m benchmarks.endurance``: steady work for half an hour while old snapshots keep every dead row.

A fresh database each: beside one transaction that stays open all the time, and beside three queries that overlap, of a
minute each. Prints for each minute how soon handlers began after the insert was sent, and how long claims took.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psycopg

from benchmarks.databases import SETTINGS, Databases
from benchmarks.model import Sizes
from pgsched.db.embedded.server import EmbeddedServer

INSERTS_A_SECOND = 20
INSERT = """
    insert into pgsched.tasks (task_type, payload)
    select 'take', jsonb_build_object('sent', %s::float8) from generate_series(1, %s)
"""
QUERIES = 3
QUERY_SECONDS = 60.0


def main() -> int:
    """Returns 1 when something waits at the end."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.endurance", description=__doc__)
    parser.add_argument("--minutes", type=int, default=30)
    parser.add_argument("--per-second", type=int, default=1_800)
    parser.add_argument("--beside", choices=sorted(BESIDE), action="append", help="default: a snapshot, then queries")
    options = parser.parse_args()
    left = 0
    with (
        tempfile.TemporaryDirectory(prefix="pgsched-bench-", ignore_cleanup_errors=True) as name,
        EmbeddedServer.start(Path(name) / "server", options=SETTINGS) as server,
    ):
        databases = Databases(server.dsn, Path(name) / "server" / "server.log", Sizes())
        for beside in options.beside or ("one snapshot", "three queries"):
            print(f"beside {beside}", flush=True)
            left += _measure(databases.fresh("empty"), options.minutes, options.per_second, BESIDE[beside])
    return int(left > 0)


def _measure(dsn: str, minutes: int, per_second: int, beside: Callable[[str, threading.Event], None]) -> int:
    given = json.dumps({"dsn": dsn, "minutes": minutes})
    over = threading.Event()
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.sides.endurance", given], stdout=subprocess.PIPE, text=True
    ) as process:
        threads = [threading.Thread(target=beside, args=(dsn, over))]
        threads.append(threading.Thread(target=_feed, args=(dsn, per_second, over)))
        for thread in threads:
            thread.start()
        assert process.stdout is not None
        for line in process.stdout:
            one = json.loads(line)
            print("".join(f"{name} {value:10,.1f}   " for name, value in one.items()), flush=True)
            if one["minute"] == minutes:
                over.set()
    over.set()
    for thread in threads:
        thread.join()
    with psycopg.connect(dsn) as connection:
        row = connection.execute("select count(*) from pgsched.tasks where status <> 'completed'").fetchone()
    left = int(row[0]) if row else 0
    print(f"waiting at the end: {left}", flush=True)
    return left


def _feed(dsn: str, per_second: int, over: threading.Event) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        begun = time.perf_counter()
        turn = 0
        while not over.wait(max(begun + turn / INSERTS_A_SECOND - time.perf_counter(), 0)):
            connection.execute(INSERT, (time.time(), per_second // INSERTS_A_SECOND))
            turn += 1


def _snapshot(dsn: str, over: threading.Event) -> None:
    with psycopg.connect(dsn) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.execute("select from pgsched.tasks limit 1")
        over.wait()


def _queries(dsn: str, over: threading.Event) -> None:
    def ask(delay: float) -> None:
        if over.wait(delay):
            return
        with psycopg.connect(dsn, autocommit=True) as connection:
            while not over.is_set():
                connection.execute("select count(*), pg_sleep(%s) from pgsched.executions", (QUERY_SECONDS,))

    threads = [threading.Thread(target=ask, args=(turn * QUERY_SECONDS / QUERIES,)) for turn in range(QUERIES)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _both(dsn: str, over: threading.Event) -> None:
    threads = [threading.Thread(target=one, args=(dsn, over)) for one in (_snapshot, _queries)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _nothing(_dsn: str, over: threading.Event) -> None:
    over.wait()


BESIDE = {"one snapshot": _snapshot, "three queries": _queries, "both": _both, "nothing": _nothing}


if __name__ == "__main__":
    sys.exit(main())
