"""Rows that are finished, and their history, must not slow down those that come after."""

from __future__ import annotations

from benchmarks.model import Case, Side, Sizes, at_least


def case(sizes: Sizes) -> Case:
    given = {"tasks": sizes.tasks, "concurrency": 100}
    return Case(
        name="finished",
        title=f"drain {sizes.tasks:,} after {sizes.finished:,} finished rows",
        metrics={"per_second": "tasks/s"},
        sides=(
            Side(name="pgsched", program="ours", arguments=given, database="finished"),
            Side(name="none", program="ours", arguments=given, does="pgsched, with none"),
        ),
        targets=(at_least(0.9, "none"),),
        rounds=3,
        slow=True,
    )
