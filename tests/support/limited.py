"""Queues with limits, worked on by real processes: what the handlers saw."""

from __future__ import annotations

from bisect import bisect_left
from time import sleep, time
from typing import Any, NamedTuple

import psycopg

from tests.support.processes import PgschedProcess, PgschedRunner
from tests.support.waiting import wait_until

APP = "tests.support.limited_app:app"
Connection = psycopg.Connection[dict[str, Any]]


class AtOnce(NamedTuple):
    """How many ran at once."""

    tasks: int
    peak: int
    used: float
    """The share of the time of all slots in which a handler ran."""
    seconds: float


class Rate(NamedTuple):
    """How many started in a time."""

    starts: int
    seconds: float
    """From the first start to the last."""
    worst: int
    """The most starts in any window."""
    in_time: int
    """Starts within the seconds that were to be measured."""


class Delays(NamedTuple):
    """How long after their inserts tasks started, in ms, the shortest first."""

    values: list[float]

    @property
    def median(self) -> float:
        return self.values[len(self.values) // 2]


def start_workers(run: PgschedRunner, count: int, *options: str) -> list[PgschedProcess]:
    """Start worker processes and wait until they claim."""
    workers = [run("worker", "--app", APP, *options) for _ in range(count)]
    for worker in workers:
        worker.wait_for_output("worker_started")
    return workers


def make_marks(db: Connection) -> None:
    """The table in which the handlers say that they run."""
    db.execute(
        "create table marks (id bigint generated always as identity, task_id bigint, change integer,"
        " at timestamptz not null default clock_timestamp())"
    )


def run_at_once(db: Connection, *, tasks: int, limit: int, seconds: float, longest: float) -> AtOnce:
    """Let tasks that take so long run in a queue of which ``limit`` may run at once."""
    db.execute("truncate marks")
    db.execute("select pgsched.limit_queue('default', concurrency => %s)", (limit,))
    db.execute(
        "insert into pgsched.tasks (task_type, payload)"
        " select 'marked', jsonb_build_object('seconds', %s::float8) from generate_series(1, %s)",
        (seconds, tasks),
    )
    wait_until(lambda: unfinished(db) == 0, timeout=longest, message=f"{tasks} tasks are completed")
    row = db.execute(
        """
        with running as (
          select sum(change) over (order by at, change rows unbounded preceding) as number from marks
        ),
        ran as (
          select (result ->> 0)::float8 as begun, (result ->> 1)::float8 as ended
          from pgsched.tasks where task_type = 'marked'
        )
        select (select max(number) from running) as peak, count(*) as tasks, max(ended) - min(begun) as seconds,
          sum(ended - begun) as busy
        from ran
        """
    ).fetchone()
    assert row is not None
    return AtOnce(row["tasks"], row["peak"], row["busy"] / limit / row["seconds"], row["seconds"])


def run_at_rate(db: Connection, *, rate: int, seconds: float, longest: float, work: float = 0.01) -> Rate:
    """Let as many tasks run as may start in so many seconds, of a queue of which ``rate`` may start in each."""
    db.execute("select pgsched.limit_queue('default', rate => %s, per => '1 second')", (rate,))
    number = round(rate * seconds)
    insert_timed(db, number, work)
    wait_until(lambda: unfinished(db) == 0, timeout=longest, message=f"{number} tasks are completed")
    starts = starts_of(db)
    return Rate(
        len(starts),
        starts[-1] - starts[0],
        most_in_window(starts, 1.0),
        sum(start - starts[0] < seconds for start in starts),
    )


def run_beside_backlog(db: Connection, *, backlog: int, others: int, pause: float = 0.05) -> Delays:
    """Let a key with a limit of two have a backlog, and insert tasks of other keys one after the other."""
    db.execute("select pgsched.limit_queue('default', concurrency_per_key => 2)")
    insert_timed(db, backlog, 0.02, key="big")
    wait_until(lambda: starts_of(db, limit=20), message="the backlog is worked on")
    inserted = {}
    for number in range(others):
        moment = time()
        row = db.execute(
            "insert into pgsched.tasks (task_type, concurrency_key, payload) values ('timed', %s, '{}') returning id",
            (f"{'ab'[number % 2]}-{number}",),
        ).fetchone()
        assert row is not None
        inserted[row["id"]] = moment
        sleep(pause)  # the rhythm of the load, nothing is waited for
    ids = list(inserted)
    done = "select id, (result #>> '{}')::float8 as start from pgsched.tasks where id = any(%s) and result is not null"
    wait_until(
        lambda: len(db.execute(done, (ids,)).fetchall()) == others, message=f"{others} other tasks are completed"
    )
    return Delays(sorted((row["start"] - inserted[row["id"]]) * 1000 for row in db.execute(done, (ids,)).fetchall()))


def insert_timed(db: Connection, number: int, seconds: float, *, key: str | None = None) -> None:
    """Insert tasks that return when they began."""
    db.execute(
        "insert into pgsched.tasks (task_type, concurrency_key, payload)"
        " select 'timed', %s, jsonb_build_object('seconds', %s::float8) from generate_series(1, %s)",
        (key, seconds, number),
    )


def starts_of(db: Connection, *, limit: int | None = None) -> list[float]:
    """When the handlers began, in order."""
    found = db.execute(
        "select (result #>> '{}')::float8 as start from pgsched.tasks where task_type = 'timed' and result is not null"
        " order by 1 limit %s",
        (limit,),
    ).fetchall()
    return [row["start"] for row in found]


def most_in_window(starts: list[float], width: float) -> int:
    """The most of these moments, in order, that any window of so many seconds holds."""
    return max(bisect_left(starts, start + width) - place for place, start in enumerate(starts))


def unfinished(db: Connection) -> int:
    """How many tasks wait or run."""
    row = db.execute("select count(*) as n from pgsched.tasks where next_run_at is not null").fetchone()
    assert row is not None
    return int(row["n"])


def clear(db: Connection) -> None:
    """No tasks and no limits any more."""
    db.execute("truncate pgsched.tasks, pgsched.executions, pgsched.slots, pgsched.starts")
    db.execute("delete from pgsched.queues")
