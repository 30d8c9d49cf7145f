"""Bounds the label sets of metrics, and expires unused ones.

Queues or types named after tenants may number in the thousands. The first ones get their own series, all others are
counted together as ``other``. A series that has not changed for an hour is dropped, which frees its place.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Generic, NamedTuple, Protocol, TypeVar

MOST_SERIES = 100
"""Maximum number of queues, and of pairs of task type and queue, with their own series."""
LINGER_SECONDS = 3600.0
"""How long an unchanged series is kept: in a graph, a dropped series looks like lost data."""
OTHER = "other"
"""The label value of everything without its own series."""

Names = tuple[str, ...]


class Counted(Protocol):
    """The value of one label set."""

    @property
    def number(self) -> int:
        """A count that increases with each change."""


V = TypeVar("V", bound=Counted)


class _Seen(NamedTuple):
    number: int
    since: float


class Series(Generic[V]):
    """The values of at most :data:`MOST_SERIES` label sets, and one for all others."""

    def __init__(self, make: Callable[[], V], *, clock: Callable[[], float] = monotonic) -> None:
        self._make = make
        self._clock = clock
        self._kept: dict[Names, V] = {}
        self._seen: dict[Names, _Seen] = {}

    def at(self, names: Names) -> V:
        """Return the value of a label set, or that of all others if there is no place for it."""
        found = self._kept.get(names)
        return self._place(names) if found is None else found

    def items(self) -> list[tuple[Names, V]]:
        """Return all label sets and their values."""
        return list(self._kept.items())

    def shown(self) -> list[tuple[Names, V]]:
        """Return all label sets and their values, sorted; drop those unchanged for LINGER_SECONDS."""
        now = self._clock()
        shown = []
        for names, value in sorted(self._kept.copy().items()):
            seen = self._seen.get(names)
            if seen is None or seen.number != value.number:
                self._seen[names] = _Seen(value.number, now)
            elif now - seen.since >= LINGER_SECONDS:
                del self._kept[names], self._seen[names]
                continue
            shown.append((names, value))
        return shown

    def _place(self, names: Names) -> V:
        if len(self._kept) >= MOST_SERIES:
            names = (OTHER,) * len(names)
        return self._kept.setdefault(names, self._make())
