"""What goes and what stays, against a model in memory that is written the slow and plain way."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.databases import CONSTANTS
from pgsched.ops import retention
from tests.support.retained import Database, left, prune_now
from tests.support.servers import fresh_database
from tests.support.tables import database

pytestmark = pytest.mark.slow

HOUR = timedelta(hours=1)
FINISHED = ("completed", "cancelled")
ENDED = (*FINISHED, "dead")


@dataclass(frozen=True)
class Row:
    """A task; ``ended`` hours ago."""

    id: int
    queue: str
    status: str
    ended: int
    upstream: tuple[int, ...] = ()
    parent: int | None = None
    group: bool = False
    schedule: bool = False
    fired: tuple[int, ...] | None = None
    declared: bool = False

    @property
    def over(self) -> bool:
        return self.status in ENDED


@dataclass(frozen=True)
class Kept:
    """The settings of a queue; in hours."""

    retention: int | None = None
    retention_count: int | None = None
    dead_retention: int | None = None
    dead_retention_count: int | None = None


def is_needed(row: Row, there: dict[int, Row]) -> bool:
    """Somebody may still ask for it."""
    others = there.values()
    if row.declared or any(row.id in o.upstream and o.status not in FINISHED for o in others):
        return True
    if any(o.parent == row.id and not o.over for o in others):
        return True
    parent = there.get(row.parent) if row.parent else None
    if parent is None:
        return False
    if parent.fired and row.id in parent.fired and not parent.over:
        return True
    one_time_group = parent.group and not parent.schedule
    return one_time_group and (not parent.over or any(o.parent == parent.id and not o.over for o in others))


def surviving(rows: list[Row], kept: dict[str, Kept]) -> list[int]:
    """What is left when nothing more goes."""
    there = {row.id: row for row in rows}
    while True:
        going = set()
        for queue, one in kept.items():
            for statuses, age, number in (
                (FINISHED, one.retention, one.retention_count),
                (("dead",), one.dead_retention, one.dead_retention_count),
            ):
                latest = sorted(
                    (r for r in there.values() if r.queue == queue and r.status in statuses),
                    key=lambda r: (-r.ended, r.id),
                    reverse=True,
                )
                going |= {r.id for r in latest if age is not None and r.ended >= age}
                going |= {r.id for r in latest[number:] if number is not None}
        gone = {id for id in going if not is_needed(there[id], there)}
        if not gone:
            return sorted(there)
        there = {id: row for id, row in there.items() if id not in gone}


@st.composite
def tables(draw: st.DrawFn) -> list[Row]:
    rows: list[Row] = []
    for id in range(1, draw(st.integers(1, 14)) + 1):
        before = [row.id for row in rows]
        row = Row(
            id=id,
            queue=draw(st.sampled_from(["a", "b"])),
            status=draw(st.sampled_from(["completed", "completed", "cancelled", "dead", "pending", "blocked"])),
            ended=draw(st.integers(1, 6)),
            upstream=tuple(draw(st.lists(st.sampled_from(before), max_size=2, unique=True))) if before else (),
            parent=draw(st.none() | st.sampled_from(before)) if before else None,
            group=draw(st.booleans()),
            schedule=draw(st.booleans()),
            declared=draw(st.integers(0, 9)) == 0,
        )
        if row.status == "blocked" and row.schedule and not row.group:
            row = replace(row, status="pending")
        rows.append(row)
    children = {row.id: tuple(c.id for c in rows if c.parent == row.id) for row in rows}
    return [
        replace(row, fired=children[row.id][draw(st.integers(0, 1)) :] or None) if row.group else row for row in rows
    ]


numbers = st.none() | st.integers(0, 4)
settings_of_queues = st.fixed_dictionaries(
    {queue: st.builds(Kept, numbers, numbers, numbers, numbers) for queue in ("a", "b")}
)


@pytest.fixture(scope="module")
def db(server_dsn: str, template_database: str) -> Iterator[tuple[str, Database]]:
    """One database for all examples."""
    name = f"{os.environ.get('PYTEST_XDIST_WORKER', 'main')}_retention_model"
    with fresh_database(server_dsn, name, template=template_database) as dsn, database(dsn) as connection:
        yield dsn, connection


def insert(connection: Database, rows: list[Row], now: datetime) -> None:
    """Put rows in as they are: without triggers, which would plan, block and settle them."""
    observed = {id for row in rows for id in row.upstream}
    with connection.transaction():
        connection.execute("truncate pgsched.tasks, pgsched.dependencies, pgsched.queues")
        connection.execute("set local session_replication_role = replica")
        for row in rows:
            at = now - row.ended * HOUR
            columns: dict[str, Any] = {
                "id": row.id,
                "task_type": "pgsched.group" if row.group else "mail",
                "queue": row.queue,
                "status": row.status,
                "schedule_type": "repeating" if row.schedule else "one_time",
                "repeat_interval": HOUR if row.schedule else None,
                "completed_at": at if row.status in FINISHED else None,
                "died_at": at if row.status == "dead" else None,
                "next_run_at": now if row.status == "pending" else None,
                "depends_on": list(row.upstream),
                "parent_id": row.parent,
                "fired": list(row.fired) if row.fired else None,
                "observed": row.id in observed,
                "declared": "{}" if row.declared else None,
                **{name: value for name, value in CONSTANTS.items() if name != "queue"},
            }
            names = psycopg.sql.SQL(", ").join(map(psycopg.sql.Identifier, columns))
            values = psycopg.sql.SQL(", ").join(psycopg.sql.Placeholder() * len(columns))
            connection.execute(
                psycopg.sql.SQL("insert into pgsched.tasks ({}) values ({})").format(names, values),
                list(columns.values()),
            )


@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(rows=tables(), kept=settings_of_queues, batch=st.sampled_from([1, 2, 500]))
def test_what_stays_is_what_the_model_says(
    db: tuple[str, Database], rows: list[Row], kept: dict[str, Kept], batch: int
) -> None:
    dsn, connection = db
    answer = connection.execute("select now() as now").fetchone()
    assert answer is not None
    insert(connection, rows, answer["now"] - timedelta(minutes=1))
    for queue, one in kept.items():
        connection.execute(
            "insert into pgsched.queues (name, allow_short, retention, retention_count, dead_retention,"
            " dead_retention_count) values (%s, true, make_interval(hours => %s), %s, make_interval(hours => %s), %s)",
            (queue, one.retention, one.retention_count, one.dead_retention, one.dead_retention_count),
        )
    with pytest.MonkeyPatch.context() as small:
        small.setattr(retention, "FIRST_BATCH", batch)
        small.setattr(retention, "SMALLEST_BATCH", 1)
        small.setattr(retention, "LARGEST_BATCH", batch)
        while any(sum(one[1:]) for one in prune_now(dsn, retention.RetentionOverride()).queues):
            pass
    assert left(connection) == surviving(rows, kept)
