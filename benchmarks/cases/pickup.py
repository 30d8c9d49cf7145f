"""From the commit of an INSERT to the first line of the handler, in a worker that had nothing to do."""

from __future__ import annotations

from benchmarks.model import Bound, Case, Side, Sizes, Target, at_most


def case(sizes: Sizes) -> Case:
    return Case(
        name="pickup",
        title=f"pick-up by an idle worker, {sizes.pickups} single tasks",
        metrics={"p50_ms": "ms p50", "p99_ms": "ms p99", "sent_p50_ms": "ms p50 from sending"},
        sides=(
            Side(
                name="pgsched",
                program="ours_pickup",
                arguments={"pickups": sizes.pickups},
                does="from the INSERT's commit, as its client sees it",
            ),
            Side(
                name="BullMQ",
                program="bullmq_pickup.mjs",
                arguments={"pickups": sizes.pickups},
                does="from add()'s answer, before which nothing is synced to disk",
                needs=("node", "redis"),
                database="none",
            ),
        ),
        targets=(
            at_most(1.5, "ms", metric="p50_ms"),
            at_most(3, "ms", metric="p99_ms"),
            Target(text="p50 ≤ BullMQ's", bounds=(Bound(metric="p50_ms", at_most=1.0, against="BullMQ"),)),
            Target(text="p99 ≤ BullMQ's", bounds=(Bound(metric="p99_ms", at_most=1.0, against="BullMQ"),)),
        ),
        rounds=3,
    )
