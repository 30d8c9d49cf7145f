"""How much is written for one task, its insert not counted."""

from __future__ import annotations

from benchmarks.model import Bound, Case, Side, Sizes, Target, at_most


def case(sizes: Sizes) -> Case:
    given = {"tasks": sizes.tasks, "concurrency": 100}
    return Case(
        name="wal",
        title=f"WAL per task, {sizes.tasks:,} tasks, insert excluded",
        metrics={"wal_bytes_per_task": "B WAL/task", "full_page_images": "full page images"},
        sides=(
            Side(
                name="pgsched",
                program="ours",
                arguments={**given, "touched": True},
                does="no checkpoint since before the insert: no page is written whole",
            ),
            Side(
                name="after a checkpoint",
                program="ours",
                arguments=given,
                does="the worst case: every page is written whole the first time it is touched",
            ),
            Side(
                name="retention 0",
                program="ours",
                arguments={**given, "touched": True, "leaving": True},
                does="pgsched, each task deleted when it is completed",
            ),
        ),
        targets=(
            at_most(650, "B", metric="wal_bytes_per_task"),
            Target(
                text="≤ 450 B with retention 0",
                bounds=(Bound(metric="wal_bytes_per_task", side="retention 0", at_most=450),),
            ),
        ),
        rounds=3,
    )
