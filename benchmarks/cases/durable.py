"""Durable runs: how many steps are recorded, and how soon a run with many steps resumes after an event."""

from __future__ import annotations

from benchmarks.model import Bound, Case, Side, Sizes, Target


def case(sizes: Sizes) -> Case:
    runs = max(sizes.tasks // 20, 100)
    given = {"runs": runs, "steps": 10, "recorded": 1_000, "concurrency": 500}
    return Case(
        name="durable",
        title=f"{runs:,} durable runs of 10 steps; a run with 1,000 recorded steps resumes",
        metrics={"steps_per_second": "steps/s", "resume_ms": "ms from the event to the handler"},
        sides=(Side(name="pgsched", program="durable", arguments=given),),
        targets=(
            Target(text="at least 5,000 steps/s", bounds=(Bound(metric="steps_per_second", at_least=5_000),)),
            Target(text="at most 20 ms to resume", bounds=(Bound(metric="resume_ms", at_most=20),)),
        ),
    )
