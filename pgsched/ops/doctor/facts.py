"""What the judgements judge: the answers of the database, each there or not."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from pgsched.db import alert_commands, commands, doctor_commands, page_commands
from pgsched.db.commands import Command
from pgsched.db.diagnostic_session import Answers, Refusal
from pgsched.db.doctor_commands import (
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
from pgsched.db.page_commands import QueueSurvey, TypeSurvey
from pgsched.domain.records import WorkerInfo
from pgsched.domain.silence import Alert

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
        "workers": commands.workers(),
        "queues": page_commands.survey_queues(),
        "types": page_commands.survey_types(),
        "front": doctor_commands.examine_front(),
        "blocked": doctor_commands.examine_blocked(),
        "dead": doctor_commands.examine_dead(),
        "history": doctor_commands.examine_history(),
        "set_aside": doctor_commands.examine_set_aside(),
        "alerts": alert_commands.list_alerts(),
    }


PRESSING: Final = frozenset({"version", "workers", "queues", "types", "front", "set_aside", "alerts"})
"""Questions about what keeps tasks from running now: they are asked often, the others seldom."""


def instants_from(now: datetime) -> list[datetime]:
    """Return the times at which zones are compared."""
    first = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    return [first + number * ZONE_STEP for number in range(ZONE_STEPS)]


class Facts:
    """The answers. Asking for one that is not there raises NotSeen."""

    def __init__(self, answers: Answers, *, program_version: int, now: datetime) -> None:
        self._found: Mapping[str, Any] = answers.found
        self.pooled = answers.pooled
        self.skew = answers.skew
        self.program_version = program_version
        self.now = now

    @property
    def version(self) -> Version:
        """The schema's version; 0 when there is none."""
        try:
            return self._of("version")  # type: ignore[no-any-return]
        except NotSeen as gone:
            if gone.refusal.kind == "missing":
                return Version(version=0, works_with=0)
            raise

    @property
    def server(self) -> Server:
        """The server."""
        return self._of("server")  # type: ignore[no-any-return]

    @property
    def tables(self) -> list[Table]:
        """The tables."""
        return self._of("tables")  # type: ignore[no-any-return]

    @property
    def catalog(self) -> list[Part]:
        """What the schema is made of."""
        return self._of("catalog")  # type: ignore[no-any-return]

    @property
    def partitions(self) -> list[Days]:
        """The days of the history."""
        return self._of("partitions")  # type: ignore[no-any-return]

    @property
    def retention(self) -> Retention:
        """Whether anything is ever deleted."""
        return self._of("retention")  # type: ignore[no-any-return]

    @property
    def holders(self) -> list[Holder]:
        """What keeps dead rows."""
        return self._of("sessions")  # type: ignore[no-any-return]

    @property
    def foreign(self) -> list[Foreign]:
        """What others have made."""
        return self._of("foreign")  # type: ignore[no-any-return]

    @property
    def locks(self) -> list[Locks]:
        """Which locks others hold."""
        return self._of("locks")  # type: ignore[no-any-return]

    @property
    def zones(self) -> list[Zone]:
        """The zones of schedules."""
        return self._of("zones")  # type: ignore[no-any-return]

    @property
    def workers(self) -> list[WorkerInfo]:
        """The workers."""
        return self._of("workers")  # type: ignore[no-any-return]

    @property
    def queues(self) -> list[QueueSurvey]:
        """The queues."""
        return self._of("queues")  # type: ignore[no-any-return]

    @property
    def types(self) -> list[TypeSurvey]:
        """What is due, by queue and type."""
        return self._of("types")  # type: ignore[no-any-return]

    @property
    def front(self) -> list[Front]:
        """What stands at the front and should not."""
        return self._of("front")  # type: ignore[no-any-return]

    @property
    def blocked(self) -> Blocked:
        """What waits for nothing."""
        return self._of("blocked")  # type: ignore[no-any-return]

    @property
    def deaths(self) -> list[Deaths]:
        """What died in the last hour."""
        return self._of("dead")  # type: ignore[no-any-return]

    @property
    def history(self) -> LastHour:
        """The last hour."""
        return self._of("history")  # type: ignore[no-any-return]

    @property
    def set_aside(self) -> list[SetAside]:
        """What workers have set aside."""
        return self._of("set_aside")  # type: ignore[no-any-return]

    @property
    def alerts(self) -> list[Alert]:
        """Which tasks had no success, or run, for longer than they say."""
        return self._of("alerts")  # type: ignore[no-any-return]

    @property
    def paused(self) -> set[str]:
        """The names of the queues that are paused."""
        return {queue.name for queue in self.queues if queue.paused}

    def _of(self, name: str) -> Any:
        found = self._found.get(name, Refusal("it was not asked"))
        if isinstance(found, Refusal):
            raise NotSeen(found)
        return found
