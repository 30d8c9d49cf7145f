"""A worker's memory must not follow the backlog."""

from __future__ import annotations

from benchmarks.model import Case, Side, Sizes, at_most


def case(sizes: Sizes) -> Case:
    return Case(
        name="memory",
        title=f"memory of a worker with a backlog of {sizes.backlog:,} tasks of {sizes.payload:,} bytes",
        metrics={"peak_mb": "MB peak", "per_second": "tasks/s"},
        sides=(
            Side(
                name="pgsched",
                program="memory",
                arguments={"tasks": sizes.backlog},
                database="backlog",
                does="peak resident memory until the backlog is worked off",
            ),
        ),
        targets=(at_most(300, "MB", metric="peak_mb"),),
        rounds=1,
        slow=True,
    )
