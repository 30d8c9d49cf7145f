"""``python -m benchmarks.retention``: the cost and speed of deletion, and whether tables stop growing.

1. One worker drains a queue beside millions of finished tasks, with and without deleting them meanwhile, in turns.
2. All that is left of them is deleted by `pgsched prune`.
3. An hour's worth of tasks, as fast as they come, with a limit to how many finished ones are kept, and a history of
   which the "days" are ten seconds long: what the tables take on the disk meanwhile.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import median
from typing import Any

import psycopg

from benchmarks.databases import SETTINGS, Databases
from benchmarks.model import Sizes
from benchmarks.sides.worker_process import worker
from pgsched import Client
from pgsched.db.embedded.server import EmbeddedServer
from pgsched.db.retention import RetentionStore
from pgsched.domain.interval import Interval

KEPT = 50_000
"""Finished tasks that are kept in the third part."""
DAY = 10
"""Seconds that a "day" of the history is long there; three are kept."""
AHEAD = 20_000
"""Maximum number of waiting tasks there."""
INSERT = "insert into pgsched.tasks (task_type) select 'noop' from generate_series(1, %s)"
SIZES = """
    select pg_total_relation_size('pgsched.tasks') / 1e6 as tasks_mb,
      (select sum(pg_total_relation_size(relid)) / 1e6 from pg_partition_tree('pgsched.executions')) as history_mb,
      n_live_tup as live, n_dead_tup as dead, autovacuum_count as vacuums, n_tup_del as deleted
    from pg_stat_user_tables where relid = 'pgsched.tasks'::regclass
    """
SHORT_DAYS = """
    do $$
    declare
      parent text;
      by_column text;
    begin
      foreach parent in array array['executions', 'execution_logs', 'missed_ticks'] loop
        -- The tables stay, beside: their names keep the worker from making these days again.
        for n in 0..1 loop
          execute format('alter table pgsched.%I detach partition pgsched.%I', parent,
            parent || to_char((now() at time zone 'UTC')::date + n, '_YYYYMMDD'));
        end loop;
        for n in 0..{number} loop
          execute format('create table pgsched.%I partition of pgsched.%I for values from (%L) to (%L)',
            parent || '_short_' || n, parent, now() + (n - 1) * interval '{day} s', now() + n * interval '{day} s');
        end loop;
      end loop;
    end $$
    """


def main() -> int:
    """Run all parts, print the results, and write them to a file if one is named."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.retention", description=__doc__)
    parser.add_argument("--finished", type=int, default=5_000_000, help="finished tasks (default: 5,000,000)")
    parser.add_argument("--tasks", type=int, default=300_000, help="that are drained in a round (default: 300,000)")
    parser.add_argument("--rounds", type=int, default=5, help="of each side (default: 5)")
    parser.add_argument("--load", type=int, default=3_600_000, help="tasks of the third part (default: 3,600,000)")
    parser.add_argument("--only", choices=["drain", "flat"], help="the first two parts, or the third")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    found: dict[str, Any] = {}
    with (
        tempfile.TemporaryDirectory(prefix="pgsched-bench-", ignore_cleanup_errors=True) as name,
        EmbeddedServer.start(Path(name) / "server", options=SETTINGS) as server,
    ):
        databases = Databases(server.dsn, Path(name) / "server" / "server.log", Sizes(finished=options.finished))
        if options.only in (None, "drain"):
            dsn = databases.template("finished")
            found["drain"] = drains(dsn, options.tasks, options.rounds)
            found["prune"] = everything(dsn)
            _write(options.json, found)
        if options.only in (None, "flat"):
            found["flat"] = flat(databases.fresh("empty"), options.load)
            _write(options.json, found)
    return 0


def _write(file: Path | None, found: dict[str, Any]) -> None:
    if file is not None:
        file.write_text(json.dumps(found, indent=1) + "\n")


