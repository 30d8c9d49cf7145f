"""An old snapshot keeps every dead index entry: claims must not scan them."""

from __future__ import annotations

from benchmarks.model import Case, Side, Sizes, at_least


def case(sizes: Sizes) -> Case:
    given = {"tasks": sizes.snapshot, "concurrency": 100}
    return Case(
        name="snapshot",
        title=f"drain {sizes.snapshot:,} while a transaction holds an old snapshot",
        metrics={"per_second": "tasks/s"},
        sides=(
            Side(name="pgsched", program="ours", arguments={**given, "old_snapshot": True}),
            Side(name="without", program="ours", arguments=given, does="pgsched, without one"),
        ),
        targets=(at_least(0.9, "without"),),
        rounds=3,
    )
