"""One module per case. Each has ``case(sizes)``, which returns the compared sides, their sizes and the targets."""

from __future__ import annotations

from benchmarks.cases import (
    bulk,
    drain,
    durable,
    finished_rows,
    future_rows,
    idle,
    inserts,
    languages,
    leased_rows,
    leaving,
    memory,
    old_snapshot,
    pickup,
    plain,
    processes,
    sleepers,
    suspended,
    typed,
    wal,
)
from benchmarks.model import Case, Sizes

MODULES = (
    drain,
    leaving,
    plain,
    sleepers,
    typed,
    pickup,
    future_rows,
    finished_rows,
    old_snapshot,
    leased_rows,
    inserts,
    bulk,
    processes,
    wal,
    memory,
    idle,
    languages,
    durable,
    suspended,
)


def all_cases(sizes: Sizes) -> tuple[Case, ...]:
    """Every case, in the order in which they are run."""
    return tuple(module.case(sizes) for module in MODULES)
