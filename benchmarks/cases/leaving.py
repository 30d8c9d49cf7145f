"""Tasks that are deleted when they are completed, against a peer that does so."""

from __future__ import annotations

from benchmarks.cases.drain import GRAPHILE_QUEUES
from benchmarks.model import Case, Side, Sizes, at_least


def case(sizes: Sizes) -> Case:
    given = {"tasks": sizes.tasks, "concurrency": 100}
    return Case(
        name="leaving",
        title=f"drain {sizes.tasks:,} no-op async tasks that are deleted when they are completed",
        metrics={"per_second": "tasks/s", "wal_bytes_per_task": "B WAL/task"},
        sides=(
            Side(
                name="pgsched",
                program="ours",
                arguments={**given, "leaving": True},
                does="retention 0: full history, fencing, leases, metrics",
            ),
            Side(name="kept", program="ours", arguments=given, does="pgsched, the tasks stay in the table"),
            *(
                Side(
                    name=f"Graphile Worker, local queue {size}",
                    group="Graphile Worker",
                    program="graphile.mjs",
                    arguments={**given, "local_queue": size},
                    does="no history, no fencing; a crashed worker's jobs wait 4 hours",
                    needs=("node",),
                    database="none",
                )
                for size in GRAPHILE_QUEUES
            ),
        ),
        targets=(at_least(1.6, "Graphile Worker"),),
    )
