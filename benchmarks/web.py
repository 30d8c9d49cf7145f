"""``python -m benchmarks.web``: how quick the pages and lists are on a large table, and what they cost a worker.

A real server, ``pgsched web`` and a worker, each a process of its own. The clients ask in a closed loop: each asks for
the next page as soon as it has the last one, in an order of its own, without thinking in between.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import psycopg

from benchmarks.databases import SETTINGS, keep_constants
from benchmarks.sides.worker_process import wait_until, worker
from pgsched import Client
from pgsched.db.embedded.server import EmbeddedServer
from pgsched.db.migrations.runner import migrate
from pgsched.worker.roll_up import RollUp

WARM_UP = 2
"""Rounds that are not counted: plans, caches, templates."""
THINK_SECONDS = 5.0
"""Of somebody who looks around while a worker drains."""

FILL = """
create table pgsched.executions_past partition of pgsched.executions
  for values from (date_trunc('day', now() - interval '3 days', 'UTC')) to (date_trunc('day', now(), 'UTC'));
create table kinds as select n, (array['mail', 'billing', 'reports', 'search', 'default'])[1 + n % 5] as queue,
  (array['send_mail', 'charge', 'render', 'index', 'resize', 'notify', 'sync'])[1 + n % 7] as task_type
  from generate_series(0, 34) n;
insert into pgsched.tasks (task_type, queue, task_name, schedule_type, scheduled_for, status, attempts, fencing_token,
  execution_count, started_at, last_run_at, completed_at, payload, tenant_id, tags)
select k.task_type, k.queue, 'task ' || m.n, 'one_time', at, 'completed', 1, 1, 1, at, at, at,
  jsonb_build_object('customer', m.n % 9973, 'address', 'someone' || m.n || '@example.org'), 'tenant-' || m.n % 211,
  array['tag-' || m.n % 31]
from (select n, now() - interval '1 day' * (1 - n::float8 / {finished}) as at from generate_series(1, {finished}) n) m
join kinds k on k.n = m.n % 35 order by m.n;
insert into pgsched.executions (task_id, task_type, queue, attempt, fencing_token, scheduled_for, worker_id, status,
  started_at, finished_at, duration_ms)
select id, task_type, queue, 1, 1, scheduled_for, gen_random_uuid(), 'completed', started_at,
  started_at + interval '20 ms', 20 from pgsched.tasks order by id;
insert into pgsched.tasks (task_type, queue, schedule_type, scheduled_for, status, attempts, fencing_token, started_at,
  last_run_at, died_at, last_error)
select k.task_type, k.queue, 'one_time', at, 'dead', 3, 3, at, at, at, 'ValueError: the number ' || m.n || ' is no good'
from (select n, now() - interval '1 day' * (1 - n / 5001.0) as at from generate_series(1, 5000) n) m
join kinds k on k.n = m.n % 35 order by m.n;
insert into pgsched.tasks (task_type, task_name, schedule_type, cron_expression, timezone, scheduled_for, next_run_at)
select 'report', 'report ' || n, 'recurring', n % 60 || ' ' || n % 24 || ' * * *', 'Europe/Berlin', at, at
from (select n, date_trunc('minute', now()) + n * interval '1 minute' as at from generate_series(1, 1000) n) m;
insert into pgsched.tasks (task_type, queue, schedule_type, scheduled_for, next_run_at, payload)
select 'noop', k.queue, 'one_time', at, at, '{{}}'
from (select n, now() + interval '1 hour' + n * interval '1 ms' as at from generate_series(1, {pending}) n) m
join kinds k on k.n = m.n % 35 order by m.n
"""
"""Made with triggers off: 5,000,000 rows would take minutes more and look the same."""

CHAIN = "select pgsched.schedule('noop', run_at => now() + interval '1 day', depends_on => %s::bigint[])"


def main() -> int:
    """Fill, serve, query and drain; print the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.web", description=__doc__)
    parser.add_argument("--finished", type=int, default=5_000_000, help="finished tasks, with their history")
    parser.add_argument("--pending", type=int, default=100_000, help="tasks that wait")
    parser.add_argument("--clients", type=int, default=20, help="that ask at the same time (default: 20)")
    parser.add_argument("--rounds", type=int, default=15, help="each client asks for everything so often (default: 15)")
    parser.add_argument("--think", type=float, default=0.0, help="seconds between pages, on average")
    parser.add_argument("--drains", type=int, default=5, help="rounds of a drain with and without clients (default: 5)")
    parser.add_argument("--tasks", type=int, default=100_000, help="in a drain (default: 100,000)")
    parser.add_argument("--dsn", help="a database of your own, filled when it has no schema yet")
    options = parser.parse_args()
    with ExitStack() as stack:
        dsn = options.dsn
        if dsn is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pgsched-bench-")))
            dsn = stack.enter_context(EmbeddedServer.start(folder / "server", options=SETTINGS)).dsn
        fill(dsn, options.finished, options.pending)
        asyncio.run(count(dsn))
        address = stack.enter_context(serving(dsn))
        paths = asyncio.run(paths_of(dsn, address))
        if options.rounds:
            show(ask(address, paths, options.clients, options.rounds, options.think))
        if options.drains:
            beside(dsn, address, paths, options.clients, options.drains, options.tasks)
    return 0


