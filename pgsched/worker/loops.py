"""How the loops of a worker fare: each notes that it failed, or works; anybody reads it, from any thread."""

from __future__ import annotations

from time import monotonic
from typing import NamedTuple

from pgsched.db.error_mapping import one_line
from pgsched.domain.errors import DatabaseUnavailable

STEADY_SECONDS = 5.0
"""A loop that has worked for so long since it failed has recovered. One that fails for so long is in trouble."""


class Failing(NamedTuple):
    """A loop that fails. Times are by the monotonic clock, in seconds."""

    since: float
    last: float
    times: int
    error: str
    own: bool
    """The last failure was the program's own: neither that the database was away nor what it said."""
    works: bool = False
    """It has worked once more since it failed last."""


class Loop:
    """One loop, or one duty of the loop that does several."""

    def __init__(self) -> None:
        self._failing: Failing | None = None  # replaced, never changed: readers are other threads

    def worked(self) -> None:
        """A turn ended well."""
        failing = self._failing
        if failing is not None:
            recovered = monotonic() - failing.last > STEADY_SECONDS
            self._failing = None if recovered else failing._replace(works=True)

    def failed(self, error: BaseException) -> None:
        """A turn failed."""
        now, before = monotonic(), self._failing
        if before is None or (before.works and now - before.last > STEADY_SECONDS):
            before = Failing(since=now, last=now, times=0, error="", own=False)
        ours = not isinstance(error, DatabaseUnavailable)
        self._failing = Failing(
            since=before.since,
            last=now,
            times=before.times + 1,
            error=f"{type(error).__name__}: {one_line(error)}" if ours else one_line(error),
            own=ours,
        )

    def trouble(self) -> Failing | None:
        """Return how it fails; None while it works, or has failed for a moment only."""
        failing, now = self._failing, monotonic()
        if failing is None:
            return None
        if failing.works:
            lasting = now - failing.last <= STEADY_SECONDS and failing.last - failing.since > STEADY_SECONDS
        else:
            lasting = now - failing.since > STEADY_SECONDS
        return failing if lasting else None


class Loops:
    """All of them, by name."""

    def __init__(self) -> None:
        self._loops: dict[str, Loop] = {}

    def of(self, name: str) -> Loop:
        """Return the loop of a name."""
        return self._loops.setdefault(name, Loop())

    def in_trouble(self) -> list[tuple[str, Failing]]:
        """Return those that fail, by name."""
        seen = [(name, loop.trouble()) for name, loop in sorted(self._loops.copy().items())]
        return [(name, failing) for name, failing in seen if failing is not None]
