"""The current activity of a database: snapshots, and the rates between two of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pgsched.db.database import Database
from pgsched.db.queries import activity as activity_commands
from pgsched.db.queries import dashboard
from pgsched.db.queries import workers as worker_commands
from pgsched.db.queries.activity import MAX_ENDED, WINDOW_SECONDS, Moment, RunningTask
from pgsched.db.queries.dashboard import QueueSurvey
from pgsched.db.queries.diagnostics import begin_examination
from pgsched.domain.records import Record, to_json_able
from pgsched.domain.worker_records import WorkerInfo

STATEMENT_SECONDS = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueActivity(Record):
    """The current state of a queue."""

    name: str
    paused: bool
    waiting: int
    """Waiting tasks, due or not; counted up to 10,000."""
    due: int
    oldest_due_seconds: float | None
    running: int
    slots: int
    """Total number of slots of the workers that serve it, across all their queues."""
    dead: int
    rate: float
    """Attempts that end per second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """A snapshot of the whole database."""

    at: datetime
    server: str
    ended: int
    started_rate: float
    """Attempts that start per second."""
    ended_rate: float
    queues: list[QueueActivity]
    workers: list[WorkerInfo]
    running: list[RunningTask]
    findings: list[dict[str, str]] | None
    """Findings of the watchdog; None when no worker has run it recently."""

    def as_dict(self) -> dict[str, Any]:
        """Return it as a JSON-able dictionary."""
        return {
            "at": to_json_able(self.at),
            "server": self.server,
            "started_rate": round(self.started_rate, 2),
            "ended_rate": round(self.ended_rate, 2),
            **{name: to_json_able(getattr(self, name)) for name in ("queues", "workers", "running")},
            "findings": self.findings,
        }


def read_activity(database: Database, before: Activity | None = None) -> Activity:
    """Read a snapshot of a database; rates cover the time since the snapshot ``before``.

    Raises DatabaseUnavailable, SchemaMismatch and PermissionRefused.
    """
    with database.transaction() as one:
        one.run(begin_examination(STATEMENT_SECONDS))
        moment = one.run(activity_commands.show_activity())
        queues = one.run(dashboard.survey_queues())
        types = one.run(dashboard.survey_types())
        dead = one.run(dashboard.survey_dead())
        workers = one.run(worker_commands.workers())
        running = one.run(activity_commands.list_running())
        ended = one.run(activity_commands.count_ended())
    by_queue: dict[str, int] = {}
    for kind in types:
        by_queue[kind.queue] = by_queue.get(kind.queue, 0) + kind.running
    total = _ended_rate(moment, ended, before)
    return Activity(
        at=moment.now,
        server=f"PostgreSQL {moment.version.split()[0]}",
        ended=moment.ended,
        ended_rate=total,
        started_rate=_started_rate(moment, total, sum(by_queue.values()), before),
        queues=[
            _queue(one, by_queue.get(one.name, 0), dead.get(one.name, 0), workers, _rate_of(one.name, ended, total))
            for one in queues
        ],
        workers=workers,
        running=running,
        findings=moment.findings,
    )


def _queue(queue: QueueSurvey, running: int, dead: int, workers: list[WorkerInfo], rate: float) -> QueueActivity:
    return QueueActivity(
        name=queue.name,
        paused=queue.paused,
        waiting=max(queue.waiting - running, 0),
        due=max(queue.ready - running, 0),
        oldest_due_seconds=queue.oldest_due_seconds,
        running=running,
        slots=sum(worker.concurrency for worker in workers if worker.alive and worker.serves(queue.name)),
        dead=dead,
        rate=rate,
    )


def _ended_rate(moment: Moment, ended: Mapping[str, int], before: Activity | None) -> float:
    counted = sum(ended.values())
    if counted < MAX_ENDED:
        return counted / WINDOW_SECONDS
    seconds = (moment.now - before.at).total_seconds() if before else 0.0
    if before is None or seconds <= 0 or moment.ended < before.ended:
        return counted / WINDOW_SECONDS  # at least
    return (moment.ended - before.ended) / seconds


def _started_rate(moment: Moment, ended: float, running: int, before: Activity | None) -> float:
    seconds = (moment.now - before.at).total_seconds() if before else 0.0
    if before is None or seconds <= 0:
        return ended
    return max(ended + (running - sum(queue.running for queue in before.queues)) / seconds, 0.0)


def _rate_of(queue: str, ended: Mapping[str, int], total: float) -> float:
    return total * ended.get(queue, 0) / max(sum(ended.values()), 1)
