"""A full queue of no-op tasks: the Python worker, the TypeScript worker, and Graphile Worker, also in Node.js."""

from __future__ import annotations

from pathlib import Path

from benchmarks.model import Case, Side, Sizes

CLIENT = Path(__file__).resolve().parents[2] / "clients" / "typescript" / "dist" / "index.js"
"""Built by clients/typescript/install.sh."""
CONCURRENCIES = (100, 500)


def case(sizes: Sizes) -> Case:
    tasks = sizes.tasks
    return Case(
        name="languages",
        title=f"drain {tasks:,} no-op tasks in Python and in TypeScript",
        metrics={"per_second": "tasks/s"},
        sides=(
            Side(
                name="pgsched",
                program="ours",
                arguments={"tasks": tasks, "concurrency": 100},
                does="the Python worker: full history, fencing, late leases, metrics",
            ),
            *(
                Side(
                    name=f"TypeScript worker, concurrency {concurrency}",
                    group="TypeScript worker",
                    program="pgsched.mjs",
                    arguments={"tasks": tasks, "concurrency": concurrency, "client": str(CLIENT)},
                    does="the worker protocol: full history, fencing, a lease for each task",
                    needs=("node", "typescript"),
                )
                for concurrency in CONCURRENCIES
            ),
            Side(
                name="Graphile Worker, local queue 500",
                group="Graphile Worker",
                program="graphile.mjs",
                arguments={"tasks": tasks, "concurrency": 100, "local_queue": 500},
                does="no history, no fencing; a crashed worker's jobs wait 4 hours",
                needs=("node",),
                database="none",
            ),
        ),
    )
