"""How long attempts of a type usually run, so that one which runs far longer is noticed.

The rule: an attempt is overlong when it has run for :data:`TIMES` times as long as 99 of 100 attempts of its type,
and for :data:`LEAST_SECONDS` at least. Types of which fewer than :data:`ENOUGH` attempts are known are not judged. The
attempts are those of this process; of a type that it has not run so often, the latest of the history.
"""

from __future__ import annotations

from collections.abc import Iterable
from time import monotonic
from typing import Final, NamedTuple

from pgsched.db.session import Session
from pgsched.db.worker.housekeeping import measure_type
from pgsched.worker.metrics import WorkerMetrics

LEAST_SECONDS: Final = 60.0
TIMES: Final = 10.0
ENOUGH: Final = 20
SHARE: Final = 0.99
ASK_AGAIN_SECONDS: Final = 600.0
"""How often the history is asked about a type that has attempts under way which run for long."""


class _Learned(NamedTuple):
    seconds: float | None
    at: float


class Usual:
    """What is known of the durations of task types."""

    def __init__(self, counts: WorkerMetrics) -> None:
        self._counts = counts
        self._learned: dict[str, _Learned] = {}
        self._unknown: set[str] = set()

    def limit(self, task_type: str, ran: float) -> float | None:
        """Return for how many seconds an attempt may run that has run for ``ran``; None: it is not known, or not yet.

        May be called from any thread.
        """
        if ran < LEAST_SECONDS:
            return None
        seconds = self._counts.usual_duration(task_type, share=SHARE, enough=ENOUGH)
        if seconds is None:
            learned = self._learned.get(task_type)
            if learned is None or monotonic() - learned.at > ASK_AGAIN_SECONDS:
                self._unknown.add(task_type)
            seconds = None if learned is None else learned.seconds
        return None if seconds is None else max(TIMES * seconds, LEAST_SECONDS)

    async def learn(self, session: Session) -> None:
        """Ask the history about types that were asked for and are not known. Raises DatabaseUnavailable."""
        for task_type in self._take_unknown():
            seconds = await measure_type(session, task_type, share=SHARE, enough=ENOUGH)
            self._learned[task_type] = _Learned(seconds, monotonic())

    def _take_unknown(self) -> Iterable[str]:
        unknown, self._unknown = self._unknown, set()
        return sorted(unknown)
