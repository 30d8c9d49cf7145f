"""What the insert trigger costs: single-row INSERTs by plain SQL while a worker is busy with them."""

from __future__ import annotations

from benchmarks.model import Case, Side, Sizes, at_least


def case(sizes: Sizes) -> Case:
    given = {"seconds": sizes.seconds}
    return Case(
        name="inserts",
        title="single-row INSERT, 8 connections, a busy worker",
        metrics={"per_second": "rows/s", "worked_per_second": "tasks/s meanwhile"},
        sides=(
            Side(name="pgsched", program="inserts", arguments={**given, "triggers": True}),
            Side(
                name="without triggers",
                program="inserts",
                arguments={**given, "triggers": False},
                does="the same table, its triggers off, their columns written out",
            ),
        ),
        targets=(at_least(0.75, "without triggers"),),
    )