def fill(dsn: str, finished: int, pending: int) -> None:
    """Create the rows, unless the schema exists."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        if connection.execute("select to_regclass('pgsched.tasks')").fetchone() != (None,):
            return
        migrate(dsn)
        connection.execute("set synchronous_commit = off")
        connection.execute("set session_replication_role = replica")
        keep_constants(connection, keep=True)
        for statement in FILL.format(finished=finished, pending=pending).split(";"):
            connection.execute(statement.encode())
        connection.execute("set session_replication_role = origin")
        keep_constants(connection, keep=False)
        last: list[int] = []
        for _ in range(50):
            row = connection.execute(CHAIN, (last,)).fetchone()
            last = [row[0]] if row else []
        connection.execute("vacuum (freeze, analyze)")
        connection.execute("checkpoint")


async def count(dsn: str) -> None:
    """Count the history by types and errors, as the upkeep of a worker does."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("update pgsched.roll_up_state set next_at = now()")
    begun = time.perf_counter()
    roll_up = RollUp(dsn=dsn, worker=uuid4())
    while (await roll_up.step()).stage is not None:
        pass
    await roll_up.run_once()  # it closes the connection
    print(f"the history was counted in {time.perf_counter() - begun:.1f} s")


@contextmanager
def serving(dsn: str) -> Iterator[str]:
    """``pgsched web`` on a free port; yields its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "pgsched", "web", "--port", "0"],
        env={**os.environ, "PGSCHED_DSN": dsn},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if found := re.search(r"http://[0-9.]+:\d+", line):
                yield found.group()
                return
        raise RuntimeError("pgsched web ended before it served")
    finally:
        process.terminate()
        process.wait(30)


async def paths_of(dsn: str, address: str) -> list[str]:
    """Every page and list, with the filters that people use."""
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        cursor = await connection.execute(
            "select (select max(id) from pgsched.tasks where status = 'completed'),"
            " (select max(id) from pgsched.tasks where cardinality(depends_on) > 0),"
            " (select max(id) from pgsched.tasks where schedule_type = 'recurring'),"
            " (select max(id) from pgsched.tasks where status = 'dead'),"
            " (select max(id) from pgsched.tasks where status = 'pending' and schedule_type = 'one_time')"
        )
        done, chained, schedule, dead, waiting = await cursor.fetchone() or ()
    lists = [
        "",
        "?status=pending",
        "?status=running",
        "?status=completed&queue=billing",
        "?status=dead",
        "?status=dead&task_type=charge",
        "?schedule_type=recurring",
        "?task_type=charge",
        "?task_type=nothing_of_the_kind",
        "?queue=mail",
        "?tenant_id=tenant-7",
        "?tag=tag-3",
        "?name=4711",
        "?search=someone4711@",
        "?error=is+no+good",
        f"?parent_id={schedule}",
        "?idempotency_key=none",
    ]
    pages = ["/", *(f"/tasks{one}" for one in lists), f"/tasks?before={done // 2}", f"/tasks/{done}", f"/tasks/{dead}"]
    pages += [f"/tasks/{schedule}/edit", "/schedules", "/schedules?search=report+77", "/schedules/new", "/workflows"]
    pages += ["/schedules/preview?expression=0+9+*+*+1-5&timezone=Europe/Berlin"]
    pages += [f"/workflows/{chained}", "/queues", "/workers", "/dead", "/dead?queue=billing", "/audit", "/executions"]
    pages += [
        "/executions?within=1d",
        "/executions?within=7d&status=failed",
        "/executions?queue=mail",
        "/queues/settings?queue=mail",
        "/queues/show?queue=mail",
        "/upcoming",
        "/upcoming?within=7d",
        "/types",
        "/types?within=30d",
        "/types/type?name=charge",
        "/errors",
        "/errors?within=7d",
        "/views",
        "/bulk",
        f"/tasks/{waiting}",
        "/tasks?q=type:charge+status:dead",
        "/tasks?q=payload.customer+%3D+4711",
        "/tasks?q=someone4711",
        "/tasks?q=tag:tag-3+status:completed",
        f"/workflows/{chained}?view=time",
    ]
    api = [f"/api/v1/tasks{one}" for one in lists]
    api += [f"/api/v1/tasks/{done}", f"/api/v1/tasks/{done}/executions", f"/api/v1/tasks/{done}/logs"]
    api += [f"/api/v1/tasks/{done}/missed-ticks", f"/api/v1/tasks/{chained}/tree", "/api/v1/dead", "/api/v1/queues"]
    api += ["/api/v1/workers", "/api/v1/stats", "/api/v1/audit", "/api/v1/dead?queue=billing"]
    api += ["/api/v1/schedules/preview?cron=0+9+*+*+1-5&timezone=Europe/Berlin", "/api/v1/queues/mail/settings"]
    api += ["/api/v1/types", "/api/v1/errors", "/api/v1/upcoming/timeline", f"/api/v1/tasks/{waiting}/why"]
    api += ["/api/v1/executions", "/api/v1/executions?within=7d&status=failed", "/api/v1/executions?queue=billing"]
    async with httpx.AsyncClient(base_url=address, timeout=60) as client:
        kept: list[str] = []
        for path in pages + api:
            response = await client.get(path)
            if response.status_code == 200:
                kept.append(path)
            else:
                print(f"left out: {path} answers {response.status_code}")
    return kept


def ask(address: str, paths: list[str], clients: int, rounds: int, think: float = 0.0) -> dict[str, list[float]]:
    """Return how long each answer took, in ms, by path."""
    seen: dict[str, list[float]] = defaultdict(list)

    def one(number: int) -> None:
        chance = random.Random(number)
        with closing(Visitor(address)) as visitor:
            for turn in range(rounds + WARM_UP):
                for path in chance.sample(paths, len(paths)):
                    if think and turn >= WARM_UP:
                        time.sleep(chance.uniform(0, 2 * think))
                    begun = time.perf_counter()
                    visitor.get(path)
                    took = (time.perf_counter() - begun) * 1000
                    if turn >= WARM_UP:
                        seen[path].append(took)

    _all_at_once(one, clients)
    return seen


def _all_at_once(one: Callable[[int], None], clients: int) -> None:
    with ThreadPoolExecutor(clients) as threads:
        for ended in [threads.submit(one, number) for number in range(clients)]:
            ended.result()


class Visitor:
    """A cheap client, because the server lacks the CPU time that it uses."""

    def __init__(self, address: str) -> None:
        where = urlsplit(address)
        self._connection = HTTPConnection(where.hostname or "", where.port, timeout=60)

    def get(self, path: str) -> None:
        """Read a page. Raises RuntimeError when it is not 200."""
        self._connection.request("GET", path)
        response = self._connection.getresponse()
        response.read()
        if response.status != 200:
            raise RuntimeError(f"{path} answers {response.status}")

    def close(self) -> None:
        """Leave."""
        self._connection.close()


def show(seen: dict[str, list[float]]) -> None:
    """Print the slowest first."""
    every = sorted(took for times in seen.values() for took in times)
    print(f"{len(every)} answers, all together: p50 {_at(every, 50):.0f} ms, p95 {_at(every, 95):.0f} ms")
    for path, times in sorted(seen.items(), key=lambda item: -_at(sorted(item[1]), 95)):
        times = sorted(times)
        print(f"  p50 {_at(times, 50):6.0f}  p95 {_at(times, 95):6.0f}  max {times[-1]:6.0f}  {path}")


def beside(dsn: str, address: str, paths: list[str], clients: int, rounds: int, tasks: int) -> None:
    """Drain alternately without users, with browsing users, and with clients that never pause."""
    rates: dict[str, list[float]] = defaultdict(list)
    for _ in range(rounds):
        rates["nobody asks"].append(drained(dsn, tasks))
        for name, think in ((f"{clients} people, a page every {THINK_SECONDS:g} s", THINK_SECONDS),):
            with asking(address, paths, clients, think):
                rates[name].append(drained(dsn, tasks))
    base = median(rates["nobody asks"])
    print(f"drains of {tasks} tasks, medians of {rounds} rounds:")
    for name, values in rates.items():
        shown = ", ".join(f"{value:.0f}" for value in values)
        print(f"  {name:40} {median(values):8.0f} tasks/s  {median(values) / base:.2f} x   ({shown})")


@contextmanager
def asking(address: str, paths: list[str], clients: int, think: float) -> Iterator[None]:
    """Clients in a separate process."""
    call = f"look({address!r}, {paths!r}, {clients}, {think})"
    program = f"from benchmarks.web import look; {call}"
    process = subprocess.Popen([sys.executable, "-c", program])
    try:
        time.sleep(think)
        yield
        if process.poll() is not None:
            raise RuntimeError("the clients ended")
    finally:
        process.terminate()
        process.wait(30)


def look(address: str, paths: list[str], clients: int, think: float) -> None:
    """Send requests until killed, with about this many seconds between the pages of each client."""

    def one(number: int) -> None:
        chance = random.Random(number)
        visitor = Visitor(address)
        while True:
            time.sleep(chance.uniform(0, 2 * think))
            visitor.get(chance.choice(paths))

    _all_at_once(one, clients)


def drained(dsn: str, tasks: int) -> float:
    """Tasks a second of one worker, from the moment its queue is resumed until nothing in it is due."""
    with psycopg.connect(dsn, autocommit=True) as connection, Client(dsn) as client:
        client.pause_queue("default")
        last = _value(connection, "select max(id) from pgsched.tasks")
        _execute(connection, "insert into pgsched.tasks (task_type) select 'noop' from generate_series(1, %s)", tasks)
        _execute(connection, "vacuum analyze pgsched.tasks")
        _execute(connection, "checkpoint")
        with worker(dsn):
            begun = time.perf_counter()
            client.resume_queue("default")
            wait_until(
                connection,
                "select not exists (select from pgsched.tasks"
                " where queue = 'default' and next_run_at <= now() and enabled and task_type = 'noop')",
            )
            seconds = time.perf_counter() - begun
        _execute(connection, "delete from pgsched.tasks where id > %s", last)
    return tasks / seconds


def _value(connection: psycopg.Connection[Any], statement: str) -> Any:
    row = connection.execute(statement.encode()).fetchone()
    return row[0] if row else None


def _execute(connection: psycopg.Connection[Any], statement: str, *parameters: object) -> None:
    connection.execute(statement.encode(), parameters or None)


def _at(ordered: list[float], share: float) -> float:
    return ordered[min(int(len(ordered) * share / 100), len(ordered) - 1)]


if __name__ == "__main__":
    sys.exit(main())
