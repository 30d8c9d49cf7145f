"""The input of the judgements: the answers of the database, some of which may be missing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Generic, TypeVar

from pgsched.db.diagnostic_session import Answers, Refusal
from pgsched.db.queries import dashboard, diagnostics
from pgsched.db.queries.reasons import list_backlogs
from pgsched.db.queries.tasks import list_alerts
from pgsched.db.queries.workers import workers
from pgsched.db.query import Command
from pgsched.domain.database_state import DatabaseState
from pgsched.domain.silence import Alert
from pgsched.domain.waiting.backlog import Sample
from pgsched.domain.worker_records import WorkerInfo, WorkerTrouble

T = TypeVar("T")
K = TypeVar(
    "K",
    diagnostics.Front,
    diagnostics.Holder,
    diagnostics.Foreign,
    diagnostics.Locks,
    diagnostics.Part,
    Alert,
    WorkerTrouble,
)

ZONE_STEP: Final = timedelta(days=14)
ZONE_STEPS: Final = 53
"""Time zones are compared every two weeks for two years."""


class NotSeen(Exception):
    """The answer is missing."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.reason)
        self.refusal = refusal


def questions(now: datetime) -> dict[str, Command[Any]]:
    """Return all queries by name; time zones are compared from ``now`` on."""
    return {
        **diagnostics.examinations(instants_from(now)),
        "workers": workers(),
        "queues": dashboard.survey_queues(),
        "types": dashboard.survey_types(),
        "alerts": list_alerts(),
        "backlogs": list_backlogs(),
    }


PRESSING: Final = frozenset(
    {"version", "database", "workers", "queues", "types", "front", "set_aside", "alerts", "backlogs"}
)
"""Queries about what keeps tasks from running now: they run often, the others rarely."""
UNKNOWN_TO_STANDBYS: Final = ("workers", "types", "front", "set_aside")
"""Queries about workers, which a standby cannot answer: there the checks that need them are silently unseen."""


def instants_from(now: datetime) -> list[datetime]:
    """Return the times at which time zones are compared."""
    first = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    return [first + number * ZONE_STEP for number in range(ZONE_STEPS)]


class Answered(Generic[T]):
    """The answer to a query; reading a missing one raises NotSeen."""

    def __init__(self, question: str) -> None:
        self._question = question

    def __get__(self, facts: Facts, owner: type[Facts]) -> T:
        """Return the answer."""
        found: T | Refusal = facts.found.get(self._question, Refusal("it was not queried"))
        if isinstance(found, Refusal):
            raise NotSeen(found)
        return found


class Facts:
    """All answers. Reading a missing one raises NotSeen."""

    def __init__(self, answers: Answers, *, program_version: int, now: datetime) -> None:
        unknown = dict.fromkeys(UNKNOWN_TO_STANDBYS, Refusal("")) if answers.standby else {}
        self.found: Mapping[str, Any] = {**answers.found, **unknown}
        self.pooled = answers.pooled
        self.skew = answers.skew
        self.program_version = program_version
        self.now = now

    server = Answered[diagnostics.Server]("server")
    database = Answered[DatabaseState]("database")
    tables = Answered[list[diagnostics.Table]]("tables")
    catalog = Answered[list[diagnostics.Part]]("catalog")
    partitions = Answered[list[diagnostics.Days]]("partitions")
    retention = Answered[diagnostics.Retention]("retention")
    holders = Answered[list[diagnostics.Holder]]("sessions")
    foreign = Answered[list[diagnostics.Foreign]]("foreign")
    locks = Answered[list[diagnostics.Locks]]("locks")
    zones = Answered[list[diagnostics.Zone]]("zones")
    workers = Answered[list[WorkerInfo]]("workers")
    queues = Answered[list[dashboard.QueueSurvey]]("queues")
    types = Answered[list[dashboard.TypeSurvey]]("types")
    front = Answered[list[diagnostics.Front]]("front")
    blocked = Answered[diagnostics.Blocked]("blocked")
    deaths = Answered[list[diagnostics.Deaths]]("dead")
    history = Answered[diagnostics.LastHour]("history")
    set_aside = Answered[list[diagnostics.SetAside]]("set_aside")
    misfits = Answered[list[diagnostics.WaitingMisfit]]("misfits")
    durable = Answered[list[diagnostics.DurableTrouble]]("durable")
    alerts = Answered[list[Alert]]("alerts")
    backlogs = Answered[dict[str, list[Sample]]]("backlogs")
    _version = Answered[diagnostics.Version]("version")

    @property
    def version(self) -> diagnostics.Version:
        """The schema's version; 0 without a schema."""
        try:
            return self._version
        except NotSeen as gone:
            if gone.refusal.kind == "missing":
                return diagnostics.Version(version=0, works_with=0)
            raise

    @property
    def paused(self) -> set[str]:
        """The names of the paused queues."""
        return {queue.name for queue in self.queues if queue.paused}

    @property
    def alive(self) -> list[WorkerInfo]:
        """The living workers."""
        return [worker for worker in self.workers if worker.alive]


def of_kind(kind: str, rows: Iterable[K]) -> Iterator[K]:
    """Return the rows of one kind."""
    return (row for row in rows if row.kind == kind)
