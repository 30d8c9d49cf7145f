"""An idle worker must cost almost nothing."""

from __future__ import annotations

from benchmarks.model import Bound, Case, Side, Sizes, Target


def case(sizes: Sizes) -> Case:
    return Case(
        name="idle",
        title=f"statements of an idle worker, {sizes.idle} s",
        metrics={"statements_per_second": "statements/s"},
        sides=(
            Side(
                name="pgsched", program="idle", arguments={"seconds": sizes.idle}, does="heartbeat and polls included"
            ),
        ),
        targets=(Target(text="< 1 in 2 s", bounds=(Bound(metric="statements_per_second", at_most=0.499),)),),
        rounds=1,
    )
