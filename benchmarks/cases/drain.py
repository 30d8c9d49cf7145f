"""A full queue of async no-op tasks: pgsched, its peers, and the bare SQL below it."""

from __future__ import annotations

from benchmarks.model import Case, Side, Sizes, at_least

PGQUEUER_BATCHES = (50, 100, 200, 1000)
BARE_BATCHES = (200, 1000)
GRAPHILE_QUEUES = (500, 2000, 5000)


def case(sizes: Sizes) -> Case:
    tasks = sizes.tasks
    return Case(
        name="drain",
        title=f"drain {tasks:,} no-op async tasks",
        metrics={"per_second": "tasks/s", "wal_bytes_per_task": "B WAL/task"},
        sides=(
            Side(
                name="pgsched",
                program="ours",
                arguments={"tasks": tasks, "concurrency": 100},
                does="full history, fencing, leases, metrics",
            ),
            *(
                Side(
                    name=f"bare SQL, batch {batch}",
                    group="bare SQL",
                    program="bare_sql",
                    arguments={"tasks": tasks, "batch": batch},
                    does="the limit: lock and finish in one transaction, on 2 connections, no worker, no handlers",
                )
                for batch in BARE_BATCHES
            ),
            *(
                Side(
                    name=f"PgQueuer, batch {batch}",
                    group="PgQueuer",
                    program="pgqueuer",
                    arguments={"tasks": tasks, "batch": batch},
                    does="on uvloop, as its command line; a log of statuses; no fencing",
                    needs=("pgqueuer", "asyncpg", "uvloop"),
                    database="none",
                )
                for batch in PGQUEUER_BATCHES
            ),
            *(
                Side(
                    name=f"Graphile Worker, local queue {size}",
                    group="Graphile Worker",
                    program="graphile.mjs",
                    arguments={"tasks": tasks, "concurrency": 100, "local_queue": size},
                    does="no history, no fencing; a crashed worker's jobs wait 4 hours",
                    needs=("node",),
                    database="none",
                )
                for size in GRAPHILE_QUEUES
            ),
            Side(
                name="BullMQ",
                program="bullmq.mjs",
                arguments={"tasks": tasks, "concurrency": 100},
                does="on Redis, synced once a second: a crash may lose the last one; keeps finished jobs",
                needs=("node", "redis"),
                database="none",
            ),
            Side(
                name="Procrastinate",
                program="procrastinate",
                arguments={"tasks": max(tasks // 50, 100), "concurrency": 100},
                does=f"keeps jobs and their events; no fencing; {max(tasks // 50, 100):,} tasks only, it takes long",
                needs=("procrastinate",),
                database="none",
            ),
        ),
        targets=(
            at_least(3.0, "PgQueuer"),
            at_least(0.75, "bare SQL"),
            at_least(1.25, "Graphile Worker"),
            at_least(3.0, "BullMQ"),
        ),
    )
