"""Suspended durable runs: a claim must not see them."""

from __future__ import annotations

from benchmarks.model import Case, Side, Sizes, at_least


def case(sizes: Sizes) -> Case:
    given = {"tasks": sizes.tasks, "concurrency": 100}
    return Case(
        name="suspended",
        title=f"drain {sizes.tasks:,} beside {sizes.suspended:,} suspended durable runs",
        metrics={"per_second": "tasks/s"},
        sides=(
            Side(name="pgsched", program="ours", arguments={**given, "suspended": sizes.suspended}),
            Side(name="without", program="ours", arguments=given, does="pgsched, without them"),
        ),
        targets=(at_least(0.95, "without"),),
    )
