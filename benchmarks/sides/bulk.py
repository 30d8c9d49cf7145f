"""Many rows at once: Client.schedule_many, or a COPY of the same rows that knows nothing of pgsched."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from time import perf_counter

import psycopg

from benchmarks.databases import keep_constants
from benchmarks.sides.measure import arguments, report
from pgsched import Client
from pgsched.domain.task_spec import TaskSpec


def by_client(dsn: str, rows: int) -> float:
    """Seconds that schedule_many takes; the tasks are described within the time, as a caller would."""
    with Client(dsn) as client:
        client.list_tasks(limit=1)  # connected
        begun = perf_counter()
        ids = client.schedule_many(TaskSpec(task_type="noop", payload={"number": n}) for n in range(rows))
        seconds = perf_counter() - begun
    if len(set(ids)) != rows:
        raise RuntimeError(f"{len(set(ids))} ids for {rows} rows")
    return seconds


def by_copy(dsn: str, rows: int) -> float:
    """Seconds of a COPY into the same table with its triggers off, what they fill in written out."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("alter table pgsched.tasks disable trigger user")
        keep_constants(connection, keep=True)
        begun = perf_counter()
        now = datetime.now(UTC)
        with (
            connection.cursor() as cursor,
            cursor.copy(
                "copy pgsched.tasks (task_type, payload, schedule_type, scheduled_for, next_run_at) from stdin"
            ) as copy,
        ):
            for number in range(rows):
                copy.write_row(("noop", json.dumps({"number": number}), "one_time", now, now))
        return perf_counter() - begun


def run(dsn: str, rows: int, by: str) -> dict[str, float]:
    """One round."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("checkpoint")
    seconds = {"client": by_client, "copy": by_copy}[by](dsn, rows)
    return {"per_second": rows / seconds, "seconds": seconds}


if __name__ == "__main__":
    _given = arguments()
    report(run(_given["dsn"], _given["rows"], _given["by"]))
