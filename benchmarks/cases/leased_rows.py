"""Rows that another worker runs are at the front of the queue: claims must not scan them each time."""

from __future__ import annotations

from benchmarks.model import Case, Side, Sizes, at_least


def case(sizes: Sizes) -> Case:
    given = {"tasks": sizes.tasks, "concurrency": 100}
    return Case(
        name="leased",
        title=f"drain {sizes.tasks:,} beside {sizes.leased:,} rows that another worker runs",
        metrics={"per_second": "tasks/s"},
        sides=(
            Side(name="pgsched", program="ours", arguments=given, database="leased"),
            Side(name="without", program="ours", arguments=given, does="pgsched, without them"),
        ),
        targets=(at_least(0.85, "without"),),
    )
