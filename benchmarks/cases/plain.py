"""Plain functions, which run in threads, against async ones."""

from __future__ import annotations

from benchmarks.model import Case, Side, Sizes, at_least


def case(sizes: Sizes) -> Case:
    given = {"tasks": sizes.tasks, "concurrency": 100}
    return Case(
        name="plain",
        title=f"drain {sizes.tasks:,} no-op plain functions",
        metrics={"per_second": "tasks/s"},
        sides=(
            Side(name="pgsched", program="ours", arguments={**given, "handler": "plain"}, does="in threads"),
            Side(name="async", program="ours", arguments=given, does="pgsched, on the event loop"),
        ),
        targets=(at_least(0.65, "async"),),
    )
