"""What a worker that serves several shards does differently: a shard that is down must not affect the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from time import monotonic
from typing import Any

from prometheus_client.core import Metric

from pgsched.db.migrations.runner import WORKER_RIGHTS, check_schema
from pgsched.domain.errors import DatabaseUnavailable
from pgsched.observability.logs import get_logger

log = get_logger("pgsched.worker")

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 15.0
"""Seconds before a process is started again that ended at once, as it does while its database is down."""
AT_ONCE_SECONDS = 30.0
"""A process that has lived for less has ended at once."""


def check_shards(dsns: Mapping[str, str]) -> None:
    """Check the schema of each shard that responds.

    Raises SchemaMismatch, CopiedDatabase, and DatabaseUnavailable if none responds.
    """
    down: list[DatabaseUnavailable] = []
    for name, dsn in dsns.items():
        try:
            check_schema(dsn, WORKER_RIGHTS, original=True)
        except DatabaseUnavailable as error:
            if not name:
                raise
            log.error("shard_down", shard=name, error=str(error))
            down.append(error)
    if len(down) == len(dsns):
        raise down[0]


def label(families: Iterable[Metric], shard: str) -> list[Metric]:
    """Return the families of a process with the label of its shard."""
    labelled = []
    for family in families:
        one = Metric(family.name, family.documentation, family.type)
        one.samples = [sample._replace(labels={**sample.labels, "shard": shard}) for sample in family.samples]
        labelled.append(one)
    return labelled


class RestartPauses:
    """Growing pauses between the starts of processes that end at once, by their number."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._started: dict[int, float] = {}
        self._pauses: dict[int, float] = {}
        self._not_before: dict[int, float] = {}

    def started(self, number: int) -> None:
        """A process was started."""
        self._started[number] = self._clock()
        self._not_before.pop(number, None)

    def may_start(self, number: int) -> bool:
        """Whether a process that has ended may be started again."""
        now = self._clock()
        if number not in self._not_before:
            at_once = now - self._started.get(number, now) < AT_ONCE_SECONDS
            before = self._pauses.get(number, 0.0) if at_once else 0.0
            self._pauses[number] = min(max(2 * before, FIRST_PAUSE), LONGEST_PAUSE)
            self._not_before[number] = now + self._pauses[number]
        return now >= self._not_before[number]


class ShardProblems:
    """The problems of shards: one that works is enough, because starting the worker again does not mend the others."""

    def __init__(self) -> None:
        self._since: dict[str, str] = {}

    def of_all(self, problems: Mapping[str, str | None]) -> str | None:
        """Return the problems if every shard has one."""
        found = [f"shard {name}: {problem}" if name else problem for name, problem in problems.items() if problem]
        return "; ".join(found) if len(found) == len(problems) else None

    def troubles(self, problems: Mapping[str, str | None]) -> list[dict[str, Any]]:
        """Return the shards with a problem as troubles, each with the time when it was noticed."""
        now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        self._since = {name: self._since.get(name, now) for name, problem in problems.items() if name and problem}
        return [
            {"kind": "shard_down", "shard": name, "detail": f"shard {name}: {problems[name]}", "since": since}
            for name, since in self._since.items()
        ]
