"""What the judgements judge: the answers of the database, each there or not."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Generic, TypeVar

from pgsched.db.diagnostic_session import Answers, Refusal
from pgsched.db.queries import alerts as alert_commands
from pgsched.db.queries import dashboard
from pgsched.db.queries import diagnostics as doctor_commands
from pgsched.db.queries import workers as worker_commands
from pgsched.db.queries.dashboard import QueueSurvey, TypeSurvey
from pgsched.db.queries.diagnostics import (
    Blocked,
    Days,
    Deaths,
    Foreign,
    Front,
    Holder,
    LastHour,
    Locks,
    Part,
    Retention,
    Server,
    SetAside,
    Table,
    Version,
    Zone,
)
from pgsched.db.query import Command
from pgsched.domain.records import WorkerInfo
from pgsched.domain.silence import Alert

T = TypeVar("T")

ZONE_STEP: Final = timedelta(days=14)
ZONE_STEPS: Final = 53
"""Zones are compared every two weeks for two years."""


class NotSeen(Exception):
    """The answer is not there."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.reason)
        self.refusal = refusal


def questions(now: datetime) -> dict[str, Command[Any]]:
    """Return everything that is asked, by name; zones are compared from ``now`` on."""
    return {
        "version": doctor_commands.examine_version(),
        "server": doctor_commands.examine_server(),
        "tables": doctor_commands.examine_tables(),
        "catalog": doctor_commands.examine_catalog(),
        "partitions": doctor_commands.examine_partitions(),
        "retention": doctor_commands.examine_retention(),
        "sessions": doctor_commands.examine_sessions(),
        "foreign": doctor_commands.examine_foreign(),
        "locks": doctor_commands.examine_locks(),
        "zones": doctor_commands.examine_timezones(instants_from(now)),
        "workers": worker_commands.workers(),
        "queues": dashboard.survey_queues(),
        "types": dashboard.survey_types(),
        "front": doctor_commands.examine_front(),
        "blocked": doctor_commands.examine_blocked(),
        "dead": doctor_commands.examine_dead(),
        "history": doctor_commands.examine_history(),
        "set_aside": doctor_commands.examine_set_aside(),
        "alerts": alert_commands.list_alerts(),
    }


PRESSING: Final = frozenset({"version", "workers", "queues", "types", "front", "set_aside", "alerts"})
"""Questions about what keeps tasks from running now: they are asked often, the others seldom."""
UNKNOWN_TO_STANDBYS: Final = ("workers", "types", "front", "set_aside")
"""Questions about workers, of which a standby knows nothing: there the checks that need them are unseen, silently."""


def instants_from(now: datetime) -> list[datetime]:
    """Return the times at which zones are compared."""
    first = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    return [first + number * ZONE_STEP for number in range(ZONE_STEPS)]


class Answered(Generic[T]):
    """The answer to a question; NotSeen when it is read and not there."""

    def __init__(self, question: str) -> None:
        self._question = question

    def __get__(self, facts: Facts, owner: type[Facts]) -> T:
        """Return the answer."""
        found: T | Refusal = facts.found.get(self._question, Refusal("it was not asked"))
        if isinstance(found, Refusal):
            raise NotSeen(found)
        return found


class Facts:
    """The answers. Asking for one that is not there raises NotSeen."""

    def __init__(self, answers: Answers, *, program_version: int, now: datetime) -> None:
        unknown = dict.fromkeys(UNKNOWN_TO_STANDBYS, Refusal("")) if answers.standby else {}
        self.found: Mapping[str, Any] = {**answers.found, **unknown}
        self.pooled = answers.pooled
        self.skew = answers.skew
        self.program_version = program_version
        self.now = now

    server = Answered[Server]("server")
    tables = Answered[list[Table]]("tables")
    catalog = Answered[list[Part]]("catalog")
    """What the schema is made of."""
    partitions = Answered[list[Days]]("partitions")
    """The days of the history."""
    retention = Answered[Retention]("retention")
    """Whether anything is ever deleted."""
    holders = Answered[list[Holder]]("sessions")
    """What keeps dead rows."""
    foreign = Answered[list[Foreign]]("foreign")
    """What others have made."""
    locks = Answered[list[Locks]]("locks")
    """Which locks others hold."""
    zones = Answered[list[Zone]]("zones")
    """The zones of schedules."""
    workers = Answered[list[WorkerInfo]]("workers")
    queues = Answered[list[QueueSurvey]]("queues")
    types = Answered[list[TypeSurvey]]("types")
    """What is due, by queue and type."""
    front = Answered[list[Front]]("front")
    """What stands at the front and should not."""
    blocked = Answered[Blocked]("blocked")
    """What waits for nothing."""
    deaths = Answered[list[Deaths]]("dead")
    """What died in the last hour."""
    history = Answered[LastHour]("history")
    """The last hour."""
    set_aside = Answered[list[SetAside]]("set_aside")
    """What workers have set aside."""
    alerts = Answered[list[Alert]]("alerts")
    """Which tasks had no success, or run, for longer than they say."""
    _version = Answered[Version]("version")

    @property
    def version(self) -> Version:
        """The schema's version; 0 when there is none."""
        try:
            return self._version
        except NotSeen as gone:
            if gone.refusal.kind == "missing":
                return Version(version=0, works_with=0)
            raise

    @property
    def paused(self) -> set[str]:
        """The names of the queues that are paused."""
        return {queue.name for queue in self.queues if queue.paused}
