"""What the benchmark is made of: cases, their sides, and the targets they must reach."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

Metrics = dict[str, float]
"""What one side measured in one round, by name."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Sizes; each is an option of the command line."""

    tasks: int = 100_000
    snapshot: int = 500_000
    future: int = 10_000_000
    finished: int = 5_000_000
    leased: int = 20_000
    bulk: int = 100_000
    burn: int = 8_000
    backlog: int = 1_000_000
    payload: int = 10_000
    pickups: int = 200
    seconds: int = 15
    idle: int = 600
    suspended: int = 1_000_000


QUICK = Sizes(
    tasks=10_000,
    snapshot=20_000,
    future=100_000,
    finished=50_000,
    leased=5_000,
    bulk=10_000,
    burn=1_000,
    backlog=10_000,
    pickups=30,
    seconds=4,
    idle=8,
    suspended=10_000,
)
MEANINGS = {
    "tasks": "tasks a drain takes",
    "snapshot": "tasks drained beside an old snapshot",
    "future": "rows that are due later",
    "finished": "rows that are finished already",
    "leased": "rows that another worker holds",
    "bulk": "rows of one bulk insert",
    "burn": "tasks that burn 1 ms of CPU each",
    "backlog": "tasks that wait while the worker's memory is watched",
    "payload": "bytes of each of their payloads",
    "pickups": "single tasks given to an idle worker",
    "seconds": "seconds of single-row inserts",
    "idle": "seconds an idle worker is watched",
    "suspended": "durable runs that are suspended",
}
if set(MEANINGS) != {one.name for one in fields(Sizes)}:
    raise AssertionError("every size has a meaning")


@dataclass(frozen=True, kw_only=True)
class Side:
    """A program that runs one round in a separate process and prints its metrics as JSON."""

    name: str
    program: str
    """A module below ``benchmarks.sides``, or a file in ``benchmarks/node``."""
    arguments: Mapping[str, object] = field(default_factory=dict)
    does: str = ""
    """Its differences from pgsched; shown in the table."""
    needs: tuple[str, ...] = ()
    """Its requirements: see ``peers``."""
    group: str = ""
    """Sides of one group are one peer in several settings; its best one counts. By default the name."""
    database: str = "empty"
    """The database it begins with: see ``databases``."""

    @property
    def peer(self) -> str:
        return self.group or self.name


@dataclass(frozen=True, kw_only=True)
class Bound:
    """One limit on a metric of one side; with ``against``, on its ratio to the same metric of another side."""

    metric: str
    side: str = "pgsched"
    at_least: float | None = None
    at_most: float | None = None
    against: str | None = None
    capped: float | None = None
    """The other side's metric counts as this much at most."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """Reached when any of its bounds is kept."""

    text: str
    bounds: tuple[Bound, ...]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One comparison: its sides alternate, and each round uses a fresh database."""

    name: str
    title: str
    sides: tuple[Side, ...]
    metrics: Mapping[str, str]
    """The metrics that are shown, the first one the main one, and their units."""
    targets: tuple[Target, ...] = ()
    rounds: int | None = None
    """At most so many, where one says it all."""
    slow: bool = False
    """Preparing takes minutes at full size."""

    @property
    def main(self) -> str:
        return next(iter(self.metrics))


def at_least(ratio: float, against: str, *, metric: str = "per_second", side: str = "pgsched") -> Target:
    """The usual target: a speed relative to another side."""
    return Target(
        text=f"≥ {ratio:g} × {against}", bounds=(Bound(metric=metric, side=side, at_least=ratio, against=against),)
    )


def at_most(value: float, unit: str, *, metric: str, side: str = "pgsched") -> Target:
    """An absolute limit."""
    name = metric.removesuffix(f"_{unit.lower()}").replace("_", " ")
    return Target(text=f"{name} ≤ {value:g} {unit}", bounds=(Bound(metric=metric, side=side, at_most=value),))
