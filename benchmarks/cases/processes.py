"""A second process where one is not enough: handlers that burn CPU."""

from __future__ import annotations

from benchmarks.model import Case, Side, Sizes, at_least


def case(sizes: Sizes) -> Case:
    return Case(
        name="processes",
        title=f"drain {sizes.burn:,} tasks that burn 1 ms of CPU each",
        metrics={"per_second": "tasks/s"},
        sides=(
            Side(
                name="pgsched",
                program="processes",
                arguments={"tasks": sizes.burn, "processes": 2},
                does="2 processes; the server needs some of the CPU too",
            ),
            Side(name="1 process", program="processes", arguments={"tasks": sizes.burn, "processes": 1}),
        ),
        targets=(at_least(1.7, "1 process"),),
        rounds=3,
    )
