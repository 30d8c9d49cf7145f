"""The troubles of a worker, collected from its parts on demand, from any thread.

A trouble is shown by ``/readyz``, the metrics, and with the heartbeat by the worker's row in ``pgsched.workers``, where
the doctor, lists and pages find it. Its kinds have the names of the doctor's checks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import inf
from time import monotonic
from typing import Any, Final, NamedTuple

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from pgsched.db.session import Session
from pgsched.db.worker.housekeeping import measure_type
from pgsched.domain.storable import storable
from pgsched.observability.logs import errors
from pgsched.ops.doctor.words import age, many, some_ids
from pgsched.worker.clock import DatabaseClock
from pgsched.worker.completer import Completer
from pgsched.worker.executor import Executor
from pgsched.worker.leased_tasks import LeasedTask
from pgsched.worker.loops import Loops
from pgsched.worker.metrics import WorkerMetrics, plain_gauges
from pgsched.worker.set_aside import SetAside

UNWRITTEN, LOOPS, LOST, OVERDUE = "unwritten_outcomes", "failing_loops", "lost_slots", "overdue_attempts"
LONG, UPKEEP, SET_ASIDE, LOGS = "long_attempts", "failing_upkeep", "set_aside", "log_errors"
KINDS: Final = (UNWRITTEN, LOOPS, LOST, OVERDUE, LONG, UPKEEP, SET_ASIDE, LOGS)

ESSENTIAL: Final = ("claim", "finish")
"""Loops without which a worker does nothing."""
OWN_LOOPS: Final = (*ESSENTIAL, "heartbeat", "listen")
"""Loops of the work itself; the others are upkeep."""
UNWRITTEN_SECONDS: Final = 5.0
"""An outcome that waits longer to be written is stuck."""
OVERDUE_SECONDS: Final = 2.0
"""How long an attempt may clean up after its timeout, or after it was cancelled."""
SILENT_SECONDS: Final = 5.0
"""How long an answer to a claim may take."""
IDLE_SECONDS: Final = 5.0
"""A row that waits this long while a slot is free is not taken."""
BLOCKED_SECONDS: Final = 5.0
"""How long a handler may block the event loop."""
HOPELESS_SECONDS: Final = 60.0
"""A trouble that cannot resolve itself and has lasted this long needs a new process."""
SET_ASIDE_SECONDS: Final = 1.0
"""Rows that were set aside for less, for example because of a short lock, are no trouble."""
LOG_SECONDS: Final = 60.0
"""How long lost log lines are reported."""
MAX_DETAIL: Final = 500
LONG_SECONDS: Final = 60.0
"""An attempt that has run for less is not overlong."""
TIMES: Final = 10.0
"""An attempt is overlong when it has run this many times as long as a SHARE of the attempts of its type."""
SHARE: Final = 0.99
ENOUGH: Final = 20
"""Types with fewer known attempts are not judged."""
ASK_AGAIN_SECONDS: Final = 600.0
"""How often the history is queried for a type with long attempts in progress."""


class Trouble(NamedTuple):
    """A problem of a worker."""

    kind: str
    object: str
    """What has it: a loop or a task type; empty for the worker."""
    since: float
    """Since when, by the monotonic clock."""
    detail: str
    """One line with the figures."""
    stops: bool = False
    """Whether it keeps the worker from its work."""
    hopeless: bool = False
    """Whether it will not resolve itself, so that a new process is needed."""

    @property
    def key(self) -> tuple[str, str, bool]:
        """What distinguishes it from an earlier trouble."""
        return self.kind, self.object, self.stops


class _Learned(NamedTuple):
    seconds: float | None
    at: float


class Usual:
    """How long attempts of a type usually run, so that one which runs far longer is noticed.

    Based on the attempts of this process; for a type that it has run too rarely, on the latest of the history.
    """

    def __init__(self, counts: WorkerMetrics) -> None:
        self._counts = counts
        self._learned: dict[str, _Learned] = {}
        self._unknown: set[str] = set()

    def limit(self, task_type: str, ran: float) -> float | None:
        """Return for how many seconds an attempt may run that has run for ``ran``; None when that is unknown.

        May be called from any thread.
        """
        if ran < LONG_SECONDS:
            return None
        seconds = self._counts.usual_duration(task_type, share=SHARE, enough=ENOUGH)
        if seconds is None:
            learned = self._learned.get(task_type)
            if learned is None or monotonic() - learned.at > ASK_AGAIN_SECONDS:
                self._unknown.add(task_type)
            seconds = None if learned is None else learned.seconds
        return None if seconds is None else max(TIMES * seconds, LONG_SECONDS)

    async def learn(self, session: Session) -> None:
        """Query the history for the requested types that are unknown. Raises DatabaseUnavailable."""
        unknown, self._unknown = self._unknown, set()
        for task_type in sorted(unknown):
            seconds = await measure_type(session, task_type, share=SHARE, enough=ENOUGH)
            self._learned[task_type] = _Learned(seconds, monotonic())


@dataclass(kw_only=True, eq=False, repr=False)
class Troubles(Collector):
    """Looks at the parts of one worker; changes none of them."""

    loops: Loops
    claims: Session
    completer: Completer
    executor: Executor
    waiting: Sequence[LeasedTask]
    """Held rows that have not started."""
    usual: Usual
    clock: DatabaseClock
    blocked: Callable[[], float]
    """Returns for how many seconds the event loop has been blocked."""
    set_aside: Sequence[SetAside[Any]]

    def __post_init__(self) -> None:
        self._lost_lines, self._lines_lost_at = errors(), -inf
        self._next: tuple[LeasedTask, float] | None = None

    def now(self) -> list[Trouble]:
        """Return the current troubles, the worst first."""
        at = monotonic()
        overdue = self._overdue(at)
        found = [
            *self._unwritten(at),
            *self._failing(at),
            *self._lost(at),
            *overdue,
            *self._long(at),
            *self._aside(at),
            *self._lines(at),
        ]
        return sorted(found, key=lambda one: (not one.stops, KINDS.index(one.kind), one.object))

    def stopping(self) -> str | None:
        """Return what keeps the worker from its work; None when nothing does."""
        return next((f"{one.kind}: {one.detail}" for one in self.now() if one.stops), None)

    def hopeless(self) -> str | None:
        """Return what a new process would fix; None when there is nothing."""
        return next((f"{one.kind}: {one.detail}" for one in self.now() if one.hopeless), None)

    def record(self, troubles: Sequence[Trouble]) -> list[dict[str, Any]]:
        """Return troubles in the form of the worker's row; times are the database's."""
        return [
            {
                "kind": one.kind,
                "object": one.object,
                "since": self.clock.at(one.since).isoformat(timespec="seconds").replace("+00:00", "Z"),
                "stops": one.stops,
                "detail": one.detail,
            }
            for one in troubles
        ]

    def collect(self) -> Iterable[Metric]:
        """Return the families of ``/metrics``: every kind, with 0 while there is no trouble."""
        there = {trouble.kind for trouble in self.now()}
        kinds = GaugeMetricFamily("pgsched_worker_trouble", "Processes with this trouble.", labels=["kind"])
        for kind in KINDS:
            kinds.add_metric([kind], float(kind in there))
        yield kinds
        at, oldest = monotonic(), self.completer.oldest_unwritten
        waits = 0.0 if oldest is None else max(at - oldest, 0.0)
        overdue = sum(_is_overdue(leased, at) for leased in self.executor.occupants())
        lost, _ = self._lost_slots(at)
        yield from plain_gauges(
            ("pgsched_unwritten_outcomes", "Outcomes that wait to be written.", len(self.completer)),
            ("pgsched_unwritten_outcome_age_seconds", "How long the oldest of them has waited.", waits),
            ("pgsched_slots_overdue", "Slots held by attempts that should have ended.", overdue),
            ("pgsched_slots_lost", "Free slots that begin nothing though tasks wait.", lost),
        )

    def _total(self) -> int:
        return len(self.executor.occupants()) + self.executor.free

    def _lost_slots(self, at: float) -> tuple[int, float]:
        """Return how many free slots ignore the waiting next row for too long, and since when it was seen there."""
        free = self.executor.free
        try:
            front = self.waiting[0] if free > 0 else None
        except IndexError:  # taken a moment ago
            front = None
        if front is None or self.blocked() > BLOCKED_SECONDS:
            self._next = None
            return 0, at
        seen = self._next
        if seen is None or seen[0] is not front:
            seen = self._next = (front, at)
        return min(free, len(self.waiting)) if at - seen[1] > IDLE_SECONDS else 0, seen[1]

    def _lost(self, at: float) -> list[Trouble]:
        lost, since = self._lost_slots(at)
        if not lost:
            return []
        detail = f"{many(lost, 'free slot')} of {self._total()} begin nothing, though tasks wait in this worker"
        return [Trouble(LOST, "", since, detail, stops=True, hopeless=at - since > HOPELESS_SECONDS)]

    def _overdue(self, at: float) -> list[Trouble]:
        occupants = self.executor.occupants()
        by_type: dict[str, list[tuple[float, LeasedTask]]] = {}
        for leased in occupants:
            if leased.ends_by is not None and _is_overdue(leased, at):
                by_type.setdefault(leased.task.task_type, []).append((leased.ends_by, leased))
        held = [ends_by for found in by_type.values() for ends_by, _ in found]
        total = self._total()
        stops = len(held) >= total
        hopeless = stops and at - max(held) > HOPELESS_SECONDS
        return [
            Trouble(
                OVERDUE,
                task_type,
                min(ends_by for ends_by, _ in found),
                f"{len(found)} of {total} slots {'is' if len(found) == 1 else 'are'} held by attempts of "
                f"{task_type} that should have ended: {_ids([hold for _, hold in found])}",
                stops=stops,
                hopeless=hopeless,
            )
            for task_type, found in by_type.items()
        ]

    def _long(self, at: float) -> list[Trouble]:
        by_type: dict[str, list[tuple[float, float, LeasedTask]]] = {}
        for leased in self.executor.occupants():
            if leased.started_at is None or (leased.ends_by is not None and leased.ends_by <= at):
                continue
            task_type, started_at = leased.task.task_type, leased.started_at
            limit = self.usual.limit(task_type, at - started_at)
            if limit is not None and at - started_at > limit:
                by_type.setdefault(task_type, []).append((started_at, limit, leased))
        return [
            Trouble(
                LONG,
                task_type,
                min(started_at for started_at, _, _ in found),
                f"{many(len(found), 'attempt')} of {task_type} running for over {age(found[0][1])}, far longer than "
                f"usual: {_ids([hold for _, _, hold in found])}",
            )
            for task_type, found in by_type.items()
        ]

    def _unwritten(self, at: float) -> list[Trouble]:
        oldest = self.completer.oldest_unwritten
        if oldest is None or at - oldest <= UNWRITTEN_SECONDS:
            return []
        detail = f"{many(max(len(self.completer), 1), 'outcome')} not written for over {UNWRITTEN_SECONDS:g} s"
        return [Trouble(UNWRITTEN, "", oldest, detail, stops=True)]

    def _failing(self, at: float) -> list[Trouble]:
        found = []
        asked_at = self.claims.asked_at
        if asked_at is not None and at - asked_at > SILENT_SECONDS:
            detail = (
                f"the database has not answered a claim for over {SILENT_SECONDS:g} s: it is away, or a lock is held"
            )
            found.append(Trouble(LOOPS, "claim", asked_at, detail, stops=True))
        if (blocked := self.blocked()) > BLOCKED_SECONDS:
            detail = f"a handler has blocked the event loop for over {BLOCKED_SECONDS:g} s"
            found.append(Trouble(LOOPS, "event loop", at - blocked, detail, stops=True))
        for name, failing in self.loops.in_trouble():
            essential = name in ESSENTIAL
            found.append(
                Trouble(
                    LOOPS if name in OWN_LOOPS else UPKEEP,
                    name,
                    failing.since,
                    storable(f"the loop {name} has failed {many(failing.times, 'time')}: {failing.error}", MAX_DETAIL),
                    stops=essential,
                    hopeless=essential and failing.own and at - failing.since > HOPELESS_SECONDS,
                )
            )
        return found

    def _aside(self, at: float) -> list[Trouble]:
        oldest = [one.oldest for one in self.set_aside if len(one)]
        since = min((one for one in oldest if one is not None), default=at)
        if at - since <= SET_ASIDE_SECONDS:
            return []
        number = sum(map(len, self.set_aside))
        detail = f"{many(number, 'task')} set aside, as the database refuses {'it' if number == 1 else 'them'}"
        return [Trouble(SET_ASIDE, "", since, detail, stops=self.completer.behind)]

    def _lines(self, at: float) -> list[Trouble]:
        lost = errors()
        if lost > self._lost_lines:
            self._lost_lines, self._lines_lost_at = lost, at
        if at - self._lines_lost_at >= LOG_SECONDS:
            return []
        return [Trouble(LOGS, "", self._lines_lost_at, f"{many(lost, 'log line')} lost since the worker started")]


def _is_overdue(leased: LeasedTask, at: float) -> bool:
    return leased.ends_by is not None and at - leased.ends_by > OVERDUE_SECONDS


def _ids(leased_tasks: Sequence[LeasedTask]) -> str:
    return some_ids([leased.task.id for leased in leased_tasks[:3]], len(leased_tasks))
