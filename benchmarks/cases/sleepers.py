"""Tasks that sleep 10 ms, 500 at once: 50,000/s if nothing else took time."""

from __future__ import annotations

from benchmarks.model import Bound, Case, Side, Sizes, Target

IDEAL = 50_000.0


def case(sizes: Sizes) -> Case:
    given = {"tasks": sizes.tasks, "concurrency": 500}
    return Case(
        name="sleepers",
        title=f"drain {sizes.tasks:,} tasks that sleep 10 ms, concurrency 500",
        metrics={"per_second": "tasks/s"},
        sides=(
            Side(name="pgsched", program="ours", arguments={**given, "handler": "sleep"}),
            Side(name="no-op", program="ours", arguments=given, does="pgsched, the same with nothing to do"),
        ),
        targets=(
            Target(
                text=f"≥ 0.85 × the lower of no-op and the ideal {IDEAL:,.0f}/s",
                bounds=(Bound(metric="per_second", at_least=0.85, against="no-op", capped=IDEAL),),
            ),
        ),
    )
