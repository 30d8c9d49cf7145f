"""The compared variants: unmodified pgsched, and a form that lacks one point."""

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
    """Number of tasks if each takes a separate statement."""
    slow: int = 200
    """Tasks of slow handlers that two workers share."""
    appointments: int = 20
    """Tasks that are due within the next seconds."""
    schedules: int = 20_000
    """New cron rows."""


SMALL = PointSizes(**{**vars(QUICK), "singles": 500, "slow": 100, "appointments": 10, "schedules": 2_000})


@dataclass(frozen=True)
class Change:
    """A text that occurs exactly once in a file of the checkout, and its replacement in the copy."""

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
    """What the form does instead of the point."""
    changes: tuple[Change, ...] = ()
    statements: tuple[str, ...] = ()
    """SQL statements that run on the fresh database, each in a separate transaction."""
    arguments: Mapping[str, object] = field(default_factory=dict)
    """Arguments of its program in addition to, or instead of, those of all forms."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One point: its forms alternate, and each round uses a fresh database."""

    label: str
    """The number of the point; a second comparison of it has a letter appended."""
    title: str
    program: str
    """A module below ``benchmarks``."""
    metrics: tuple[Metric, ...]
    withouts: tuple[Form, ...]
    """None if the point cannot be removed."""
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
    """Return ``text`` with ``new`` for ``old``. Raise LookupError unless ``old`` occurs exactly once."""
    found = text.count(old)
    if found != 1:
        raise LookupError(f"{where} has {found} times, not once: {old!r}; update benchmarks/points")
    return text.replace(old, new)
