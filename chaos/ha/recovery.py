"""How long after a blow work was complete again, and how much of that passed before there was a primary."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from chaos.ha.bound import Window

ALLOWANCE = 0.5
"""Seconds added to the measured lag, which is a little old when the fault strikes."""


@dataclass(frozen=True, kw_only=True)
class Struck:
    """One blow to a leader, with its times by ``time.time()``."""

    name: str
    at: float
    writable_at: float
    """When a primary was seen again."""
    over_at: float
    """When the old leader was known to acknowledge nothing more."""
    whole_at: float
    """When all nodes followed the new one."""
    until: float
    """Until when the load ran after that."""
    lag: float
    """Seconds that the replicas were behind before it."""

    @property
    def window(self) -> Window:
        """When acknowledged commits may have been lost: as long as the old leader may have acknowledged any."""
        return Window(self.at - self.lag - ALLOWANCE, self.over_at)


def describe(struck: Sequence[Struck], done: Mapping[int, int], wanted: float) -> Iterator[str]:
    """Yield what was measured; ``done`` and ``wanted`` as in :func:`whole_again`."""
    yield f"A primary was there again after {_spread([one.writable_at - one.at for one in struck])}."
    found = [(one, whole_again(done, one.at, one.until, wanted)) for one in struck]
    whole = [(one, seconds) for one, seconds in found if seconds is not None]
    if whole:
        later = sorted((max(0.0, one.at + seconds - one.writable_at), one.name) for one, seconds in whole)
        yield (
            f"Work was complete again {_spread([seconds for _, seconds in whole])} after the fault, "
            f"{_spread([seconds for seconds, _ in later])} after a primary was there."
        )
        longest = ", ".join(f"{name} {seconds:.1f} s" for seconds, name in reversed(later[-3:]))
        yield f"The longest after that: {longest}."
    if len(whole) < len(found):
        yield f"{len(found) - len(whole)} times it was not before the next fault."


def whole_again(done: Mapping[int, int], at: float, until: float, wanted: float) -> float | None:
    """Seconds from a fault to the first second after its outage with as many completions as ``wanted``.

    The outage is the longest time without any completion; less than 0.3 s is none. ``done`` has the completions of
    every tenth of a second. None when there is no such second.
    """
    first, last = int(at * 10), int(until * 10)
    start = resumed = first
    longest = 0
    for tenth in range(first, last + 1):
        if done.get(tenth, 0):
            start = tenth + 1
        elif tenth + 1 - start > longest:
            longest, resumed = tenth + 1 - start, tenth + 1
    if longest < 3:
        return 0.0
    for tenth in range(resumed, last - 10):
        if sum(done.get(tenth + step, 0) for step in range(10)) >= wanted:
            return max(0.0, round(tenth / 10 - at, 1))
    return None


def _spread(seconds: Sequence[float]) -> str:
    return f"{min(seconds):.1f} to {max(seconds):.1f} s (median {median(seconds):.1f} s)"
