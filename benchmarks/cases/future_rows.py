"""Many rows that are due later must not slow those down that are due now."""

from __future__ import annotations

from benchmarks.model import Case, Side, Sizes, at_least, at_most


def case(sizes: Sizes) -> Case:
    given = {"tasks": sizes.tasks, "concurrency": 100, "claims": True}
    return Case(
        name="future",
        title=f"drain {sizes.tasks:,} beside {sizes.future:,} future rows",
        metrics={"per_second": "tasks/s", "claim_ms": "ms a claim of 100"},
        sides=(
            Side(name="pgsched", program="ours", arguments=given, database="future"),
            Side(name="without", program="ours", arguments=given, does="pgsched, without them"),
        ),
        targets=(at_least(0.9, "without"), at_most(2, "ms", metric="claim_ms")),
        rounds=3,
        slow=True,
    )
