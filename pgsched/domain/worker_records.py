"""Frozen records of workers: a process, and the problems that it reports."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from pgsched.domain.interval import Interval
from pgsched.domain.queue_selector import fits_like
from pgsched.domain.records import Record, read


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerTrouble(Record):
    """A problem in a worker process, as its last heartbeat reported it."""

    kind: str
    """The doctor's check of the same name describes the remedy."""
    object: str
    """What has the problem: a loop or a task type; empty for the worker as a whole."""
    since: datetime
    stops: bool
    """Whether it keeps the worker from working."""
    detail: str
    """One line, with the figures."""


def read_troubles(told: list[dict[str, Any]]) -> list[WorkerTrouble]:
    """Build records of a worker's problems. Unknown fields of a newer program are ignored."""
    return [read(WorkerTrouble, one | {"since": datetime.fromisoformat(one["since"])}) for one in told]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerInfo(Record):
    """A worker process: a row of ``pgsched.workers``."""

    id: UUID
    hostname: str
    pid: int
    queues: list[str]
    patterns: list[str]
    """It also serves the queues that match one of these LIKE patterns."""
    task_types: list[str]
    concurrency: int
    running: int
    """Occupied slots, including those of handlers that exceeded their timeout and cannot be stopped."""
    started_at: datetime
    heartbeat_at: datetime
    lease: Interval
    sleeping_until: datetime | None
    alive: bool
    """Whether it has sent a heartbeat within the last three leases."""
    troubles: list[WorkerTrouble]
    """Its problems, the worst first; empty for programs that do not report any."""
    pgsched_version: str | None = None
    code_version: str | None = None
    """The version of the application."""
    state: str | None = None
    """``active``, ``paused`` or ``draining``; None for a program that does not accept such requests."""
    request: str | None = None
    """The request that it was given: ``pause`` or ``drain``; None when it is to work."""
    requested_by: str | None = None
    requested_at: datetime | None = None

    def serves(self, queue: str) -> bool:
        """Return whether it claims from a queue, by name or by a pattern."""
        return queue in self.queues or any(fits_like(queue, pattern) for pattern in self.patterns)