def drains(dsn: str, tasks: int, rounds: int) -> dict[str, Any]:
    """Drain alternately with and without deletion."""
    sides: dict[str, list[dict[str, float]]] = {"off": [], "on": []}
    with Client(dsn) as client:
        for turn in range(rounds):
            # Each side comes first in every other round: what the one leaves behind falls to both.
            for side in ("off", "on") if turn % 2 == 0 else ("on", "off"):
                client.set_settings(retention="0s" if side == "on" else None, allow_short=True)
                given = {"dsn": dsn, "tasks": tasks, "concurrency": 100, "prune": side == "on"}
                command = [sys.executable, "-m", "benchmarks.sides.ours", json.dumps(given)]
                metrics = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
                sides[side].append(metrics)
                speed, pruned = metrics["per_second"], metrics["pruned"] / metrics["seconds"]
                print(f"{turn + 1}/{rounds} deleting {side}: {speed:,.0f} tasks/s, {pruned:,.0f} deleted/s", flush=True)
        client.set_settings(retention=None)
    speeds = {side: [one["per_second"] for one in found] for side, found in sides.items()}
    ratio = median(speeds["on"]) / median(speeds["off"])
    deleted = median(one["pruned"] / one["seconds"] for one in sides["on"])
    print(
        f"drain of {tasks:,}: {median(speeds['off']):,.0f} tasks/s without deleting, {median(speeds['on']):,.0f} with"
        f" ({deleted:,.0f} deleted/s): {ratio:.2f} x",
        flush=True,
    )
    return {"tasks": tasks, "ratio": ratio, "deleted_per_second": deleted, "rounds": sides}


def everything(dsn: str) -> dict[str, float]:
    """Delete all that is finished, as `pgsched prune --completed-older-than 0` does."""
    begun = time.perf_counter()
    with Client(dsn) as client:
        done = client.prune(completed_older_than="0s", allow_short=True)
    seconds = time.perf_counter() - begun
    number = sum(one.completed for one in done.queues)
    print(f"pgsched prune: {number:,} tasks in {seconds:.1f} s, {number / seconds:,.0f}/s", flush=True)
    return {"tasks": number, "seconds": seconds}


def flat(dsn: str, load: int) -> dict[str, Any]:
    """Keep a worker busy, and measure the tables."""
    samples: list[dict[str, float]] = []
    stop = threading.Event()
    with psycopg.connect(dsn, autocommit=True) as connection, Client(dsn) as client:
        connection.execute(SHORT_DAYS.format(number=100, day=DAY).encode())
        client.set_settings(retention_count=KEPT)
        dropping = threading.Thread(target=_drop_days, args=(dsn, stop))
        dropping.start()
        print("tasks done   seconds   tasks MB   history MB   live rows   dead rows   vacuums", flush=True)
        try:
            with worker(dsn):
                begun = time.perf_counter()
                inserted, look_at = 0, 0.0
                while True:
                    waiting = _waiting(connection)
                    seconds = time.perf_counter() - begun
                    if seconds >= look_at or (inserted >= load and not waiting):
                        look_at = seconds + 5
                        samples.append(_sample(connection, inserted - waiting, seconds))
                        if inserted >= load and not waiting:
                            break
                    if waiting < AHEAD and inserted < load:
                        connection.execute(INSERT.encode(), (number := min(AHEAD // 2, load - inserted),))
                        inserted += number
                    else:
                        time.sleep(0.01)
        finally:
            stop.set()
            dropping.join()
    quarter = [one for one in samples if one["done"] >= load / 4]
    half, end = quarter[: len(quarter) // 2], quarter[len(quarter) // 2 :]
    growth = {
        which: max(one[which] for one in end) / max(one[which] for one in half) for which in ("tasks_mb", "history_mb")
    }
    print(f"largest of the last part to largest of the part before: {growth}", flush=True)
    return {"load": load, "kept": KEPT, "growth": growth, "samples": samples}


def _drop_days(dsn: str, stop: threading.Event) -> None:
    """Drop short days as workers drop those of 24 hours."""
    store = RetentionStore(dsn)
    while not stop.wait(2):
        for day in store.days(Interval(microseconds=2 * DAY * 1_000_000)):
            store.drop(day)
    store.close()


def _waiting(connection: psycopg.Connection[Any]) -> int:
    row = connection.execute(
        b"select count(*) from pgsched.tasks where queue = 'default' and next_run_at is not null and enabled"
    ).fetchone()
    return int(row[0]) if row else 0


def _sample(connection: psycopg.Connection[Any], done: int, seconds: float) -> dict[str, float]:
    cursor = connection.execute(SIZES.encode())
    assert cursor.description is not None
    names = [column.name for column in cursor.description]
    one = {"done": done, "seconds": seconds} | dict(zip(names, map(float, cursor.fetchone() or ()), strict=True))
    print(
        f"{done:>10,}{seconds:>10.0f}{one['tasks_mb']:>11.1f}{one['history_mb']:>13.1f}{one['live']:>12,.0f}"
        f"{one['dead']:>12,.0f}{one['vacuums']:>10.0f}",
        flush=True,
    )
    return one


if __name__ == "__main__":
    sys.exit(main())
