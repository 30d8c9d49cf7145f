"""What is compared: pgsched as it is, and a form of it that lacks one point."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from benchmarks.model import QUICK, Sizes


@dataclass(frozen=True, kw_only=True)
class PointSizes(Sizes):
    """How much is done; none of these is an option of the command line."""

    finished: int = 1_000_000
    future: int = 1_000_000
    snapshot: int = 200_000
    singles: int = 5_000
    """Tasks where each takes a statement of its own."""
    slow: int = 200
    """Tasks of slow handlers that two workers share."""
    appointments: int = 20
    """Tasks that are due within the next seconds."""
    schedules: int = 20_000
    """New cron rows."""


SMALL = PointSizes(**{**vars(QUICK), "singles": 500, "slow": 100, "appointments": 10, "schedules": 2_000})


@dataclass(frozen=True)
class Change:
    """A text of a file of the checkout, found there exactly once, and what stands in its place in the copy."""

    file: str
    old: str
    new: str


@dataclass(frozen=True)
class Metric:
    """How a metric is written and read."""

    name: str
    unit: str
    more_is_better: bool = False


@dataclass(frozen=True, kw_only=True)
class Form:
    """One form of pgsched: the checkout with changes, on a database with changes."""

    label: str = ""
    does: str = ""
    """What it does in place of the point."""
    changes: tuple[Change, ...] = ()
    statements: tuple[str, ...] = ()
    """SQL run one by one on the fresh database, each in a transaction of its own."""
    arguments: Mapping[str, object] = field(default_factory=dict)
    """What its program is told beside, or in place of, what all forms are told."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One point: its forms run in turns, each round on a fresh database."""

    label: str
    """The number of the point; a second way to look at it has a letter behind."""
    title: str
    program: str
    """A module below ``benchmarks``."""
    metrics: tuple[Metric, ...]
    withouts: tuple[Form, ...]
    """None where the point cannot be left out."""
    as_it_is: Form = field(default_factory=Form)
    arguments: Mapping[str, object] = field(default_factory=dict)
    server: str = "pg18"
    """The embedded server it runs on: see ``tests.support.servers``."""
    database: str = "empty"
    """The database it begins with: see ``benchmarks.databases``."""
    afterwards: Mapping[str, str] = field(default_factory=dict)
    """More metrics, by the SQL that answers them when the round is over."""

    @property
    def forms(self) -> tuple[Form, ...]:
        return (self.as_it_is, *self.withouts)


def replace_once(text: str, old: str, new: str, where: str) -> str:
    """``text`` with ``new`` for ``old``. Raises LookupError unless ``old`` is there exactly once."""
    found = text.count(old)
    if found != 1:
        raise LookupError(f"{where} has {found} times, not once: {old!r}; update benchmarks/points")
    return text.replace(old, new)
