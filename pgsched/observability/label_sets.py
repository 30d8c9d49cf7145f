"""What is counted by labels: no more label sets than a scrape can carry, and none for ever.

Whoever names queues or types after tenants has thousands of them. The first ones have series of their own, all others
are counted together, as ``other``. What has not changed for an hour is let go, and its place is free.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Generic, NamedTuple, Protocol, TypeVar

MOST_SERIES = 100
"""So many queues, and pairs of task type and queue, have series of their own."""
LINGER_SECONDS = 3600.0
"""How long a series is shown that does not change: a line that ends looks like one that is lost."""
OTHER = "other"
"""The labels of all that have none of their own."""

Names = tuple[str, ...]


class Counted(Protocol):
    """What is kept for one label set."""

    @property
    def number(self) -> int:
        """How much was counted: it grows with each change."""


V = TypeVar("V", bound=Counted)


class _Seen(NamedTuple):
    number: int
    since: float


class Series(Generic[V]):
    """At most :data:`MOST_SERIES` label sets and what was counted for each, and one for all others."""

    def __init__(self, make: Callable[[], V], *, clock: Callable[[], float] = monotonic) -> None:
        self._make = make
        self._clock = clock
        self._kept: dict[Names, V] = {}
        self._seen: dict[Names, _Seen] = {}

    def at(self, names: Names) -> V:
        """Return what is kept for a label set, or for the others when it has no place."""
        found = self._kept.get(names)
        return self._place(names) if found is None else found

    def items(self) -> list[tuple[Names, V]]:
        """Return all of it."""
        return list(self._kept.items())

    def shown(self) -> list[tuple[Names, V]]:
        """Return all of it, sorted; what has not changed for so long is let go."""
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
